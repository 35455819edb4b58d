//! The coverage of one recording, from its index: gathers what [`super::coverage`] judges. Blocks on the disk.

use super::ArchiveError;
use super::coverage::{Coverage, DELETED, History, NOT_RECORDED, coverage, horizon, last_closed_day, last_closed_hour};
use super::description::{ClipState, Description};
use super::index::{ByteRange, FileEntry, FileName, Gap, Hour};
use super::recording::RecordingIndex;
use super::span::LEAD_IN_MICROS;
use crate::media::frame::{RunId, UtcMicros};

/// How many of the newest gaps are told.
const NEWEST_GAPS: usize = 10;

/// What there is to tell of a recording now and then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LedgerFacts {
    /// Share of the last closed UTC hour, in parts per million; `None` when the recording is younger.
    pub hour_ppm: Option<u32>,
    /// Share of the last closed UTC day, in parts per million; of the part since the recording was made.
    pub day_ppm: Option<u32>,
    /// The newest gaps since the last closed day began, oldest first.
    pub last_gaps: Vec<Gap>,
}

/// How much of a span a recording holds.
///
/// # Errors
/// When the index cannot be read.
pub fn recording_coverage(
    index: &RecordingIndex,
    from: UtcMicros,
    to: UtcMicros,
    now: UtcMicros,
) -> Result<Coverage, ArchiveError> {
    let description = index.description();
    let history = history(description.as_deref());
    if let Some(clip) = description.as_ref().and_then(|description| description.clip.as_ref()) {
        let files = clip_files(clip, now);
        // A clip that is complete, or not begun, has nothing to miss outside of itself.
        return Ok(coverage(&files, &history, from, to, now));
    }
    let mut files = index.files_between(from.plus_micros(-LEAD_IN_MICROS), to)?;
    files.extend(newest_before(index, from)?.filter(|before| files.iter().all(|file| file.name != before.name)));
    let horizon = horizon(&files, now);
    Ok(coverage(&files, &history, from, to, horizon))
}

/// Coverage of the last closed hour and day, and the newest gaps.
///
/// # Errors
/// When the index cannot be read.
pub fn facts(index: &RecordingIndex, now: UtcMicros) -> Result<LedgerFacts, ArchiveError> {
    let created = index.description().map_or(now, |description| description.created);
    let share = |(from, to): (UtcMicros, UtcMicros)| -> Result<Option<u32>, ArchiveError> {
        let from = from.max(created);
        if from >= to {
            return Ok(None);
        }
        Ok(Some(recording_coverage(index, from, to, now)?.parts_per_million()))
    };
    let day = last_closed_day(now);
    let since = recording_coverage(index, day.0.max(created.min(now)), now, now)?;
    let mut last_gaps = since.gaps;
    // What is still going on is told by the recording's state.
    last_gaps.retain(|gap| gap.to < since.to);
    last_gaps.retain(|gap| gap.reason != NOT_RECORDED && gap.reason != DELETED);
    let last_gaps = last_gaps.split_off(last_gaps.len().saturating_sub(NEWEST_GAPS));
    Ok(LedgerFacts { hour_ppm: share(last_closed_hour(now))?, day_ppm: share(day)?, last_gaps })
}

fn history(description: Option<&Description>) -> History {
    let Some(description) = description else { return History::default() };
    let gaps = description.clip.as_ref().map(|clip| clip.gaps.clone()).unwrap_or_default();
    History { created: Some(description.created), deleted_until: description.deleted_until, gaps }
}

/// The file that ended last before `instant`: it knows why nothing followed.
fn newest_before(index: &RecordingIndex, instant: UtcMicros) -> Result<Option<FileEntry>, ArchiveError> {
    let first = Hour::of(instant);
    for hour in index.hours().into_iter().rev().filter(|hour| *hour <= first) {
        let files = index.files(hour)?;
        if let Some(file) = files.iter().filter(|file| file.end <= instant).max_by_key(|file| file.end) {
            return Ok(Some(file.clone()));
        }
    }
    Ok(None)
}

/// A clip's parts as files: held from beginning to end, but for the gaps.
fn clip_files(clip: &ClipState, now: UtcMicros) -> Vec<FileEntry> {
    let completion = clip.completion.as_ref().map_or(now, |completion| completion.at);
    let mut files: Vec<FileEntry> = Vec::new();
    for (number, part) in clip.parts.iter().enumerate() {
        let next = clip.parts.get(number + 1).map_or(completion, |next| next.start);
        let end = part.end.unwrap_or(next).min(now);
        let mut ranges = Vec::new();
        let mut at = part.start;
        let mut add = |from: UtcMicros, to: UtcMicros| {
            if from < to {
                let duration_micros = to.0 - from.0;
                ranges.push(ByteRange { offset: 0, length: 0, start: from, duration_micros, independent: true });
            }
        };
        for gap in &clip.gaps {
            if gap.to > at && gap.from < end {
                add(at, gap.from);
                at = gap.to.max(at);
            }
        }
        add(at, end);
        files.push(FileEntry {
            name: FileName::of(part.start),
            // Apart from each other, so that no gap is taken for rounding.
            run: RunId(number as u64),
            first_sequence: 0,
            last_sequence: 0,
            start: part.start,
            end,
            covered_micros: 0,
            header_bytes: 0,
            bytes: 0,
            codecs: part.codecs.clone(),
            width: part.width,
            height: part.height,
            ranges,
            closed: part.end.is_some(),
            dependent: false,
            gap_after: None,
        });
    }
    files
}
