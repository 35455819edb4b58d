//! What the archive writes into its media files beside the media, so that the index can be rebuilt from the files alone: one
//! `uuid` box (ISO/IEC 14496-12 §11.1) after the header, one before every fragment, one at the end. Players skip boxes that
//! they do not know. Pure: bytes in, bytes out.

use bytes::{BufMut as _, Bytes};
use serde::{Deserialize, Serialize};

use super::cut::{BatchFacts, VideoEnd};
use crate::media::fmp4::boxes::write_box;
use crate::media::frame::RunId;

/// The extended type of our boxes; made for this purpose and never to change.
pub const EXTENDED_TYPE: [u8; 16] =
    [0x1d, 0x6c, 0x5a, 0x0e, 0x27, 0xb3, 0x4e, 0x8f, 0x9a, 0x41, 0xc4, 0x0d, 0x5e, 0x72, 0x96, 0xab];

/// No honest mark is larger, header and all.
pub const LARGEST: u64 = 64 << 10;

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "mark")]
pub enum Mark {
    /// After the header: what all fragments have in common.
    File(FileMark),
    /// Before a fragment: what is in it.
    Fragment(FragmentMark),
    /// After the last fragment: the file is whole.
    End(EndMark),
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndMark {
    /// Condition reason of the gap that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// Where the last picture really ends, if that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<VideoEnd>,
    /// Whether it was closed in order, rather than by recovery.
    pub closed: bool,
}

/// What all fragments of a file have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileMark {
    /// Run of the first frame (of all, but for a clip).
    pub run: RunId,
    /// RFC 6381, comma separated.
    pub codecs: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Whether the first frame needs the file before this one.
    pub dependent: bool,
}

/// What is in a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FragmentMark {
    /// For the index.
    #[serde(flatten)]
    pub facts: BatchFacts,
    /// Run of its frames.
    pub run: RunId,
    /// Bytes of `moof` and `mdat`, which follow at once.
    pub length: u64,
    /// CRC-32 of those bytes.
    pub checksum: u32,
}

/// A mark as a box.
pub fn write(mark: &Mark) -> Bytes {
    // Our own plain types always serialise.
    let content = serde_json::to_vec(mark).unwrap_or_default();
    let mut out = Vec::with_capacity(content.len() + 24);
    write_box(&mut out, *b"uuid", |out| {
        out.put_slice(&EXTENDED_TYPE);
        out.put_slice(&content);
    });
    out.into()
}

/// Reads the body of a `uuid` box; `None` when it is none of ours.
pub fn parse(body: &[u8]) -> Option<Mark> {
    serde_json::from_slice(body.strip_prefix(&EXTENDED_TYPE)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::cut::VideoSpan;
    use crate::media::frame::UtcMicros;

    #[test]
    fn marks_are_boxes_that_are_read_back() {
        let facts = BatchFacts {
            first_sequence: 7,
            through: 9,
            independent: true,
            video: Some(VideoSpan { utc: UtcMicros(-1), end_utc: UtcMicros(2), from: 3, to: 4 }),
        };
        let file = FileMark { run: RunId(7), codecs: "a,b".into(), width: 1, height: 2, dependent: true };
        for mark in [
            Mark::File(file),
            Mark::Fragment(FragmentMark { facts, run: RunId(7), length: 5, checksum: 6 }),
            Mark::Fragment(FragmentMark {
                facts: BatchFacts { video: None, ..facts },
                run: RunId(7),
                length: 5,
                checksum: 6,
            }),
            Mark::End(EndMark { gap: Some("Stalled".into()), until: None, closed: true }),
            Mark::End(EndMark { gap: None, until: Some(VideoEnd { to: 1, end_utc: UtcMicros(2) }), closed: false }),
        ] {
            let bytes = write(&mark);
            assert_eq!(bytes[..4], u32::try_from(bytes.len()).expect("small").to_be_bytes());
            assert_eq!(&bytes[4..8], b"uuid");
            assert_eq!(parse(&bytes[8..]), Some(mark));
        }
        assert_eq!(parse(&[0; 40]), None);
    }
}
