//! Writes frames as fragmented MP4 (ISO/IEC 14496-12 §8.8): an initialisation segment, then fragments of any size. Must not
//! interpret codecs (sample entries are copied as they are), must not copy payloads, must not do IO.

use std::borrow::Borrow;

use bytes::{BufMut as _, Bytes};

use super::boxes::{
    sample_flags, write_box, write_file_type, write_full_box, write_handler, write_media_header,
    write_media_information, write_movie_header, write_track_header,
};
use crate::media::frame::{Configuration, Frame, TrackConfiguration, TrackKind, UtcMicros};

/// The track identifier that this program always gives a track.
pub const fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
    }
}

/// `ftyp` and `moov` of a fragmented file: no samples, no edit lists, so that `tfdt` alone places every fragment. `audio`:
/// whether the sound track is announced, if there is one.
pub fn write_header(configuration: &Configuration, audio: bool) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    write_file_type(&mut out, *b"ftyp", *b"iso6", 0, &[*b"iso6", *b"mp41"]);
    let tracks: Vec<(TrackKind, &TrackConfiguration)> = [TrackKind::Video, TrackKind::Audio]
        .into_iter()
        .filter(|kind| audio || *kind == TrackKind::Video)
        .filter_map(|kind| Some((kind, &**configuration.track(kind)?)))
        .collect();
    write_box(&mut out, *b"moov", |out| {
        write_movie_header(out, 1000, 0, 3);
        for (kind, track) in &tracks {
            write_track(out, *kind, track);
        }
        write_box(out, *b"mvex", |out| {
            for (kind, _) in &tracks {
                write_full_box(out, *b"trex", 0, 0, |out| {
                    out.put_u32(track_id(*kind));
                    out.put_u32(1);
                    out.put_u32(0);
                    out.put_u32(0);
                    out.put_u32(sample_flags(*kind == TrackKind::Audio));
                });
            }
        });
    });
    out.into()
}

fn write_track(out: &mut Vec<u8>, kind: TrackKind, track: &TrackConfiguration) {
    write_box(out, *b"trak", |out| {
        write_track_header(out, track_id(kind), kind, track, 0);
        write_box(out, *b"mdia", |out| {
            write_media_header(out, track.timescale, 0);
            write_handler(out, kind);
            write_media_information(out, kind, track, |out| {
                // The sample tables must be there, and are empty: all samples are in fragments.
                write_full_box(out, *b"stts", 0, 0, |out| out.put_u32(0));
                write_full_box(out, *b"stsc", 0, 0, |out| out.put_u32(0));
                write_full_box(out, *b"stsz", 0, 0, |out| out.put_u64(0));
                write_full_box(out, *b"stco", 0, 0, |out| out.put_u32(0));
            });
        });
    });
}

/// What a fragment has besides its frames.
#[derive(Debug, Clone, Copy, Default)]
pub struct FragmentOptions {
    /// Begin with `styp`, as the first fragment of a segment that is a file of its own.
    pub segment_type: bool,
    /// Write the first video frame's capture time (the first frame's, if there is no video) as `prft` (§8.16.5).
    pub producer_reference_time: bool,
    /// Ticks from the last video sample to the next one, where the caller knows better than the frame.
    pub last_video_duration: Option<u32>,
    /// Ticks from the last audio sample to the next one, where the caller knows better than the frame.
    pub last_audio_duration: Option<u32>,
}

/// One fragment, ready to be sent or written: a header of its own and the frames' shared payloads.
#[derive(Debug, Clone, Default)]
pub struct Fragment {
    /// `[styp] [prft] moof` and the header of `mdat`.
    pub header: Bytes,
    /// The content of `mdat`: the very bytes of the frames, not copies.
    pub payloads: Vec<Bytes>,
}

impl Fragment {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.header.len() + self.payloads.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is nothing in it; a written fragment never is.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty() && self.payloads.is_empty()
    }

    /// All pieces in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.header).chain(&self.payloads)
    }

    /// All pieces in order.
    pub fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.header).chain(self.payloads)
    }

    /// One contiguous copy, for where there is no way round it.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = Vec::with_capacity(self.len());
        self.chunks().for_each(|chunk| all.extend_from_slice(chunk));
        all.into()
    }
}

/// `NTP` time (RFC 5905 §6: seconds since 1900, 32.32 fixed point) of a UTC instant.
pub fn ntp_time(utc: UtcMicros) -> u64 {
    /// Seconds from 1900-01-01 to 1970-01-01.
    const EPOCH_OFFSET: i64 = 2_208_988_800;
    let seconds = utc.0.div_euclid(1_000_000) + EPOCH_OFFSET;
    let micros = utc.0.rem_euclid(1_000_000) as u64;
    // The era wraps in 2036, as NTP's does.
    ((seconds as u64 & 0xffff_ffff) << 32) | ((micros << 32) / 1_000_000)
}

