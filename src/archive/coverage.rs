//! Pure: how much of a time span an archive really holds, and why it does not hold the rest. Every microsecond of the span is
//! either covered or in exactly one gap with a reason. Must not read files or the clock.
//!
//! What counts as covered is what the index says of playable ranges (their sample durations, each capped by the writer, so
//! that a frozen camera never counts as recorded). Spans that two runs both hold, because the clock stepped back in between,
//! count once. Pictures that cannot be decoded, because the key frame before them is not there, do not count.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::index::{CONNECTING, FileEntry, Gap, RECORDER_DOWN};
use super::span::{follows, goes_on};
use crate::media::frame::UtcMicros;

/// Gap reason: the recording did not exist yet.
pub const NOT_RECORDED: &str = "NotRecorded";
/// Gap reason: retention deleted what was there.
pub const DELETED: &str = "Deleted";
/// Gap reason: pictures are there, but the key frame that they need is not.
pub const UNDECODABLE: &str = "Undecodable";

/// Between two ranges that follow each other in one run a hole up to this is no gap: sample durations are in ticks and the
/// clock is slewed, so their sum misses the next start by a little; a real hole of more than 1 s closes the file.
const CONTINUOUS_MICROS: i64 = 1_000_000;

/// How long the newest file may be silent before its tail counts as a gap: frames are flushed once a second and a range of the
/// index is closed at a key frame, so the newest seconds are on the way, not missing.
const LIVE_TAIL_MICROS: i64 = 15_000_000;

/// What is known beside the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When the recording began to exist; before it nothing was to be recorded. `None`: the first file's start.
    pub created: Option<UtcMicros>,
    /// Retention has deleted files that end no later than this.
    pub deleted_until: Option<UtcMicros>,
    /// Gaps that were written down, in any order.
    pub gaps: Vec<Gap>,
}

/// How much of a span is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// First instant of the span.
    pub from: UtcMicros,
    /// End of the span; never in the future.
    pub to: UtcMicros,
    /// Video that is held and can be played, microseconds.
    pub covered_micros: i64,
    /// `covered_micros` by the length of the span, 0 to 1; 1 for an empty span.
    pub ratio: f64,
    /// What is missing, oldest first; together with `covered_micros` it adds up to the span.
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// The ratio in parts per million, rounded down, so that only the whole is 1 000 000.
    pub fn parts_per_million(&self) -> u32 {
        let span = i128::from(self.to.0 - self.from.0);
        if span <= 0 {
            return 1_000_000;
        }
        u32::try_from(i128::from(self.covered_micros) * 1_000_000 / span).unwrap_or(1_000_000)
    }
}

/// A half-open span of UTC microseconds, with the reason why nothing follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span<'a> {
    from: i64,
    to: i64,
    after: Option<&'a str>,
}

/// How much of `from` to `to` is held in `files` (in any order), as of `horizon` (see [`horizon`]): what lies after it is in
/// the future and not part of the answer.
pub fn coverage(
    files: &[FileEntry],
    history: &History,
    from: UtcMicros,
    to: UtcMicros,
    horizon: UtcMicros,
) -> Coverage {
    let to = UtcMicros(to.0.min(horizon.0).max(from.0));
    let mut held = Vec::new();
    let mut undecodable = Vec::new();
    collect_spans(files, &mut held, &mut undecodable);
    let held = union(held);
    let created = creation(files, history);

    let mut covered_micros = 0;
    let mut gaps = Vec::new();
    let mut cursor = from.0;
    // Before its first file a recording waits for the camera's first picture.
    let mut reason_before = Some(CONNECTING);
    for span in &held {
        if span.to <= from.0 {
            reason_before = span.after;
            continue;
        }
        if span.from >= to.0 {
            break;
        }
        let (start, end) = (span.from.max(from.0), span.to.min(to.0));
        explain(cursor, start, reason_before, created, history, &undecodable, &mut gaps);
        covered_micros += end - start;
        cursor = end;
        reason_before = span.after;
    }
    explain(cursor, to.0, reason_before, created, history, &undecodable, &mut gaps);

    let span = to.0 - from.0;
    let ratio = if span > 0 { covered_micros as f64 / span as f64 } else { 1.0 };
    Coverage { from, to, covered_micros, ratio, gaps }
}

