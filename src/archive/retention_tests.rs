//! Tests of the retention plan: tables for the rules, properties for what must never happen.

use proptest::prelude::*;

use super::super::index::Hour;
use super::*;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1440 * MINUTE;
const DAY_MS: u64 = 86_400_000;
const MIB: u64 = 1 << 20;

fn path(name: &str) -> RecordingPath {
    RecordingPath { namespace: "shop".into(), name: name.into() }
}

/// A file of one minute that starts at `minute`, of 1 MiB.
fn segment(minute: i64) -> FileFacts {
    let start = UtcMicros(minute * MINUTE);
    FileFacts {
        item: Item::Segment(FileName::of(start)),
        order: (RunId(1), minute as u64),
        start,
        end: start.plus_micros(MINUTE),
        bytes: MIB,
        in_use: false,
    }
}

fn recording(name: &str, rules: Rules, minutes: impl IntoIterator<Item = i64>) -> RecordingFacts {
    RecordingFacts { path: path(name), declared: true, rules, files: minutes.into_iter().map(segment).collect() }
}

fn age(days: u64) -> Rules {
    Rules { max_age_ms: Some(days * DAY_MS), max_bytes: None }
}

fn at(minute: i64) -> Situation {
    Situation { now: UtcMicros(minute * MINUTE), free_bytes: 100 * MIB, ..Situation::default() }
}

fn minutes(plan: &RetentionPlan) -> Vec<(i64, DeletionReason)> {
    plan.deletions.iter().map(|deletion| (deletion.start.0 / MINUTE, deletion.reason)).collect()
}

/// What is in force after a run.
fn foreseen(recordings: &[RecordingFacts], next_run: i64) -> BTreeMap<RecordingPath, Foresight> {
    let foresight = |recording: &RecordingFacts| Foresight {
        next_run: UtcMicros(next_run * MINUTE),
        declared: recording.declared,
        rules: recording.rules,
        orphans_ms: None,
    };
    recordings.iter().map(|recording| (recording.path.clone(), foresight(recording))).collect()
}

#[test]
fn age_counts_from_the_end_of_a_file() {
    let door = recording("door", age(1), [0, 1, 2]);
    // At 1 day and 2 minutes the first file ended 1 day and 1 minute ago, the second exactly a day ago.
    let plan = plan(&[door], &at(1442));
    assert_eq!(minutes(&plan), [(0, DeletionReason::MaxAge)]);
}

#[test]
fn size_takes_the_oldest_by_run_and_sequence_whatever_the_clock_said() {
    let mut door = recording("door", Rules { max_age_ms: None, max_bytes: Some(2 * MIB) }, [10, 11, 12, 13]);
    // The clock stepped back: run 2 has earlier times, but it is newer.
    door.files.push(FileFacts { order: (RunId(2), 0), ..segment(5) });
    let plan = plan(&[door], &at(20));
    assert_eq!(minutes(&plan), [10, 11, 12].map(|minute| (minute, DeletionReason::MaxSize)));
}

#[test]
fn files_in_use_stay_even_when_that_leaves_too_much() {
    let mut door = recording("door", Rules { max_age_ms: Some(1), max_bytes: Some(0) }, [0, 1]);
    door.files[0].in_use = true;
    assert_eq!(minutes(&plan(&[door], &at(99))), [(1, DeletionReason::MaxAge)]);
}

#[test]
fn room_is_made_from_the_oldest_of_all_recordings_that_have_a_rule() {
    let mut clip = recording("clip", age(30), [0]);
    clip.files[0].item = Item::Clip(1);
    let mut orphan = recording("orphan", age(30), [0]);
    orphan.declared = false;
    let recordings = [
        recording("a", age(30), [1, 4]),
        recording("b", age(30), [2, 3]),
        recording("keep", Rules::default(), [0]),
        clip,
        orphan,
    ];
    let situation = Situation { free_bytes: 2 * MIB, min_free_bytes: 5 * MIB - 1, ..at(60) };
    let answer = plan(&recordings, &situation);
    let mut taken = minutes(&answer);
    taken.sort_unstable_by_key(|(minute, _)| *minute);
    assert_eq!(taken, [1, 2, 3].map(|minute| (minute, DeletionReason::MinFree)));
    assert_eq!(answer.short_bytes, 0);
    let answer = plan(&recordings, &Situation { min_free_bytes: 50 * MIB, ..situation });
    assert_eq!((answer.deletions.len(), answer.short_bytes), (4, 44 * MIB), "nothing else may go");
}

