//! Judges the initialisation sections of a media playlist: what the text alone cannot tell. Must not fetch anything and must
//! not know who wrote a playlist.
//!
//! A new `EXT-X-MAP` by itself asks for no discontinuity: RFC 8216 §4.3.2.5 (bis §4.4.4.5) lets it apply to the segments after
//! it and says no more. `EXT-X-DISCONTINUITY` is for what changes (§4.3.2.3, bis §4.4.4.3): it must be there when the file
//! format, the number, type or identifiers of the tracks or the sequence of timestamps change, and should be when the encoding
//! does. So recorded files of one run, each with a header of its own that says the same, follow each other without one; and one
//! rule holds for live and recorded playlists: *a section that says something else needs a discontinuity*.

use std::collections::BTreeMap;

use super::lint::{Map, Violation, joints};
use crate::media::fmp4::reader::{Event, Handler, Limits, Reader, Track};

/// What is wrong with the initialisation sections that a playlist names (see [`super::lint::maps`]), given their bytes.
pub fn lint_headers<B: AsRef<[u8]>>(text: &str, sections: &BTreeMap<Map, B>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for map in super::lint::maps(text) {
        if let Err(message) = tracks(&map, sections) {
            violations.push(Violation { line: 0, rule: "RFC 8216 §3.3", message });
        }
    }
    for joint in joints(text) {
        let (Ok(before), Ok(after)) = (tracks(&joint.before, sections), tracks(&joint.after, sections)) else {
            continue;
        };
        if let Some(what) = difference(&before, &after) {
            violations.push(Violation {
                line: joint.line,
                rule: "RFC 8216 §4.3.2.3",
                message: format!("{what} without EXT-X-DISCONTINUITY from {} to {}", joint.before.uri, joint.after.uri),
            });
        }
    }
    violations
}

/// The tracks that a section declares.
fn tracks<B: AsRef<[u8]>>(map: &Map, sections: &BTreeMap<Map, B>) -> Result<Vec<Track>, String> {
    let uri = &map.uri;
    let bytes = sections.get(map).ok_or_else(|| format!("{uri} is not there"))?;
    let mut reader = Reader::new(Limits::default());
    reader.feed(bytes.as_ref());
    match reader.next_event() {
        Ok(Some(Event::Tracks(tracks))) => Ok(tracks),
        Ok(_) => Err(format!("{uri} is no initialisation section: it has no movie box")),
        Err(error) => Err(format!("{uri} is no initialisation section: {error}")),
    }
}

/// What changes from one section to the next.
fn difference(before: &[Track], after: &[Track]) -> Option<&'static str> {
    let identities = |tracks: &[Track]| tracks.iter().map(|track| (track.id, kind(track))).collect::<Vec<_>>();
    let offsets = |tracks: &[Track]| {
        tracks
            .iter()
            .map(|track| i128::from(track.edit_offset) * 1_000_000 / i128::from(track.timescale))
            .collect::<Vec<_>>()
    };
    let entries = |tracks: &[Track]| tracks.iter().map(|track| track.sample_entry.clone()).collect::<Vec<_>>();
    if identities(before) != identities(after) {
        Some("number, type or identifiers of the tracks change")
    } else if offsets(before) != offsets(after) {
        Some("the edit lists, and so the timestamps, change")
    } else if entries(before) != entries(after) {
        Some("the encoding changes")
    } else {
        None
    }
}

const fn kind(track: &Track) -> u8 {
    match track.handler {
        Handler::Video => 0,
        Handler::Audio => 1,
        Handler::Other => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::media::fmp4::writer::write_header;
    use crate::media::frame::{Codec, Configuration, TrackConfiguration};

    /// A header whose pictures are encoded in a way of their own for each `encoding`.
    fn header(encoding: u8, audio: bool) -> Bytes {
        let track = |codec| TrackConfiguration {
            codec,
            timescale: 90_000,
            sample_entry: [&17_u32.to_be_bytes()[..], b"test", &[0; 8], &[encoding]].concat().into(),
            codec_string: String::new(),
            width: 320,
            height: 240,
            sample_rate: 48_000,
            channels: 1,
        };
        let configuration = Configuration {
            generation: 0,
            video: Arc::new(track(Codec::H264)),
            audio: audio.then(|| Arc::new(track(Codec::Aac))),
        };
        write_header(&configuration, audio)
    }

    const TEXT: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"9@0\"\n\
        #EXTINF:4,\n#EXT-X-BYTERANGE:5@9\na.mp4\n#EXT-X-MAP:URI=\"b.mp4\",BYTERANGE=\"9@0\"\n#EXTINF:4,\n\
        #EXT-X-BYTERANGE:5@9\nb.mp4\n";

    fn messages(text: &str, before: Bytes, after: Bytes) -> Vec<String> {
        let map = |uri: &str| Map { uri: uri.into(), range: Some("9@0".into()) };
        let sections = BTreeMap::from([(map("a.mp4"), before), (map("b.mp4"), after)]);
        lint_headers(text, &sections).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn a_section_that_says_something_else_needs_a_discontinuity() {
        assert_eq!(super::super::lint::lint(TEXT), []);
        assert_eq!(messages(TEXT, header(1, true), header(1, true)), [""; 0], "the same under another name");
        let with_discontinuity = TEXT.replace("#EXT-X-MAP:URI=\"b", "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"b");
        let over_a_gap = TEXT.replace("#EXT-X-MAP:URI=\"b", "#EXT-X-GAP\n#EXTINF:4,\ngap.mp4\n#EXT-X-MAP:URI=\"b");
        for (other, expected) in [(header(2, true), "the encoding changes"), (header(1, false), "number, type")] {
            for text in [TEXT, &over_a_gap] {
                let found = messages(text, header(1, true), other.clone());
                assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
            }
            assert_eq!(messages(&with_discontinuity, header(1, true), other), [""; 0]);
        }
    }

    #[test]
    fn a_section_must_be_one() {
        let found = messages(TEXT, header(1, true), Bytes::from_static(b"\0\0\0\x08free"));
        assert!(found.len() == 1 && found[0].contains("b.mp4 is no initialisation section"), "{found:?}");
        let found = lint_headers::<Bytes>(TEXT, &BTreeMap::new());
        assert!(found.len() == 2 && found[0].message.contains("a.mp4 is not there"), "{found:?}");
    }
}