/// Until when an archive can be judged at `now`: the end of a file that is being written (its next seconds are on their way),
/// else `now`.
pub fn horizon(files: &[FileEntry], now: UtcMicros) -> UtcMicros {
    let writing = files.iter().filter(|file| !file.closed && file.gap_after.is_none()).map(|file| file.end.0).max();
    match writing {
        Some(end) if end <= now.0 && now.0 - end <= LIVE_TAIL_MICROS => UtcMicros(end),
        _ => now,
    }
}

/// The whole UTC hour that ended last at `now`.
pub fn last_closed_hour(now: UtcMicros) -> (UtcMicros, UtcMicros) {
    const HOUR: i64 = 3_600_000_000;
    let end = now.0.div_euclid(HOUR) * HOUR;
    (UtcMicros(end - HOUR), UtcMicros(end))
}

/// The whole UTC day that ended last at `now`.
pub fn last_closed_day(now: UtcMicros) -> (UtcMicros, UtcMicros) {
    const DAY: i64 = 86_400_000_000;
    let end = now.0.div_euclid(DAY) * DAY;
    (UtcMicros(end - DAY), UtcMicros(end))
}

/// The UTC midnight that begins a date.
pub fn start_of_day(date: Date) -> UtcMicros {
    let midnight = TimeZone::UTC.to_timestamp(date.to_datetime(Time::midnight()));
    UtcMicros::from_timestamp(midnight.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Since when something was to be recorded. A file or a deletion from before says that the clock was wrong when the recording
/// was made.
fn creation(files: &[FileEntry], history: &History) -> i64 {
    let first = files.iter().map(|file| file.start.0).min().unwrap_or(i64::MAX);
    let created = history.created.map_or(first, |at| at.0.min(first));
    if history.deleted_until.is_some_and(|at| at.0 < created) { i64::MIN } else { created }
}

fn collect_spans<'a>(files: &'a [FileEntry], held: &mut Vec<Span<'a>>, undecodable: &mut Vec<Span<'a>>) {
    let mut ordered: Vec<&FileEntry> = files.iter().collect();
    ordered.sort_by_key(|file| (file.run, file.first_sequence, file.start));
    ordered.dedup_by_key(|file| (file.run, file.first_sequence, file.name));
    // The newest span of the run that goes on, and whether decoding reaches its end.
    let mut previous: Option<(&FileEntry, usize, bool)> = None;
    for file in ordered {
        let mut decodable =
            !file.dependent || previous.is_some_and(|(before, _, decodable)| decodable && follows(before, file));
        let goes_on = previous.filter(|(before, _, _)| decodable && goes_on(before, file));
        let mut last = goes_on.map(|(_, index, _)| index);
        for range in &file.ranges {
            decodable |= range.independent;
            let end = range.start.0.saturating_add(range.duration_micros.max(0));
            if !decodable {
                undecodable.push(Span { from: range.start.0, to: end, after: None });
                continue;
            }
            // The range before is stretched over the rounding; one that runs into this one is cut by the union.
            if let Some(index) = last {
                let before: &mut Span<'_> = &mut held[index];
                if before.to < range.start.0 && range.start.0 - before.to <= CONTINUOUS_MICROS {
                    before.to = range.start.0;
                }
            }
            last = Some(held.len());
            held.push(Span { from: range.start.0, to: end, after: None });
        }
        if let Some(index) = last {
            held[index].after = file.gap_after.as_deref();
            previous = Some((file, index, decodable));
        } else {
            previous = None;
        }
    }
}

/// Sorted, disjoint, not touching. The reason after a merged span is that of the part that reaches furthest.
fn union(mut spans: Vec<Span<'_>>) -> Vec<Span<'_>> {
    spans.retain(|span| span.from < span.to);
    spans.sort_unstable();
    let mut merged: Vec<Span<'_>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.to => {
                if span.to > last.to || (span.to == last.to && span.after.is_some()) {
                    last.after = span.after;
                }
                last.to = last.to.max(span.to);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Appends the hole `from` to `to` to `gaps`, split where the reason changes.
fn explain(
    from: i64,
    to: i64,
    reason_before: Option<&str>,
    created: i64,
    history: &History,
    undecodable: &[Span<'_>],
    gaps: &mut Vec<Gap>,
) {
    if from >= to {
        return;
    }
    // Every instant at which the reason may change, then one answer for each piece.
    let mut cuts = vec![from, to, created, history.deleted_until.map_or(from, |at| at.0)];
    cuts.extend(history.gaps.iter().flat_map(|gap| [gap.from.0, gap.to.0]));
    cuts.extend(undecodable.iter().flat_map(|span| [span.from, span.to]));
    cuts.retain(|&at| from <= at && at <= to);
    cuts.sort_unstable();
    cuts.dedup();
    for piece in cuts.windows(2) {
        let (start, end) = (piece[0], piece[1]);
        let written = history.gaps.iter().rfind(|gap| gap.from.0 <= start && start < gap.to.0);
        let reason = if start < created {
            NOT_RECORDED
        } else if undecodable.iter().any(|span| span.from <= start && start < span.to) {
            UNDECODABLE
        } else if let Some(gap) = written {
            &gap.reason
        } else if history.deleted_until.is_some_and(|at| start < at.0) {
            DELETED
        } else {
            reason_before.unwrap_or(RECORDER_DOWN)
        };
        match gaps.last_mut() {
            Some(last) if last.to.0 == start && last.reason == reason => last.to = UtcMicros(end),
            _ => gaps.push(Gap { from: UtcMicros(start), to: UtcMicros(end), reason: reason.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::{ByteRange, FileName, Hour};
    use super::*;
    use crate::media::frame::RunId;

    const SECOND: i64 = 1_000_000;

    /// A file of one-second ranges: `start` and `seconds` in seconds, `sequence` of the first frame at 10 frames a second.
    fn file(run: u64, sequence: u64, start: i64, seconds: i64) -> FileEntry {
        let date = jiff::civil::date(2026, 11, 21);
        FileEntry {
            name: FileName {
                hour: Hour { date, hour: 1 },
                minute: 0,
                counter: u32::try_from(run * 1000 + sequence).unwrap_or(0),
            },
            run: RunId(run),
            first_sequence: sequence,
            last_sequence: sequence + seconds as u64 * 10 - 1,
            start: UtcMicros(start * SECOND),
            end: UtcMicros((start + seconds) * SECOND),
            covered_micros: seconds * SECOND,
            header_bytes: 10,
            bytes: 1000,
            codecs: "avc1.640028".into(),
            width: 1920,
            height: 1080,
            ranges: (0..seconds)
                .map(|second| ByteRange {
                    offset: 10 + second as u64,
                    length: 1,
                    start: UtcMicros((start + second) * SECOND),
                    duration_micros: SECOND,
                    independent: true,
                })
                .collect(),
            closed: true,
            dependent: false,
            gap_after: None,
        }
    }

    fn ask(files: &[FileEntry], history: &History, from: i64, to: i64) -> Coverage {
        coverage(files, history, UtcMicros(from * SECOND), UtcMicros(to * SECOND), UtcMicros(1_000_000 * SECOND))
    }

    fn told(coverage: &Coverage) -> Vec<(i64, i64, &str)> {
        coverage.gaps.iter().map(|gap| (gap.from.0 / SECOND, gap.to.0 / SECOND, gap.reason.as_str())).collect()
    }

    fn gap(from: i64, to: i64, reason: &str) -> Gap {
        Gap { from: UtcMicros(from * SECOND), to: UtcMicros(to * SECOND), reason: reason.into() }
    }

    #[test]
    fn files_that_follow_each_other_leave_no_gap_and_a_hole_has_the_reason_written_at_its_start() {
        let mut second = file(1, 600, 60, 60);
        second.gap_after = Some("Stalled".into());
        let files = [file(1, 0, 0, 60), second, file(2, 0, 150, 30)];
        let answer = ask(&files, &History::default(), 0, 180);
        assert_eq!(answer.covered_micros, 150 * SECOND);
        assert_eq!(told(&answer), [(120, 150, "Stalled")]);
        assert_eq!(answer.parts_per_million(), 833_333);
    }

    #[test]
    fn what_was_before_the_recording_and_what_was_deleted_are_told_apart() {
        let files = [file(1, 0, 300, 60)];
        let history = History {
            created: Some(UtcMicros(100 * SECOND)),
            deleted_until: Some(UtcMicros(200 * SECOND)),
            gaps: vec![gap(200, 300, "Unreachable")],
        };
        let answer = ask(&files, &history, 0, 360);
        assert_eq!(told(&answer), [(0, 100, NOT_RECORDED), (100, 200, DELETED), (200, 300, "Unreachable")]);
    }

    #[test]
    fn a_recording_that_never_recorded_says_so() {
        assert_eq!(told(&ask(&[], &History::default(), 0, 10)), [(0, 10, NOT_RECORDED)]);
    }

    #[test]
    fn overlapping_runs_count_once() {
        let files = [file(1, 0, 0, 60), file(2, 0, 30, 60)];
        let answer = ask(&files, &History::default(), 0, 90);
        assert_eq!(answer.covered_micros, 90 * SECOND);
        assert!(answer.gaps.is_empty());
    }

    #[test]
    fn rounding_between_ranges_of_a_run_is_no_gap_but_between_runs_it_is() {
        let mut first = file(1, 0, 0, 2);
        first.ranges[0].duration_micros -= 700;
        first.ranges[1].duration_micros -= 700;
        let second = file(1, 20, 2, 1);
        let answer = ask(&[second.clone(), first.clone()], &History::default(), 0, 3);
        assert_eq!((answer.covered_micros, answer.gaps.len()), (3 * SECOND, 0));
        let other_run = file(2, 0, 2, 1);
        let answer = ask(&[first, other_run], &History::default(), 0, 3);
        assert_eq!(answer.covered_micros, 3 * SECOND - 700);
    }

    #[test]
    fn a_dependent_file_counts_only_behind_the_file_it_needs() {
        let mut dependent = file(1, 20, 2, 3);
        dependent.dependent = true;
        dependent.ranges[0].independent = false;
        let both = ask(&[file(1, 0, 0, 2), dependent.clone()], &History::default(), 0, 5);
        assert_eq!(both.covered_micros, 5 * SECOND);
        // The camera sent nothing for two seconds, and then what needs what it had sent before.
        let before = FileEntry { gap_after: Some("Stalled".into()), ..file(1, 0, -2, 2) };
        let after_a_gap = ask(&[before, dependent.clone()], &History::default(), -2, 5);
        assert_eq!((after_a_gap.covered_micros, told(&after_a_gap)), (5 * SECOND, vec![(0, 2, "Stalled")]));
        let alone = ask(&[dependent], &History { created: Some(UtcMicros(0)), ..History::default() }, 0, 5);
        assert_eq!(alone.covered_micros, 2 * SECOND);
        assert_eq!(told(&alone), [(0, 2, CONNECTING), (2, 3, UNDECODABLE)]);
    }

    #[test]
    fn the_future_is_not_part_of_the_answer_and_the_newest_seconds_are_on_their_way() {
        let mut writing = file(1, 0, 0, 60);
        writing.closed = false;
        let now = UtcMicros(62 * SECOND);
        let horizon = horizon(std::slice::from_ref(&writing), now);
        assert_eq!(horizon, UtcMicros(60 * SECOND));
        let answer = coverage(&[writing.clone()], &History::default(), UtcMicros(0), UtcMicros(100 * SECOND), horizon);
        assert_eq!((answer.to, answer.ratio), (horizon, 1.0));
        let later = UtcMicros(90 * SECOND);
        assert_eq!(super::horizon(&[writing], later), later, "a silent file is a gap");
        let all_future = ask(&[], &History::default(), 2_000_000, 2_000_010);
        assert_eq!((all_future.from, all_future.covered_micros, all_future.gaps.len()), (all_future.to, 0, 0));
    }

    #[test]
    fn closed_hours_and_days_are_utc() {
        let now = UtcMicros::from_timestamp("2026-03-29T02:30:00Z".parse().unwrap_or_default());
        let (from, to) = last_closed_hour(now);
        assert_eq!(
            (from.to_string(), to.to_string()),
            ("2026-03-29T01:00:00.000Z".into(), "2026-03-29T02:00:00.000Z".into())
        );
        let (from, to) = last_closed_day(now);
        assert_eq!(to, start_of_day(jiff::civil::date(2026, 3, 29)));
        assert_eq!(from, start_of_day(jiff::civil::date(2026, 3, 28)));
    }

    prop_compose! {
        fn any_file()(
            run in 1_u64..4, sequence in 0_u64..200, start in 0_i64..300, seconds in 1_i64..40,
            jitter in prop::collection::vec(-1_200_000_i64..1_200_000, 40), dependent: bool, independent: u64,
            reason in prop::option::of(prop::sample::select(vec!["Stalled", "Unreachable"])),
        ) -> FileEntry {
            let mut file = file(run, sequence, start, seconds);
            file.dependent = dependent;
            for (index, range) in file.ranges.iter_mut().enumerate() {
                range.duration_micros += jitter[index].min(0);
                range.start.0 += jitter[index].max(0);
                range.independent = independent >> index & 1 == 1;
            }
            file.gap_after = reason.map(str::to_owned);
            file
        }
    }

    proptest! {
        #[test]
        fn every_microsecond_is_covered_or_in_one_gap(
            files in prop::collection::vec(any_file(), 0..8),
            gaps in prop::collection::vec((0_i64..300, 0_i64..60), 0..4),
            created in prop::option::of(0_i64..200), deleted in prop::option::of(0_i64..200),
            from in 0_i64..300, length in 0_i64..300, horizon in 0_i64..500,
        ) {
            let history = History {
                created: created.map(|at| UtcMicros(at * SECOND)),
                deleted_until: deleted.map(|at| UtcMicros(at * SECOND)),
                gaps: gaps.into_iter().map(|(from, length)| gap(from, from + length, "CredentialRefused")).collect(),
            };
            let (from, to, horizon) = (UtcMicros(from * SECOND + 7), UtcMicros((from + length) * SECOND + 7), UtcMicros(horizon * SECOND));
            let answer = coverage(&files, &history, from, to, horizon);
            let missing: i64 = answer.gaps.iter().map(|gap| gap.to.0 - gap.from.0).sum();
            prop_assert_eq!(answer.covered_micros + missing, answer.to.0 - answer.from.0);
            prop_assert!(answer.to <= horizon.max(from) && answer.to >= from);
            prop_assert!((0.0..=1.0).contains(&answer.ratio));
            for gap in &answer.gaps {
                prop_assert!(from <= gap.from && gap.from < gap.to && gap.to <= answer.to && !gap.reason.is_empty());
            }
            for pair in answer.gaps.windows(2) {
                prop_assert!(pair[0].to <= pair[1].from);
            }
            // The same files again, in another order, hold no more.
            let mut twice = files.clone();
            twice.extend(files.iter().rev().cloned());
            prop_assert_eq!(coverage(&twice, &history, from, to, horizon).covered_micros, answer.covered_micros);
        }
    }
}
