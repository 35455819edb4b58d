//! Run it with `make fuzz`; what it does is in `targets/fmp4.rs`.
#![no_main]

#[path = "../targets/fmp4.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
