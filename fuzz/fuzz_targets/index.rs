//! Run it with `make fuzz`; what it does is in `targets/index.rs`.
#![no_main]

#[path = "../targets/index.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
