//! What `moov` says of one track. Must not read samples.

use bytes::{Buf as _, Bytes};
use mp4_atom::{Elst, FourCC, Hdlr, Mdhd, Trex};

use super::boxes::{boxes, child, decode, missing, path};
use super::{Error, Handler, Track};

pub(super) fn read_track(body: &Bytes, movie_timescale: u32, defaults: &[Trex]) -> Result<Option<Track>, Error> {
    const MDIA: (&str, FourCC) = ("mdia", FourCC::new(b"mdia"));
    let header = child(body, FourCC::new(b"tkhd"), "trak")?.ok_or(missing("trak", "no tkhd"))?;
    // Version 1 has 64-bit times before the track number (§8.3.2).
    let at = if header.first() == Some(&1) { 20 } else { 12 };
    let id = header.get(at..at + 4).map(|mut bytes| bytes.get_u32()).ok_or(missing("tkhd", "too short"))?;

    let media = path(body, &[MDIA, ("mdhd", FourCC::new(b"mdhd"))])?.ok_or(missing("trak", "no mdhd"))?;
    let timescale = decode::<Mdhd>("mdhd", FourCC::new(b"mdhd"), &media)?.timescale;
    if timescale == 0 {
        return Err(missing("mdhd", "timescale 0"));
    }
    let handler = path(body, &[MDIA, ("hdlr", FourCC::new(b"hdlr"))])?.ok_or(missing("trak", "no hdlr"))?;
    let handler = match decode::<Hdlr>("hdlr", FourCC::new(b"hdlr"), &handler)?.handler {
        kind if kind == FourCC::new(b"vide") => Handler::Video,
        kind if kind == FourCC::new(b"soun") => Handler::Audio,
        _ => Handler::Other,
    };
    let edits = path(body, &[("edts", FourCC::new(b"edts")), ("elst", FourCC::new(b"elst"))])?;
    let edit_offset = match edits {
        Some(edits) => edit_offset(&decode("elst", FourCC::new(b"elst"), &edits)?, timescale, movie_timescale),
        None => 0,
    };
    let descriptions = path(
        body,
        &[MDIA, ("minf", FourCC::new(b"minf")), ("stbl", FourCC::new(b"stbl")), ("stsd", FourCC::new(b"stsd"))],
    )?
    .ok_or(missing("trak", "no stsd"))?;
    // Version, flags and entry count stand before the entries (§8.5.2).
    let entries = if descriptions.len() < 8 { Bytes::new() } else { descriptions.slice(8..) };
    let Some(entry) = boxes(&entries, "stsd").next() else { return Err(missing("stsd", "no sample entry")) };
    let (_, sample_entry, _) = entry?;
    let defaults = defaults.iter().find(|defaults| defaults.track_id == id).cloned().unwrap_or_default();
    // A copy: the header must not keep the chunk that it came in.
    Ok(Some(Track {
        id,
        handler,
        timescale,
        edit_offset,
        sample_entry: Bytes::copy_from_slice(&sample_entry),
        defaults,
    }))
}

/// See [`Track::edit_offset`].
pub(super) fn edit_offset(edits: &Elst, timescale: u32, movie_timescale: u32) -> i64 {
    let mut empty = 0_u64;
    for edit in &edits.entries {
        match edit.media_time {
            None => empty = empty.saturating_add(edit.segment_duration),
            Some(start) => {
                let delay = u128::from(empty) * u128::from(timescale) / u128::from(movie_timescale.max(1));
                let delay = i64::try_from(delay).unwrap_or(0);
                return delay.saturating_sub(i64::try_from(start).unwrap_or(0));
            }
        }
    }
    0
}
