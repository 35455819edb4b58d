//! Run it with `make fuzz`; what it does is in `targets/rtsp.rs`.
#![no_main]

#[path = "../targets/rtsp.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