#[test]
fn a_recording_nobody_declares_goes_as_a_whole_or_not_at_all() {
    let mut door = recording("door", age(1), [0, DAY / MINUTE]);
    door.declared = false;
    let situation = |days: i64| Situation { orphans_ms: Some(2 * DAY_MS), ..at(days * 1440 + 2) };
    assert!(plan(&[door.clone()], &situation(2)).deletions.is_empty(), "its own rules no longer apply");
    let answer = plan(&[door.clone()], &situation(3));
    assert_eq!(answer.deletions.len(), 2);
    assert!(answer.deletions.iter().all(|deletion| deletion.reason == DeletionReason::Orphan));
    assert!(plan(&[door.clone()], &Situation { orphans_ms: None, ..situation(99) }).deletions.is_empty());
    door.files[1].in_use = true;
    assert!(plan(&[door], &situation(99)).deletions.is_empty());
}

#[test]
fn a_doubtful_clock_stops_age_but_neither_size_nor_room() {
    let rules = Rules { max_age_ms: Some(DAY_MS), max_bytes: Some(2 * MIB) };
    let door = recording("door", rules, [0, 1, 2]);
    let situation = Situation { clock_doubt: Some("The clock went back.".into()), ..at(9999) };
    let answer = plan(std::slice::from_ref(&door), &situation);
    assert_eq!(minutes(&answer), [(0, DeletionReason::MaxSize)]);
    assert_eq!((answer.withheld.len(), answer.withheld[0].files), (1, 2));
    assert!(answer.withheld[0].message.contains("The clock went back."), "{:?}", answer.withheld);
    let confirmed = plan(&[door], &Situation { confirmed: true, ..situation });
    assert_eq!((confirmed.deletions.len(), confirmed.withheld.len()), (3, 0));
}

#[test]
fn tightened_rules_need_a_confirmation_and_only_theirs() {
    let before = [recording("door", age(30), 0..100), recording("yard", age(1), 0..100)];
    let foresight = foreseen(&before, 1500);
    let mut after = before.clone();
    after[0].rules = age(1);
    let situation = Situation { foresight, ..at(1500) };
    let answer = plan(&after, &situation);
    assert!(answer.deletions.iter().all(|deletion| deletion.recording == path("yard")));
    assert_eq!(answer.deletions.len(), 59);
    assert!(answer.withholds(&path("door")) && !answer.withholds(&path("yard")));
    assert!(answer.withheld[0].message.contains("shop/door"), "{:?}", answer.withheld);
    assert_eq!(plan(&after, &Situation { confirmed: true, ..situation }).deletions.len(), 118);
}

#[test]
fn a_clock_that_jumps_a_year_ahead_deletes_nothing_by_age() {
    let day = 1440;
    for days_kept in [1_u64, 2, 7, 30] {
        // One file an hour; the last run, at day 40, deleted what was older; the next is due at day 41.
        let first = (40 - days_kept as i64) * day;
        let door = recording("door", age(days_kept), (first..41 * day).step_by(60));
        let foresight = foreseen(std::slice::from_ref(&door), 41 * day);
        let on_time = plan(std::slice::from_ref(&door), &Situation { foresight: foresight.clone(), ..at(41 * day) });
        assert_eq!((on_time.deletions.len(), on_time.withheld.len()), (24, 0), "{days_kept} days");
        let jumped = plan(&[door], &Situation { foresight, ..at(41 * day + 365 * day) });
        assert_eq!((jumped.deletions.len(), jumped.withheld.len()), (0, 1), "{days_kept} days");
    }
}

#[test]
fn a_machine_that_was_off_for_a_weekend_needs_no_confirmation() {
    let day = 1440;
    let door = recording("door", age(30), (10 * day..40 * day).step_by(60));
    let foresight = foreseen(std::slice::from_ref(&door), 41 * day);
    let answer = plan(&[door], &Situation { foresight, ..at(44 * day) });
    assert_eq!((answer.deletions.len(), answer.withheld.len()), (96, 0));
}

#[test]
fn a_recording_kept_for_less_than_the_time_between_runs_needs_no_confirmation() {
    let door = recording("door", Rules { max_age_ms: Some(3_600_000), max_bytes: None }, 0..1440);
    let foresight = foreseen(std::slice::from_ref(&door), 1440);
    let answer = plan(&[door], &Situation { foresight, ..at(1440) });
    assert_eq!((answer.deletions.len(), answer.withheld.len()), (1379, 0));
}

