//! Replays the corpus of the fuzz targets (`fuzz/`), and every input that they ever failed on: so that the targets cannot rot
//! unnoticed, and what was mended stays so. And a short run of inputs made of the corpus that `make fuzz` would not come to: the same ones
//! for the same corpus, or `FUZZ_SEED` makes others. `make fuzz` looks for longer, and is led by the code that inputs reach.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// New inputs for each target.
const INPUTS: usize = 3000;
/// The longest that one of them is made.
const LONGEST: usize = 64 * 1024;
/// An input that takes so long hangs.
const PATIENCE: Duration = Duration::from_mins(1);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

#[test]
fn every_input_of_the_corpus_is_taken_or_refused_in_order() {
    for (name, run) in targets::ALL {
        assert!(folder("fuzz_targets").join(format!("{name}.rs")).exists(), "{name} has no fuzz target");
        let mut inputs = 0;
        for entry in fs::read_dir(folder("corpus").join(name)).unwrap() {
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
    let targets = fs::read_dir(folder("fuzz_targets")).unwrap().count();
    assert_eq!(targets, targets::ALL.len(), "a fuzz target is not replayed");
}

/// One more input, made of those that there are: bytes changed, doubled, left out, put in, or the halves of two put together.
fn mutated(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    // What formats stumble over.
    const EDGES: [&[u8]; 8] =
        [&[0], &[0xff], &[0x7f], &[0x80], &[0; 4], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff], &[0; 8]];
    let mut input = corpus.choose(random).unwrap().clone();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(0..=32)).min(input.len());
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = random.random(),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => {
                let edge = EDGES.choose(random).unwrap();
                let until = (at + edge.len()).min(input.len());
                drop(input.splice(at..until, edge.iter().copied()));
            }
            5 => {
                let other = corpus.choose(random).unwrap();
                input.truncate(at);
                input.extend(&other[random.random_range(0..=other.len())..]);
            }
            _ => input.truncate(at),
        }
        input.truncate(LONGEST);
    }
    input
}

#[test]
fn new_inputs_are_taken_or_refused_in_order() {
    // A change is judged by what it changes: whoever looks for news gives other seeds.
    let seed = std::env::var("FUZZ_SEED").map_or(1, |seed| seed.parse().expect("FUZZ_SEED is a number"));
    // What is caught within the program is no news, thousands of times.
    let (hook, told) = (Arc::new(std::panic::take_hook()), Arc::new(Mutex::new(String::new())));
    let (others, newest) = (hook.clone(), told.clone());
    std::panic::set_hook(Box::new(move |panic| {
        // Tests have names.
        if std::thread::current().name().is_some() {
            others(panic);
        } else {
            *newest.lock().unwrap() = panic.to_string();
        }
    }));
    let problem = targets::ALL.into_iter().find_map(|(name, run)| try_new_inputs(name, run, seed));
    std::panic::set_hook(Box::new(move |panic| hook(panic)));
    assert!(problem.is_none(), "{} (FUZZ_SEED={seed}): {}", problem.unwrap(), told.lock().unwrap());
}

/// Tries new inputs on a target. Returns what is wrong with one of them, if something is.
fn try_new_inputs(name: &'static str, run: fn(&[u8]), seed: u64) -> Option<String> {
    let corpus: Vec<Vec<u8>> = fs::read_dir(folder("corpus").join(name))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let (begun, watched) = mpsc::channel::<Vec<u8>>();
    let worker = std::thread::spawn(move || {
        let mut random = StdRng::seed_from_u64(seed);
        (0..INPUTS).all(|_| {
            let input = mutated(&corpus, &mut random);
            begun.send(input.clone()).unwrap();
            catch_unwind(AssertUnwindSafe(|| run(&input))).is_ok()
        })
    });
    let mut newest = Vec::new();
    let hangs = loop {
        match watched.recv_timeout(PATIENCE) {
            Ok(input) => newest = input,
            Err(error) => break error == mpsc::RecvTimeoutError::Timeout,
        }
    };
    if !hangs && worker.join().unwrap() {
        return None;
    }
    let kept = folder("artifacts").join(name);
    fs::create_dir_all(&kept).unwrap();
    let path = kept.join(format!("seed-{seed}"));
    fs::write(&path, &newest).unwrap();
    let how = if hangs { "hangs" } else { "fails" };
    Some(format!("{name} {how}; the input is in {}", path.display()))
}
