//! Reads where the samples of a media file lie, fragment by fragment, without reading the media. Bounded in what it buffers;
//! damaged bytes give an error, never a panic.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use mp4_atom::{Atom as _, Moof};

use crate::media::fmp4::writer::track_id;
use crate::media::frame::TrackKind;

/// No honest `ftyp` + `moov` or `moof` is larger.
pub const LARGEST_HEADER: u64 = 4 << 20;
/// No honest fragment has more samples.
const MOST_SAMPLES: usize = 65_536;
/// How much is read at once: enough for the headers of most fragments.
const READ_AHEAD: usize = 8 << 10;

/// Where a sample lies and when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedSample {
    /// In ticks of its track.
    pub decode_time: i64,
    /// Composition minus decode time, in ticks.
    pub composition_offset: i32,
    /// In ticks.
    pub duration: u32,
    /// Whether decoding can start here.
    pub sync: bool,
    /// In the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
}

/// The samples of one `moof`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Pictures, in decode order.
    pub video: Vec<PlacedSample>,
    /// Sounds.
    pub audio: Vec<PlacedSample>,
}

/// Reads in steps, keeping what was read last.
struct Window<'a> {
    file: &'a File,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn get(&mut self, offset: u64, length: usize) -> Result<&[u8], String> {
        let inside = offset >= self.at && offset + length as u64 <= self.at + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(length.max(READ_AHEAD), 0);
            let mut filled = 0;
            while filled < self.bytes.len() {
                match self.file.read_at(&mut self.bytes[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            self.bytes.truncate(filled);
            self.at = offset;
            if filled < length {
                return Err(format!("it ends at {} within a fragment", offset + filled as u64));
            }
        }
        let start = usize::try_from(offset - self.at).unwrap_or(0);
        Ok(&self.bytes[start..start + length])
    }
}

/// Calls `found` with each fragment whose `moof` begins within `length` bytes from `offset`.
///
/// # Errors
/// What is wrong with the file.
pub fn walk(file: &File, offset: u64, length: u64, mut found: impl FnMut(Fragment)) -> Result<(), String> {
    let end = offset.saturating_add(length);
    let mut window = Window { file, at: 0, bytes: Vec::new() };
    let mut at = offset;
    while at + 8 <= end {
        let head = window.get(at, 8)?;
        let short = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let kind = [head[4], head[5], head[6], head[7]];
        let (size, body) = if short == 1 {
            let long = window.get(at + 8, 8)?;
            let mut bytes = [0; 8];
            bytes.copy_from_slice(long);
            (u64::from_be_bytes(bytes), 16)
        } else {
            (u64::from(short), 8)
        };
        if size < body || at.checked_add(size).is_none_or(|next| next > end) {
            return Err(format!("the box at {at} does not fit into its range"));
        }
        if kind == *b"moof" {
            if size > LARGEST_HEADER {
                return Err(format!("the fragment header at {at} is too large"));
            }
            let bytes = window.get(at + body, usize::try_from(size - body).unwrap_or(0))?;
            let moof =
                Moof::decode_body(&mut &*bytes).map_err(|error| format!("the fragment header at {at}: {error}"))?;
            found(samples(&moof, at, end)?);
        }
        at += size;
    }
    Ok(())
}

fn samples(moof: &Moof, at: u64, end: u64) -> Result<Fragment, String> {
    let mut fragment = Fragment::default();
    for traf in &moof.traf {
        let samples = match traf.tfhd.track_id {
            id if id == track_id(TrackKind::Video) => &mut fragment.video,
            id if id == track_id(TrackKind::Audio) => &mut fragment.audio,
            _ => continue,
        };
        let time = traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time);
        let mut decode_time = time
            .and_then(|time| i64::try_from(time).ok())
            .ok_or_else(|| format!("the fragment at {at} has no time"))?;
        let mut offset = at;
        for run in &traf.trun {
            // A few bytes can announce four thousand million samples without a byte each.
            if samples.len().saturating_add(run.samples.len()) > MOST_SAMPLES {
                return Err(format!("the fragment at {at} has too many samples"));
            }
            if let Some(distance) = run.data_offset {
                offset = at.checked_add_signed(distance.into()).ok_or("a data offset before the file")?;
            }
            for entry in &run.samples {
                let size = entry.size.or(traf.tfhd.default_sample_size).ok_or("a sample without a size")?;
                let duration = entry.duration.or(traf.tfhd.default_sample_duration).unwrap_or(0);
                let flags = entry.flags.or(traf.tfhd.default_sample_flags).unwrap_or(0);
                if offset.checked_add(size.into()).is_none_or(|last| last > end) {
                    return Err(format!("a sample of the fragment at {at} lies outside of it"));
                }
                samples.push(PlacedSample {
                    decode_time,
                    composition_offset: i32::try_from(entry.cts.unwrap_or(0)).unwrap_or(0),
                    duration,
                    // ISO/IEC 14496-12 §8.8.3.1: sample_is_non_sync_sample.
                    sync: flags & 0x0001_0000 == 0,
                    offset,
                    size,
                });
                offset += u64::from(size);
                decode_time = decode_time.saturating_add(duration.into());
            }
        }
    }
    Ok(fragment)
}