#[test]
fn names_are_printed_as_they_are_on_the_disk() {
    let hour = Hour { date: jiff::civil::date(2026, 11, 21), hour: 1 };
    assert_eq!(Item::Segment(FileName { hour, minute: 37, counter: 2 }).to_string(), "2026-11-21/01/37-2.mp4");
    assert_eq!(Item::Clip(1).to_string(), "clip.mp4");
}

prop_compose! {
    fn any_file()(minute in 0_i64..120, run in 1_u64..4, sequence in 0_u64..1000, mib in 0_u64..5, in_use in prop::bool::weighted(0.1), clip in prop::option::weighted(0.1, 1_u32..4)) -> FileFacts {
        let file = segment(minute);
        let item = clip.map_or(file.item, Item::Clip);
        FileFacts { item, order: (RunId(run), sequence), bytes: mib * MIB, in_use, ..file }
    }
}

prop_compose! {
    fn any_rules()(half_minutes in prop::option::of(0_u64..240), max_bytes in prop::option::of(0_u64..30)) -> Rules {
        // Often a limit falls into the middle of a file.
        let max_age_ms = half_minutes.map(|half_minutes| half_minutes * 30_000);
        Rules { max_age_ms, max_bytes: max_bytes.map(|mib| mib * MIB) }
    }
}

prop_compose! {
    fn any_recording(name: &'static str)(files in prop::collection::vec(any_file(), 0..20), rules in any_rules(), declared in prop::bool::weighted(0.8)) -> RecordingFacts {
        let mut files = files;
        files.sort_by_key(|file| file.item);
        files.dedup_by_key(|file| file.item);
        RecordingFacts { path: path(name), declared, rules, files }
    }
}

prop_compose! {
    fn any_situation()(
        now in 0_i64..300, doubt: bool, free in 0_u64..20, min_free in 0_u64..40, orphans in prop::option::of(0_u64..240),
        old in prop::collection::vec((any_rules(), any::<bool>(), 0_i64..300), 0..3), confirmed: bool,
    ) -> Situation {
        let orphans = orphans.map(|half_minutes| half_minutes * 30_000);
        let foresight = ["a", "b"].into_iter().zip(old).map(|(name, (rules, declared, next_run))| {
            (path(name), Foresight { next_run: UtcMicros(next_run * MINUTE), declared, rules, orphans_ms: orphans })
        });
        Situation {
            now: UtcMicros(now * MINUTE),
            clock_doubt: doubt.then(|| "doubt.".to_owned()),
            free_bytes: free * MIB,
            min_free_bytes: min_free * MIB,
            orphans_ms: orphans,
            foresight: foresight.collect(),
            confirmed,
        }
    }
}

/// The recordings and the free space after a plan was carried out.
fn applied(
    recordings: &[RecordingFacts],
    situation: &Situation,
    plan: &RetentionPlan,
) -> (Vec<RecordingFacts>, Situation) {
    let gone = |recording: &RecordingFacts, file: &FileFacts| {
        plan.deletions.iter().any(|deletion| deletion.recording == recording.path && deletion.item == file.item)
    };
    let mut left = recordings.to_vec();
    for recording in &mut left {
        let before = recording.clone();
        recording.files.retain(|file| !gone(&before, file));
    }
    (left, Situation { free_bytes: situation.free_bytes + plan.bytes(), ..situation.clone() })
}

