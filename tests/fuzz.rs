//! Replays the corpus of the fuzz targets (`fuzz/`), and every input that they ever failed on: so that the targets cannot rot
//! unnoticed, and what was mended stays so. `make fuzz` looks for new ones.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpus_is_taken_or_refused_in_order() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, run) in targets::ALL {
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no fuzz target");
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            let bytes = fs::read(&path).unwrap();
            run(&bytes);
            // And with an end that is missing, as a network or a crash leaves it.
            (1..8).for_each(|eighths| run(&bytes[..bytes.len() * eighths / 8]));
            inputs += 1;
        }
        assert!(inputs >= 3, "the corpus of {name} has {inputs} inputs");
    }
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, targets::ALL.len(), "a fuzz target is not replayed");
}
