//! The movie header of a progressive MP4 (ISO/IEC 14496-12 §8.5 to §8.7): sample tables collected sample by sample, then one
//! `moov` that lets every player seek at once. Must not do IO and must not hold payloads: it is told sizes and places only.

use bytes::BufMut as _;

use super::boxes::{
    write_box, write_full_box, write_handler, write_media_header, write_media_information, write_movie_header,
    write_track_header,
};
use crate::media::frame::{TrackConfiguration, TrackKind};

/// Ticks a second of the movie header and of edit lists: microseconds, so that a cut is exact.
pub const MOVIE_TIMESCALE: u32 = 1_000_000;

/// A sample as the table needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSample {
    /// On the track's media timeline, in ticks; a sample that begins before the end of the one before it is moved there.
    pub decode_time: i64,
    /// Composition minus decode time, in ticks.
    pub composition_offset: i32,
    /// Ticks, as far as is known; the next sample's decode time decides.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Whether decoding can start here.
    pub sync: bool,
}

/// The sample table of one track; about 6 bytes a sample.
#[derive(Debug, Clone, Default)]
pub struct SampleTable {
    sizes: Vec<u32>,
    /// Count and duration (§8.6.1.2).
    durations: Vec<(u32, u32)>,
    /// Count and composition offset (§8.6.1.3).
    offsets: Vec<(u32, i32)>,
    /// Numbers of the sync samples, from 1 (§8.6.2).
    sync: Vec<u32>,
    /// Place of each chunk, from the start of the media data, and how many samples it holds (§8.7.4, §8.7.5).
    chunks: Vec<(u64, u32)>,
    /// Decode time and duration of the newest sample, which is not in `durations` yet.
    last: Option<(i64, u32)>,
    /// Where the bytes of the newest sample end.
    data_end: u64,
}

impl SampleTable {
    /// Adds a sample whose bytes lie at `place` in the media data. Samples come in decode order; those that lie one behind the
    /// other make one chunk.
    pub fn push(&mut self, sample: TableSample, place: u64) {
        if let Some((time, duration)) = self.last {
            // Where a gap is longer than a duration can say (2^32 ticks are thirteen hours at 90 kHz), what follows comes early.
            let distance = match sample.decode_time - time {
                ticks if ticks > 0 => u32::try_from(ticks).unwrap_or(u32::MAX),
                _ => duration,
            };
            self.add_duration(distance);
            self.last = Some((time + i64::from(distance), sample.duration));
        } else {
            self.last = Some((sample.decode_time, sample.duration));
        }
        match self.offsets.last_mut() {
            Some((count, offset)) if *offset == sample.composition_offset => *count += 1,
            _ => self.offsets.push((1, sample.composition_offset)),
        }
        let continues = self.chunk_end() == Some(place);
        self.sizes.push(sample.size);
        if sample.sync {
            self.sync.push(self.sizes.len() as u32);
        }
        match self.chunks.last_mut() {
            Some((_, count)) if continues => *count += 1,
            _ => self.chunks.push((place, 1)),
        }
        self.data_end = place + u64::from(sample.size);
    }

    /// Where the bytes of the newest chunk end so far.
    fn chunk_end(&self) -> Option<u64> {
        (!self.chunks.is_empty()).then_some(self.data_end)
    }

    fn add_duration(&mut self, ticks: u32) {
        match self.durations.last_mut() {
            Some((count, duration)) if *duration == ticks => *count += 1,
            _ => self.durations.push((1, ticks)),
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// End of the newest sample on the media timeline, in ticks.
    pub fn end(&self) -> i64 {
        self.last.map_or(0, |(time, duration)| time + i64::from(duration))
    }

    fn media_duration(&self) -> u64 {
        let before: u64 = self.durations.iter().map(|(count, ticks)| u64::from(*count) * u64::from(*ticks)).sum();
        before + self.last.map_or(0, |(_, duration)| u64::from(duration))
    }

    fn write(&self, out: &mut Vec<u8>, kind: TrackKind, data_start: u64, wide: bool) {
        let last = self.last.map(|(_, duration)| (1, duration));
        write_full_box(out, *b"stts", 0, 0, |out| {
            out.put_u32((self.durations.len() + usize::from(last.is_some())) as u32);
            for (count, ticks) in self.durations.iter().chain(&last) {
                out.put_u32(*count);
                out.put_u32(*ticks);
            }
        });
        if self.offsets.iter().any(|(_, offset)| *offset != 0) {
            let version = u8::from(self.offsets.iter().any(|(_, offset)| *offset < 0));
            write_full_box(out, *b"ctts", version, 0, |out| {
                out.put_u32(self.offsets.len() as u32);
                for (count, offset) in &self.offsets {
                    out.put_u32(*count);
                    out.put_i32(*offset);
                }
            });
        }
        // Without the box every sample is one to start at.
        if kind == TrackKind::Video && self.sync.len() < self.sizes.len() {
            write_full_box(out, *b"stss", 0, 0, |out| {
                out.put_u32(self.sync.len() as u32);
                self.sync.iter().for_each(|number| out.put_u32(*number));
            });
        }
        write_full_box(out, *b"stsc", 0, 0, |out| {
            let mut runs: Vec<(u32, u32)> = Vec::new();
            for (number, (_, count)) in self.chunks.iter().enumerate() {
                if runs.last().is_none_or(|(_, before)| before != count) {
                    runs.push((number as u32 + 1, *count));
                }
            }
            out.put_u32(runs.len() as u32);
            for (first_chunk, samples) in runs {
                out.put_u32(first_chunk);
                out.put_u32(samples);
                out.put_u32(1);
            }
        });
        write_full_box(out, *b"stsz", 0, 0, |out| {
            out.put_u32(0);
            out.put_u32(self.sizes.len() as u32);
            self.sizes.iter().for_each(|size| out.put_u32(*size));
        });
        let count = self.chunks.len() as u32;
        let places = self.chunks.iter().map(|(place, _)| data_start + place);
        if wide {
            write_full_box(out, *b"co64", 0, 0, |out| {
                out.put_u32(count);
                places.for_each(|place| out.put_u64(place));
            });
        } else {
            write_full_box(out, *b"stco", 0, 0, |out| {
                out.put_u32(count);
                places.for_each(|place| out.put_u32(place as u32));
            });
        }
    }
}

/// One entry of an edit list (§8.6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// In ticks of [`MOVIE_TIMESCALE`].
    pub duration: u64,
    /// Where in the media it begins, in ticks of the track; −1: nothing is shown.
    pub media_time: i64,
}

/// A track of a movie.
#[derive(Debug, Clone)]
pub struct MovieTrack<'a> {
    /// Pictures or sound.
    pub kind: TrackKind,
    /// Its codec parameters.
    pub configuration: &'a TrackConfiguration,
    /// Its samples.
    pub table: &'a SampleTable,
    /// What of them is presented, in order; empty: all, from media time 0.
    pub edits: Vec<Edit>,
}

