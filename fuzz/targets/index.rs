//! Hostile text as the index of an hour. Its checksum is put right first, or nothing would be read at all.

use camera_operator::archive::index::{Hour, gaps};
use camera_operator::archive::playlist;

/// Reads `data` as the index of an hour: whatever is taken is written and read back the same.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(hour) = "2026-11-21/01".parse::<Hour>() else { return };
    let _ = playlist::parse(hour, text);
    let Ok(files) = playlist::parse(hour, &sealed(text)) else { return };
    let written = playlist::format(hour, &files, text.len().is_multiple_of(2));
    assert_eq!(playlist::parse(hour, &written).as_ref(), Ok(&files), "{written}");
    for gap in gaps(&files) {
        assert!(gap.from < gap.to);
    }
}

/// The same with an end that fits.
fn sealed(text: &str) -> String {
    let body = text.find("#EXT-X-CAMERA-OPERATOR-END:").map_or(text, |end| &text[..end]);
    let body = if body.ends_with('\n') { body.to_owned() } else { format!("{body}\n") };
    let files = body.lines().filter(|line| line.starts_with("#EXT-X-CAMERA-OPERATOR-FILE:")).count();
    let checksum = crc32fast::hash(body.as_bytes());
    format!("{body}#EXT-X-CAMERA-OPERATOR-END:FILES={files},CRC32={checksum:08x}\n")
}
