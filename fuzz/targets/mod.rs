//! What is done with hostile bytes, one function for each fuzz target. `fuzz_targets/` hands them what the fuzzer invents;
//! `tests/fuzz.rs` hands them the corpus, so that an ordinary test run notices when one of them no longer holds.

pub mod fmp4;
pub mod index;
pub mod media_file;
pub mod parameter_sets;
pub mod rtmp;
pub mod rtsp;
pub mod sound;

/// A target, and the name of its corpus folder.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: [Target; 7] = [
    ("fmp4", fmp4::run),
    ("index", index::run),
    ("media_file", media_file::run),
    ("parameter_sets", parameter_sets::run),
    ("rtmp", rtmp::run),
    ("rtsp", rtsp::run),
    ("sound", sound::run),
];
