//! Building blocks of MP4 boxes (ISO/IEC 14496-12 §4.2): nesting, big-endian numbers, and the boxes that a fragmented and a
//! progressive file have in common. Must not know what is in a file: callers say that.

use bytes::BufMut as _;

use crate::media::frame::{TrackConfiguration, TrackKind};

/// Appends a box; `body` writes what is in it. A box here is far below 4 GiB: media payload never passes through.
pub fn write_box(out: &mut Vec<u8>, kind: [u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(&kind);
    body(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a box with version and flags (24 bits).
pub fn write_full_box(out: &mut Vec<u8>, kind: [u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    write_box(out, kind, |out| {
        out.put_u32(u32::from(version) << 24 | flags & 0x00ff_ffff);
        body(out);
    });
}

/// Appends an `ftyp` (or, with that kind, an `styp`): major brand, minor version, compatible brands.
pub fn write_file_type(out: &mut Vec<u8>, kind: [u8; 4], major: [u8; 4], minor: u32, compatible: &[[u8; 4]]) {
    write_box(out, kind, |out| {
        out.put_slice(&major);
        out.put_u32(minor);
        for brand in compatible {
            out.put_slice(brand);
        }
    });
}

/// The unit matrix of `mvhd` and `tkhd` (16.16 and 2.30 fixed point).
fn put_matrix(out: &mut Vec<u8>) {
    for value in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        out.put_u32(value);
    }
}

/// Appends a movie header (§8.2.2), version 1: `duration` in ticks of `timescale`, 0 for a live movie.
pub fn write_movie_header(out: &mut Vec<u8>, timescale: u32, duration: u64, next_track: u32) {
    write_full_box(out, *b"mvhd", 1, 0, |out| {
        out.put_u64(0);
        out.put_u64(0);
        out.put_u32(timescale);
        out.put_u64(duration);
        out.put_u32(0x0001_0000);
        out.put_u16(0x0100);
        out.put_bytes(0, 10);
        put_matrix(out);
        out.put_bytes(0, 24);
        out.put_u32(next_track);
    });
}

/// Appends a track header (§8.3.2), version 1: `duration` in ticks of the movie's timescale.
pub fn write_track_header(out: &mut Vec<u8>, id: u32, kind: TrackKind, track: &TrackConfiguration, duration: u64) {
    // Enabled and part of the presentation.
    write_full_box(out, *b"tkhd", 1, 3, |out| {
        out.put_u64(0);
        out.put_u64(0);
        out.put_u32(id);
        out.put_u32(0);
        out.put_u64(duration);
        out.put_bytes(0, 8);
        out.put_u16(0);
        out.put_u16(0);
        out.put_u16(if kind == TrackKind::Audio { 0x0100 } else { 0 });
        out.put_u16(0);
        put_matrix(out);
        out.put_u32(track.width.min(0xffff) << 16);
        out.put_u32(track.height.min(0xffff) << 16);
    });
}

/// Appends a media header (§8.4.2), version 1, language undetermined: `duration` in ticks of the track's timescale.
pub fn write_media_header(out: &mut Vec<u8>, timescale: u32, duration: u64) {
    write_full_box(out, *b"mdhd", 1, 0, |out| {
        out.put_u64(0);
        out.put_u64(0);
        out.put_u32(timescale);
        out.put_u64(duration);
        // "und", three letters of five bits.
        out.put_u16(0x55c4);
        out.put_u16(0);
    });
}

/// Appends a handler box (§8.4.3).
pub fn write_handler(out: &mut Vec<u8>, kind: TrackKind) {
    let (handler, name) = match kind {
        TrackKind::Video => (b"vide", &b"video\0"[..]),
        TrackKind::Audio => (b"soun", &b"audio\0"[..]),
    };
    write_full_box(out, *b"hdlr", 0, 0, |out| {
        out.put_u32(0);
        out.put_slice(handler);
        out.put_bytes(0, 12);
        out.put_slice(name);
    });
}

/// Appends the media information box (§8.4.4) around a sample table whose first box, `stsd`, holds the track's sample entry as
/// it is; `tables` writes the rest of the sample table.
pub fn write_media_information(
    out: &mut Vec<u8>,
    kind: TrackKind,
    track: &TrackConfiguration,
    tables: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, *b"minf", |out| {
        match kind {
            // Version 0 with flag 1, as §12.1.2 demands; copy mode, no colour.
            TrackKind::Video => write_full_box(out, *b"vmhd", 0, 1, |out| out.put_bytes(0, 8)),
            TrackKind::Audio => write_full_box(out, *b"smhd", 0, 0, |out| out.put_bytes(0, 4)),
        }
        write_box(out, *b"dinf", |out| {
            write_full_box(out, *b"dref", 0, 0, |out| {
                out.put_u32(1);
                // Flag 1: the media is in this file.
                write_full_box(out, *b"url ", 0, 1, |_| {});
            });
        });
        write_box(out, *b"stbl", |out| {
            write_full_box(out, *b"stsd", 0, 0, |out| {
                out.put_u32(1);
                out.put_slice(&track.sample_entry);
            });
            tables(out);
        });
    });
}

/// Sample flags (§8.8.3.1) of a frame: whether it depends on others, and whether it is a sync sample.
pub const fn sample_flags(key: bool) -> u32 {
    if key { 0x0200_0000 } else { 0x0101_0000 }
}
