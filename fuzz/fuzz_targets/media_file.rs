//! Run it with `make fuzz`; what it does is in `targets/media_file.rs`.
#![no_main]

#[path = "../targets/media_file.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
