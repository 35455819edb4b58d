//! Media formats and time, without any IO: what a frame is, how it is written as fragmented MP4 and NUT and listed in HLS
//! playlists, and how media time maps to UTC. Must not open files, sockets or processes, and must not read the clock:
//! whoever calls passes time in.

pub mod access_unit;
pub mod audio;
pub mod chunks;
pub mod clock;
#[cfg(test)]
pub(crate) mod fixture;
pub mod fmp4;
pub mod frame;
pub mod h264;
pub mod h264_slice;
pub mod h265;
pub mod hls;
pub mod jpeg;
pub mod nal;
pub mod nut;
pub mod silence;
pub mod visual;
