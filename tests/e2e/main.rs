//! End-to-end tests: the real program as a process, real RTSP cameras (`support/camera.py`), FFmpeg as the judge. One module
//! for each topic. Every test has its own camera, program, folder and ports, so that they run side by side.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test ends at the first thing that is not as it should be"
)]

#[path = "../support/mod.rs"]
mod support;

mod alert_prometheus;
mod alert_receivers;
mod alert_storms;
mod alerts;
mod browser;
mod crash;
mod cuts;
mod disk;
mod formats;
mod https;
mod inputs;
mod live;
mod many;
mod page;
mod push;
mod recorded;
mod retention;
mod secrets;
mod slate;
mod switches;
mod time;
mod transcode;
mod viewers;
