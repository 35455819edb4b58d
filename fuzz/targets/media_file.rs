//! Hostile bytes as a media file that a crash left behind.

use std::io::Write as _;

use camera_operator::archive::fragments;
use camera_operator::archive::index::FileName;
use camera_operator::archive::playlist;
use camera_operator::archive::recovery::{Recovered, recover_file};
use camera_operator::media::frame::UtcMicros;

/// Recovers `data`: what comes out is whole, does not change when it is recovered again, and can be walked and listed.
pub fn run(data: &[u8]) {
    let Ok(mut file) = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()) else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let name = FileName::of(UtcMicros(0));
    let recover = || file.try_clone().and_then(|file| recover_file(name, file)).expect("a file in memory can be read");
    let Recovered::File(entry) = recover() else { return };
    assert_eq!(file.metadata().map(|metadata| metadata.len()).ok(), Some(entry.bytes));
    assert_eq!(recover(), Recovered::File(entry.clone()));
    for range in &entry.ranges {
        let end = range.offset.checked_add(range.length);
        assert!(end.is_some_and(|end| end <= entry.bytes), "{range:?}");
        let _ = fragments::walk(&file, range.offset, range.length, |fragment| {
            let samples = fragment.video.iter().chain(&fragment.audio);
            samples.for_each(|sample| assert!(sample.offset + u64::from(sample.size) <= entry.bytes));
        });
    }
    let text = playlist::format(name.hour, std::slice::from_ref(&entry), true);
    assert_eq!(playlist::parse(name.hour, &text), Ok(vec![entry]), "{text}");
}
