//! What must stop and what must start so that a changed plan is in force. Pure; the supervisor carries it out.

use std::collections::BTreeMap;

use crate::plan::unit::{ArchivePlan, ObjectKey, ObjectRef, Plan, Unit};

/// The way from what runs to what a plan wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Units that must end: gone from the plan, or changed.
    pub stop: Vec<ObjectRef>,
    /// Units that must begin: new, or changed.
    pub start: Vec<Unit>,
    /// Units that go on and only carry a new generation, since nothing that they do has changed.
    pub relabel: Vec<(ObjectRef, i64)>,
    /// Archives that must be closed, with all that writes into them.
    pub close: Vec<ObjectKey>,
    /// Archives that must be opened.
    pub open: Vec<ArchivePlan>,
    /// Archives that stay open and only carry a new generation.
    pub relabel_archives: Vec<(ObjectKey, i64)>,
}

/// Compares what runs with what is wanted. Only what a unit *does* counts as a change: an edit of a label or of another
/// object's fields restarts nothing. An archive that moves takes its recordings with it.
pub fn difference(
    units: &BTreeMap<ObjectRef, Unit>,
    archives: &BTreeMap<ObjectKey, ArchivePlan>,
    wanted: &Plan,
) -> Difference {
    let mut result = Difference::default();
    for (key, archive) in archives {
        if !wanted.archives.iter().any(|candidate| is_same_archive(candidate, archive)) {
            result.close.push(key.clone());
        }
    }
    for archive in &wanted.archives {
        match archives.get(&archive.key) {
            Some(open) if is_same_archive(open, archive) => {
                if open.generation != archive.generation {
                    result.relabel_archives.push((archive.key.clone(), archive.generation));
                }
            }
            _ => result.open.push(archive.clone()),
        }
    }
    for object in units.keys() {
        if !wanted.units.iter().any(|unit| unit.object == *object) {
            result.stop.push(object.clone());
        }
    }
    for unit in &wanted.units {
        match units.get(&unit.object) {
            Some(running) if running.work == unit.work && running.uid == unit.uid => {
                if running.generation != unit.generation {
                    result.relabel.push((unit.object.clone(), unit.generation));
                }
            }
            running => {
                if running.is_some() {
                    result.stop.push(unit.object.clone());
                }
                result.start.push(unit.clone());
            }
        }
    }
    result
}

/// Whether two plans of an archive ask for the same.
fn is_same_archive(one: &ArchivePlan, other: &ArchivePlan) -> bool {
    ArchivePlan { generation: other.generation, ..one.clone() } == *other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::{Hls, ObjectKind, RetentionSchedule, Work};

    fn unit(name: &str, segment_ms: u64) -> Unit {
        let object = ObjectRef { kind: ObjectKind::Stream, key: ObjectKey::new("default", name) };
        let work = Work::Hls(Hls {
            camera: ObjectKey::new("default", "door"),
            segment_ms,
            playlist_segments: 6,
            low_latency: false,
            part_ms: 500,
            audio: true,
            audio_bit_rate: None,
            fallback: None,
            video: None,
        });
        Unit { object, uid: name.into(), generation: 1, work }
    }

    fn plan(units: Vec<Unit>) -> Plan {
        Plan { units, ..Plan::new("run") }
    }

    fn running(units: &[Unit]) -> BTreeMap<ObjectRef, Unit> {
        units.iter().map(|unit| (unit.object.clone(), unit.clone())).collect()
    }

    #[test]
    fn only_what_changed_restarts() {
        let before = [unit("a", 4000), unit("b", 4000), unit("c", 4000)];
        let result = difference(
            &running(&before),
            &BTreeMap::new(),
            &plan(vec![unit("a", 4000), unit("b", 2000), unit("d", 4000)]),
        );
        assert_eq!(result.stop, [before[2].object.clone(), before[1].object.clone()]);
        assert_eq!(result.start, [unit("b", 2000), unit("d", 4000)]);
        assert!(result.relabel.is_empty());
    }

    #[test]
    fn a_new_generation_of_the_same_work_restarts_nothing() {
        let before = [unit("a", 4000)];
        let mut after = unit("a", 4000);
        after.generation = 2;
        let result = difference(&running(&before), &BTreeMap::new(), &plan(vec![after.clone()]));
        assert_eq!(result, Difference { relabel: vec![(after.object, 2)], ..Difference::default() });
    }

    #[test]
    fn an_object_made_anew_under_the_same_name_is_another_one() {
        let before = [unit("a", 4000)];
        let mut after = unit("a", 4000);
        after.uid = "other".into();
        let result = difference(&running(&before), &BTreeMap::new(), &plan(vec![after.clone()]));
        assert_eq!(result.stop, [after.object.clone()]);
        assert_eq!(result.start, [after]);
    }

    #[test]
    fn an_archive_is_opened_anew_only_when_it_is_to_be_another() {
        let archive = |generation, min_free_bytes| ArchivePlan {
            key: ObjectKey::new("default", "default"),
            uid: "archive".into(),
            generation,
            root: "/archive".into(),
            min_free_bytes,
            retention: RetentionSchedule {
                schedule: "0 3 * * *".into(),
                time_zone: "UTC".into(),
                orphans_ms: None,
                overdue_ms: None,
            },
        };
        let open = BTreeMap::from([(archive(1, 1).key, archive(1, 1))]);
        let wanted = |archive| Plan { archives: vec![archive], ..plan(Vec::new()) };
        assert_eq!(difference(&BTreeMap::new(), &open, &wanted(archive(1, 1))), Difference::default());
        let labelled = difference(&BTreeMap::new(), &open, &wanted(archive(2, 1)));
        let relabel_archives = vec![(archive(1, 1).key, 2)];
        assert_eq!(labelled, Difference { relabel_archives, ..Difference::default() });
        let changed = difference(&BTreeMap::new(), &open, &wanted(archive(2, 5)));
        assert_eq!((changed.close, changed.open), (vec![archive(1, 1).key], vec![archive(2, 5)]));
    }
}
