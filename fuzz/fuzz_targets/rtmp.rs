//! Run it with `make fuzz`; what it does is in `targets/rtmp.rs`.
#![no_main]

#[path = "../targets/rtmp.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
