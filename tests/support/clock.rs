//! Clocks that tests set.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

/// A wall clock for the program that can be set while it runs (libfaketime).
pub struct Clock {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Clock {
    /// `None` where libfaketime is not installed; says so.
    pub fn new() -> Option<Self> {
        let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
            .map(|machine| PathBuf::from(format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1")));
        let Some(library) = found.into_iter().find(|path| path.exists()) else {
            eprintln!("SKIPPED: clocks that jump, because libfaketime is not installed (Debian: faketime)");
            return None;
        };
        let clock = Self { folder: tempfile::tempdir().unwrap(), library };
        clock.set(SignedDuration::ZERO);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets how far the program's wall clock is ahead of the true one.
    pub fn set(&self, ahead: SignedDuration) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{:+}\n", ahead.as_secs())).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Sets it so that it shows `at` now.
    pub fn show(&self, at: &str) {
        self.set(at.parse::<Timestamp>().unwrap().duration_since(Timestamp::now()));
    }

    /// What it shows now.
    pub fn now(&self) -> Timestamp {
        let ahead = fs::read_to_string(self.file()).unwrap().trim().parse().unwrap();
        Timestamp::now() + SignedDuration::from_secs(ahead)
    }

    /// What the program needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // Only the wall clock is set by people; time-outs keep the monotonic one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