impl MovieTrack<'_> {
    /// How long it is presented, in ticks of [`MOVIE_TIMESCALE`].
    fn presented(&self) -> u64 {
        if self.edits.is_empty() {
            let ticks = u128::from(self.table.media_duration()) * u128::from(MOVIE_TIMESCALE);
            return u64::try_from(ticks / u128::from(self.configuration.timescale.max(1))).unwrap_or(u64::MAX);
        }
        self.edits.iter().map(|edit| edit.duration).sum()
    }
}

/// Appends a `moov` for media data whose first byte is at `data_start` of the file; `wide` writes 64-bit chunk places, which a
/// file of 4 GiB or more needs. The size of the box depends on `wide`, never on `data_start`.
pub fn write_movie(out: &mut Vec<u8>, tracks: &[MovieTrack<'_>], data_start: u64, wide: bool) {
    let duration = tracks.iter().map(MovieTrack::presented).max().unwrap_or(0);
    write_box(out, *b"moov", |out| {
        write_movie_header(out, MOVIE_TIMESCALE, duration, 3);
        for track in tracks {
            let MovieTrack { kind, configuration, table, edits } = track;
            write_box(out, *b"trak", |out| {
                write_track_header(out, super::writer::track_id(*kind), *kind, configuration, track.presented());
                if !edits.is_empty() {
                    write_box(out, *b"edts", |out| {
                        write_full_box(out, *b"elst", 1, 0, |out| {
                            out.put_u32(edits.len() as u32);
                            for edit in edits {
                                out.put_u64(edit.duration);
                                out.put_i64(edit.media_time);
                                // Rate 1.
                                out.put_u32(0x0001_0000);
                            }
                        });
                    });
                }
                write_box(out, *b"mdia", |out| {
                    write_media_header(out, configuration.timescale, table.media_duration());
                    write_handler(out, *kind);
                    write_media_information(out, *kind, configuration, |out| table.write(out, *kind, data_start, wide));
                });
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(decode_time: i64, size: u32, sync: bool) -> TableSample {
        TableSample { decode_time, composition_offset: 0, duration: 40, size, sync }
    }

    #[test]
    fn a_gap_stretches_the_sample_before_it_and_nothing_goes_back() {
        let mut table = SampleTable::default();
        table.push(sample(0, 5, true), 0);
        table.push(sample(40, 5, false), 5);
        table.push(sample(1000, 5, true), 10);
        table.push(sample(900, 5, false), 15);
        assert_eq!(table.durations, [(1, 40), (1, 960), (1, 40)]);
        assert_eq!((table.end(), table.media_duration()), (1080, 1080));
        assert_eq!(table.sync, [1, 3]);
    }

    #[test]
    fn samples_that_lie_one_behind_the_other_make_a_chunk() {
        let mut table = SampleTable::default();
        for (number, place) in [0, 10, 20, 100, 110, 200].into_iter().enumerate() {
            table.push(sample(number as i64 * 40, 10, true), place);
        }
        assert_eq!(table.chunks, [(0, 3), (100, 2), (200, 1)]);
    }

    #[test]
    fn the_size_does_not_depend_on_where_the_data_begins() {
        let mut table = SampleTable::default();
        table.push(sample(0, 5, true), 0);
        let configuration = TrackConfiguration {
            codec: crate::media::frame::Codec::H264,
            timescale: 1000,
            sample_entry: bytes::Bytes::from_static(&[0, 0, 0, 8, b'a', b'v', b'c', b'1']),
            codec_string: String::new(),
            width: 16,
            height: 16,
            sample_rate: 0,
            channels: 0,
        };
        let track = MovieTrack {
            kind: TrackKind::Video,
            configuration: &configuration,
            table: &table,
            edits: vec![Edit { duration: 40_000, media_time: 0 }],
        };
        let length = |start, wide| {
            let mut out = Vec::new();
            write_movie(&mut out, std::slice::from_ref(&track), start, wide);
            out.len()
        };
        assert_eq!(length(0, false), length(4_000_000_000, false));
        assert_eq!(length(0, true), length(u64::MAX / 2, true));
        assert_eq!(length(0, true), length(0, false) + 4);
    }
}
