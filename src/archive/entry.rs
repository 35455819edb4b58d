//! Makes a file's index entry from what is written into it, fragment by fragment: the same way while it is written and when it
//! is read again after a crash, so that both come to the same. Pure. A damaged mark may say anything: nothing here overflows.

use super::cut::{BatchFacts, VideoSpan};
use super::index::{ByteRange, FileEntry, FileName};
use super::mark::{EndMark, FileMark};
use crate::media::frame::UtcMicros;

/// About how long a playable range is, microseconds.
const RANGE: i64 = 6_000_000;
/// A range is ended at any picture when it has become this long, microseconds.
const LONGEST_RANGE: i64 = 12_000_000;

/// Gathers an entry.
#[derive(Debug, Clone)]
pub struct EntryBuilder {
    entry: FileEntry,
    started: bool,
    first: i64,
    /// Media time at which the newest range starts, and at which its newest key frame stands.
    range_from: i64,
    key_at: i64,
}

impl EntryBuilder {
    /// The entry of a file that holds its header (`header_bytes`) and its first mark, `bytes` in all, and no frame yet. `start`
    /// is what the name says, until a picture tells it.
    pub fn new(name: FileName, mark: FileMark, start: UtcMicros, header_bytes: u64, bytes: u64) -> Self {
        let entry = FileEntry {
            name,
            run: mark.run,
            first_sequence: 0,
            last_sequence: 0,
            start,
            end: start,
            covered_micros: 0,
            header_bytes,
            bytes,
            codecs: mark.codecs,
            width: mark.width,
            height: mark.height,
            ranges: Vec::new(),
            closed: false,
            dependent: mark.dependent,
            gap_after: None,
        };
        Self { entry, started: false, first: 0, range_from: 0, key_at: 0 }
    }

    /// Says with which frame the file will begin, so that it stands in its place before that is written.
    pub const fn begin_at(&mut self, first_sequence: u64) {
        self.entry.first_sequence = first_sequence;
    }

    /// A fragment (its mark included) of `length` bytes was appended.
    pub fn add(&mut self, facts: &BatchFacts, length: u64) {
        let entry = &mut self.entry;
        if !self.started {
            entry.first_sequence = facts.first_sequence;
        }
        entry.last_sequence = entry.last_sequence.max(facts.through);
        match &facts.video {
            Some(video) => self.add_video(video, facts.independent, length),
            // Sound alone belongs to the pictures before it.
            None => {
                if let Some(range) = entry.ranges.last_mut() {
                    range.length += length;
                }
            }
        }
        self.started = true;
        self.entry.bytes += length;
    }

    fn add_video(&mut self, video: &VideoSpan, independent: bool, length: u64) {
        let entry = &mut self.entry;
        let fresh = entry.ranges.is_empty();
        if fresh {
            entry.start = video.utc;
            self.first = video.from;
        }
        let so_far = video.from.saturating_sub(self.range_from);
        // A key frame ends the range if the next one would be further from the wanted length.
        let enough = if independent {
            so_far.saturating_add(video.from.saturating_sub(self.key_at) / 2) >= RANGE
        } else {
            so_far >= LONGEST_RANGE
        };
        if let Some(range) = entry.ranges.last_mut() {
            // The next picture tells how long the last one really lasted.
            range.duration_micros = video.from.saturating_sub(self.range_from).max(0);
        }
        if fresh || enough {
            self.range_from = video.from;
            let offset = entry.bytes;
            entry.ranges.push(ByteRange { offset, length: 0, start: video.utc, duration_micros: 0, independent });
        }
        if independent || fresh {
            self.key_at = video.from;
        }
        if let Some(range) = entry.ranges.last_mut() {
            range.length += length;
            range.duration_micros = video.to.saturating_sub(self.range_from).max(0);
        }
        entry.end = video.end_utc;
        entry.covered_micros = video.to.saturating_sub(self.first).max(0);
    }

    /// The mark that ends the file, of `length` bytes, was appended.
    pub fn end(&mut self, mark: &EndMark, length: u64) {
        let entry = &mut self.entry;
        entry.gap_after.clone_from(&mark.gap);
        entry.closed = mark.closed;
        entry.bytes += length;
        if let (Some(until), Some(range)) = (mark.until, entry.ranges.last_mut()) {
            range.duration_micros = until.to.saturating_sub(self.range_from).max(0);
            entry.covered_micros = until.to.saturating_sub(self.first).max(0);
            entry.end = until.end_utc;
        }
    }

