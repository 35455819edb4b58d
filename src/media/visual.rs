//! The part of a picture track's sample entry that all codecs share (ISO/IEC 14496-12 §12.1.3). Must not know codecs.

use bytes::{BufMut as _, Bytes};

use super::fmp4::boxes::write_box;

/// What a player needs to know of a picture's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    /// Pixels, cropping applied.
    pub width: u32,
    /// Pixels, cropping applied.
    pub height: u32,
    /// Shape of a pixel: horizontal and vertical spacing.
    pub aspect: (u32, u32),
}

/// Writes a whole visual sample entry; `boxes` writes the codec's configuration box. `pasp` is added where pixels are not
/// square.
pub fn write_visual_entry(kind: [u8; 4], size: PictureSize, boxes: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(256);
    write_box(&mut out, kind, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1);
        out.put_bytes(0, 16);
        out.put_u16(size.width as u16);
        out.put_u16(size.height as u16);
        // 72 dots an inch, 16.16 fixed point.
        out.put_u32(0x0048_0000);
        out.put_u32(0x0048_0000);
        out.put_u32(0);
        out.put_u16(1);
        out.put_bytes(0, 32);
        out.put_u16(0x0018);
        out.put_i16(-1);
        boxes(out);
        if size.aspect.0 != size.aspect.1 {
            write_box(out, *b"pasp", |out| {
                out.put_u32(size.aspect.0);
                out.put_u32(size.aspect.1);
            });
        }
    });
    out.into()
}

/// Where the child boxes of a visual sample entry begin, from the start of the entry.
pub const VISUAL_CHILDREN: usize = 86;

/// Where the width of a visual sample entry stands, from the start of the entry; the height follows.
pub const VISUAL_WIDTH: usize = 32;

/// Where the child boxes of an audio sample entry (version 0) begin, from the start of the entry.
pub const AUDIO_CHILDREN: usize = 36;

/// The body of the first child box of that kind among the children of a sample entry, which begin at `from`.
pub fn entry_child(entry: &Bytes, from: usize, kind: [u8; 4]) -> Option<Bytes> {
    let mut at = from;
    loop {
        let head = entry.get(at..at + 8)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.checked_add(size)?;
        if size < 8 || end > entry.len() {
            return None;
        }
        if head[4..] == kind {
            return Some(entry.slice(at + 8..end));
        }
        at = end;
    }
}