struct Run<'a> {
    kind: TrackKind,
    frames: Vec<&'a Frame>,
    durations: Vec<u32>,
    /// Where the data offset stands in the header, to be filled in once the header's size is known.
    offset_at: usize,
}

/// One `moof` and `mdat` of the frames, in the order given within each track: one track fragment per track, video first. The
/// frames must be of one run and one configuration; sound is left out unless `audio`. A sample lasts until the next one of its
/// track, so that times never drift; the last one as long as the options or the frame say. The payload of a fragment must be
/// below 2 GiB (the data offset has 31 bits); a hub's ring never holds as much.
pub fn write_fragment<F: Borrow<Frame>>(
    sequence_number: u32,
    frames: &[F],
    audio: bool,
    options: FragmentOptions,
) -> Fragment {
    let mut runs: Vec<Run<'_>> = [TrackKind::Video, TrackKind::Audio]
        .into_iter()
        .filter(|kind| audio || *kind == TrackKind::Video)
        .map(|kind| {
            let frames: Vec<&Frame> = frames.iter().map(Borrow::borrow).filter(|frame| frame.track == kind).collect();
            let last = match kind {
                TrackKind::Video => options.last_video_duration,
                TrackKind::Audio => options.last_audio_duration,
            };
            Run { kind, durations: durations(&frames, last), frames, offset_at: 0 }
        })
        .filter(|run| !run.frames.is_empty())
        .collect();
    let Some(first) = runs.first().and_then(|run| run.frames.first().copied()) else { return Fragment::default() };

    let samples: usize = runs.iter().map(|run| run.frames.len()).sum();
    let mut out = Vec::with_capacity(192 + samples * 16);
    if options.segment_type {
        write_file_type(&mut out, *b"styp", *b"msdh", 0, &[*b"msdh", *b"msix"]);
    }
    if options.producer_reference_time {
        // Flags 24: the time of capture, measured on a clock that runs true to UTC.
        write_full_box(&mut out, *b"prft", 1, 24, |out| {
            out.put_u32(track_id(first.track));
            out.put_u64(ntp_time(first.utc));
            out.put_u64(first.decode_time.max(0) as u64);
        });
    }
    let moof = out.len();
    write_box(&mut out, *b"moof", |out| {
        write_full_box(out, *b"mfhd", 0, 0, |out| out.put_u32(sequence_number));
        for run in &mut runs {
            write_track_fragment(out, run);
        }
    });
    let mut payload: usize = 0;
    let data = out.len() - moof + 8;
    for run in &runs {
        let offset = (data + payload) as i32;
        out[run.offset_at..run.offset_at + 4].copy_from_slice(&offset.to_be_bytes());
        payload += run.frames.iter().map(|frame| frame.payload.len()).sum::<usize>();
    }
    out.put_u32((payload + 8) as u32);
    out.put_slice(b"mdat");
    let payloads = runs.iter().flat_map(|run| run.frames.iter().map(|frame| frame.payload.clone())).collect();
    Fragment { header: out.into(), payloads }
}

/// How long each sample lasts, in ticks.
fn durations(frames: &[&Frame], last: Option<u32>) -> Vec<u32> {
    let mut durations: Vec<u32> = frames
        .windows(2)
        .map(|pair| u32::try_from(pair[1].decode_time - pair[0].decode_time).unwrap_or(pair[0].duration))
        .collect();
    durations.extend(frames.last().map(|frame| last.unwrap_or(frame.duration)));
    durations
}

fn write_track_fragment(out: &mut Vec<u8>, run: &mut Run<'_>) {
    let video = run.kind == TrackKind::Video;
    write_box(out, *b"traf", |out| {
        // default-base-is-moof.
        write_full_box(out, *b"tfhd", 0, 0x02_0000, |out| out.put_u32(track_id(run.kind)));
        let start = run.frames.first().map_or(0, |frame| frame.decode_time.max(0) as u64);
        write_full_box(out, *b"tfdt", 1, 0, |out| out.put_u64(start));
        // Data offset, durations and sizes; for pictures also flags and (signed) composition offsets.
        let flags = if video { 0x0f01 } else { 0x0301 };
        write_full_box(out, *b"trun", 1, flags, |out| {
            out.put_u32(run.frames.len() as u32);
            run.offset_at = out.len();
            out.put_i32(0);
            for (frame, duration) in run.frames.iter().zip(&run.durations) {
                out.put_u32(*duration);
                out.put_u32(frame.payload.len() as u32);
                if video {
                    out.put_u32(sample_flags(frame.is_video_key()));
                    out.put_i32(frame.composition_offset);
                }
            }
        });
    });
}