    /// The entry so far.
    pub const fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// The entry.
    pub fn into_entry(self) -> FileEntry {
        self.entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::RunId;

    fn builder() -> EntryBuilder {
        let mark = FileMark { run: RunId(1), codecs: "jpeg".into(), width: 1, height: 1, dependent: false };
        EntryBuilder::new(FileName::of(UtcMicros(0)), mark, UtcMicros(0), 100, 150)
    }

    /// Fragments of these lengths (ms), the key ones positive; durations and independence of the ranges that come out.
    fn ranges(fragments: &[i64]) -> Vec<(i64, bool)> {
        let mut builder = builder();
        let mut at = 0;
        for (number, millis) in fragments.iter().enumerate() {
            let (from, to) = (at, at + millis.abs() * 1000);
            at = to;
            let video = VideoSpan { utc: UtcMicros(from), end_utc: UtcMicros(to), from, to };
            let sequence = number as u64;
            let facts = BatchFacts {
                first_sequence: sequence,
                through: sequence,
                independent: *millis > 0,
                video: Some(video),
            };
            builder.add(&facts, 10);
        }
        let entry = builder.into_entry();
        assert_eq!(entry.covered_micros, at);
        assert_eq!(entry.bytes, 150 + 10 * fragments.len() as u64);
        let mut offset = 150;
        for range in &entry.ranges {
            assert_eq!(range.offset, offset, "ranges follow each other");
            offset += range.length;
        }
        assert_eq!(offset, entry.bytes);
        entry.ranges.iter().map(|range| (range.duration_micros / 1000, range.independent)).collect()
    }

    #[test]
    fn ranges_are_whole_gops_of_about_six_seconds() {
        assert_eq!(ranges(&[1000; 14]), [(6000, true), (6000, true), (2000, true)]);
        assert_eq!(ranges(&[2000; 4]), [(6000, true), (2000, true)]);
        assert_eq!(ranges(&[4000; 3]), [(4000, true), (4000, true), (4000, true)]);
        assert_eq!(ranges(&[10_000; 2]), [(10_000, true), (10_000, true)]);
        assert_eq!(ranges(&[3000; 3]), [(6000, true), (3000, true)]);
    }

    #[test]
    fn a_long_gop_is_cut_into_ranges_that_say_so() {
        let mut fragments = vec![1000];
        fragments.extend([-1000; 29]);
        assert_eq!(ranges(&fragments), [(12_000, true), (12_000, false), (6000, false)]);
    }

    #[test]
    fn the_next_picture_corrects_a_guessed_duration() {
        let mut builder = builder();
        for (from, to) in [(0, 900_000), (1_000_000, 2_000_000), (1_900_000, 2_500_000)] {
            let video = VideoSpan { utc: UtcMicros(from), end_utc: UtcMicros(to), from, to };
            builder.add(&BatchFacts { first_sequence: 0, through: 0, independent: true, video: Some(video) }, 10);
        }
        let entry = builder.into_entry();
        assert_eq!((entry.covered_micros, entry.ranges[0].duration_micros), (2_500_000, 2_500_000));
    }

    #[test]
    fn sound_alone_adds_bytes_but_no_time() {
        let mut builder = builder();
        let video = VideoSpan { utc: UtcMicros(5), end_utc: UtcMicros(10), from: 0, to: 5 };
        builder.add(&BatchFacts { first_sequence: 3, through: 3, independent: true, video: Some(video) }, 10);
        builder.add(&BatchFacts { first_sequence: 4, through: 6, independent: false, video: None }, 7);
        builder.end(&EndMark { gap: Some("Stalled".into()), until: None, closed: true }, 30);
        let entry = builder.into_entry();
        assert_eq!((entry.first_sequence, entry.last_sequence, entry.covered_micros), (3, 6, 5));
        assert_eq!((entry.bytes, entry.ranges[0].length), (197, 17));
        assert_eq!((entry.closed, entry.gap_after.as_deref()), (true, Some("Stalled")));
    }
}