proptest! {
    #[test]
    fn it_never_selects_a_file_that_must_stay(a in any_recording("a"), b in any_recording("b"), situation in any_situation()) {
        let recordings = [a, b];
        let answer = plan(&recordings, &situation);
        let mut seen = HashSet::new();
        for deletion in &answer.deletions {
            let recording = recordings.iter().find(|recording| recording.path == deletion.recording);
            let Some(recording) = recording else { return Err(TestCaseError::fail("another recording")) };
            let Some(file) = recording.files.iter().find(|file| file.item == deletion.item) else {
                return Err(TestCaseError::fail("not in the index"));
            };
            prop_assert!(seen.insert((deletion.recording.clone(), deletion.item)), "twice");
            prop_assert!(!file.in_use);
            prop_assert_eq!(deletion.bytes, file.bytes);
            let older = |age: Option<u64>| age.is_some_and(|age| file.end.0 < situation.now.0 - (age * 1000) as i64);
            let by_age = situation.clock_doubt.is_none() || situation.confirmed;
            let allowed = match deletion.reason {
                DeletionReason::MaxAge => recording.declared && older(recording.rules.max_age_ms) && by_age,
                DeletionReason::MaxSize => recording.declared
                    && recording.files.iter().map(|file| file.bytes).sum::<u64>() > recording.rules.max_bytes.unwrap_or(u64::MAX),
                DeletionReason::Orphan => !recording.declared && older(situation.orphans_ms) && by_age,
                DeletionReason::MinFree => recording.declared && recording.rules.any() && situation.free_bytes < situation.min_free_bytes
                    && matches!(file.item, Item::Segment(_)),
            };
            prop_assert!(allowed, "{:?}", deletion);
            if deletion.reason == DeletionReason::MinFree {
                // Nothing older of that recording that may go is left.
                let (left, _) = applied(&recordings, &situation, &answer);
                let left = left.iter().find(|left| left.path == recording.path).map(|left| left.files.clone()).unwrap_or_default();
                prop_assert!(left.iter().filter(|other| !other.in_use && matches!(other.item, Item::Segment(_))).all(|other| other.order >= file.order));
            }
        }
    }

    #[test]
    fn it_never_selects_more_than_it_must(a in any_recording("a"), b in any_recording("b"), situation in any_situation()) {
        let recordings = [a, b];
        let answer = plan(&recordings, &situation);
        let by = |reason: DeletionReason| answer.deletions.iter().filter(move |deletion| deletion.reason == reason);
        for recording in &recordings {
            let own = |deletion: &&Deletion| deletion.recording == recording.path;
            let held: u64 = recording.files.iter().map(|file| file.bytes).sum();
            let gone = |reason| by(reason).filter(own).map(|deletion| deletion.bytes).sum::<u64>();
            let largest = by(DeletionReason::MaxSize).filter(own).map(|deletion| deletion.bytes).max();
            if let (Some(largest), Some(limit)) = (largest, recording.rules.max_bytes) {
                let left = held - gone(DeletionReason::MaxAge) - gone(DeletionReason::MaxSize);
                prop_assert!(left + largest > limit, "{} MiB left of {}", left / MIB, limit / MIB);
            }
        }
        if let Some(largest) = by(DeletionReason::MinFree).map(|deletion| deletion.bytes).max() {
            prop_assert!(situation.free_bytes + answer.bytes() - largest < situation.min_free_bytes);
        }
    }

    #[test]
    fn a_second_run_deletes_nothing_more(a in any_recording("a"), b in any_recording("b"), situation in any_situation()) {
        let recordings = [a, b];
        let first = plan(&recordings, &situation);
        let (left, mut later) = applied(&recordings, &situation, &first);
        // A run renews what is foreseen, but not for what it held back.
        for recording in &left {
            if !first.withholds(&recording.path) {
                let foresight = Foresight { next_run: situation.now, declared: recording.declared, rules: recording.rules, orphans_ms: situation.orphans_ms };
                later.foresight.insert(recording.path.clone(), foresight);
            }
        }
        let mut second = plan(&left, &later);
        // Where room was made of files that were held back, what is left of them may be no more than was foreseen: it goes.
        let room_made_of_withheld = |deletion: &Deletion| {
            let path = &deletion.recording;
            first.withholds(path) && first.deletions.iter().any(|gone| gone.recording == *path && gone.reason == DeletionReason::MinFree)
        };
        second.deletions.retain(|deletion| !room_made_of_withheld(deletion));
        prop_assert_eq!(&second.deletions, &Vec::new());
        prop_assert!(second.short_bytes <= first.short_bytes);
    }

    #[test]
    fn rules_are_kept_to_unless_something_is_held_back(a in any_recording("a"), situation in any_situation()) {
        let answer = plan(std::slice::from_ref(&a), &situation);
        let (left, after) = applied(&[a], &situation, &answer);
        let recording = &left[0];
        if recording.declared && !answer.needs_confirmation() {
            let free: Vec<&FileFacts> = recording.files.iter().filter(|file| !file.in_use).collect();
            if let Some(age) = recording.rules.max_age_ms {
                prop_assert!(free.iter().all(|file| file.end.0 >= situation.now.0 - (age * 1000) as i64));
            }
            if let Some(limit) = recording.rules.max_bytes {
                prop_assert!(free.iter().all(|file| file.bytes == 0) || recording.files.iter().map(|file| file.bytes).sum::<u64>() <= limit);
            }
        }
        prop_assert_eq!(answer.short_bytes, situation.min_free_bytes.saturating_sub(after.free_bytes));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(a in any_recording("a"), b in any_recording("b"), situation in any_situation()) {
        let mut reversed = b.clone();
        reversed.files.reverse();
        let sorted = |mut plan: RetentionPlan| { plan.withheld.sort_by_key(|withheld| withheld.recording.clone()); plan };
        prop_assert_eq!(sorted(plan(&[a.clone(), b], &situation)), sorted(plan(&[reversed, a], &situation)));
    }
}
