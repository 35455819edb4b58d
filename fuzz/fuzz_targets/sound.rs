//! Run it with `make fuzz`; what it does is in `targets/sound.rs`.
#![no_main]

#[path = "../targets/sound.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
