//! Our objects and their conditions → the alerts that stand now. Pure. An object of which nothing certain is known (it has just
//! been declared, its agent cannot be asked) leaves its alerts as they were. What fails because its camera or its archive does
//! names that as its cause, so that a person hears of the one and reads what else it hits.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::facts::{Fact, Ready};
use super::{Alert, AlertKey};
use crate::api::alert_route::{AlertName, Severity};
use crate::api::condition::{FALSE, UNKNOWN};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// What is known of all objects at one instant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// What is wrong.
    pub alerts: BTreeMap<AlertKey, Alert>,
    /// Objects whose alerts stay as they were.
    pub undecided: BTreeSet<ObjectRef>,
}

/// How something that others depend on is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Undecided,
    Meant,
    Down(AlertKey),
}

/// What the objects say at `now`; `full_in` is in how many days an archive's volume will be full, where that is near.
pub fn observe(facts: &[Fact<'_>], full_in: &BTreeMap<ObjectKey, f64>, now: Timestamp) -> Observed {
    let mut observed = Observed::default();
    // Cameras and archives that are not well.
    let mut roots = BTreeMap::new();
    for fact in facts.iter().filter(|fact| matches!(fact.kind, ObjectKind::Camera | ObjectKind::Archive)) {
        let root = match verdict(fact) {
            Verdict::Well => None,
            Verdict::Meant => Some(Root::Meant),
            Verdict::Undecided => {
                observed.undecided.insert(fact.reference());
                Some(Root::Undecided)
            }
            Verdict::Wrong(name, severity, ready) => {
                let alert = fact.alert(name, severity, ready.reason, ready.message, now);
                let key = alert.key.clone();
                observed.alerts.insert(key.clone(), alert);
                Some(Root::Down(key))
            }
        };
        if let Some(root) = root {
            roots.insert((fact.kind, fact.key.clone()), root);
        }
    }
    for fact in facts {
        judge_beside(&mut observed, fact, full_in, now);
        if !matches!(fact.kind, ObjectKind::Stream | ObjectKind::Recording) {
            continue;
        }
        match verdict(fact) {
            Verdict::Well | Verdict::Meant => {}
            Verdict::Undecided => {
                observed.undecided.insert(fact.reference());
            }
            Verdict::Wrong(name, severity, ready) => {
                let camera = fact.named(fact.camera).and_then(|key| roots.get(&(ObjectKind::Camera, key)));
                let archive = fact.named(fact.archive).and_then(|key| roots.get(&(ObjectKind::Archive, key)));
                let mut alert = fact.alert(name, severity, ready.reason, ready.message, now);
                match camera.or(archive) {
                    Some(Root::Undecided) => {
                        observed.undecided.insert(fact.reference());
                        continue;
                    }
                    // Who suspends a camera means its streams and recordings, too.
                    Some(Root::Meant) => continue,
                    Some(Root::Down(key)) => alert.cause = Some(key.clone()),
                    None => {}
                }
                observed.alerts.insert(alert.key.clone(), alert);
            }
        }
    }
    agents_unreachable(&mut observed, facts, now);
    observed
}

enum Verdict<'a> {
    Well,
    Meant,
    Undecided,
    Wrong(AlertName, Severity, Ready<'a>),
}

fn verdict<'a>(fact: &Fact<'a>) -> Verdict<'a> {
    let Some(ready) = fact.ready else { return Verdict::Undecided };
    match (ready.status, ready.reason) {
        (UNKNOWN, _) | (FALSE, "Connecting" | "Pending" | "ClockStepped" | "ConfigurationChanged") => {
            return Verdict::Undecided;
        }
        (FALSE, "Suspended" | "Stopped" | "ShuttingDown" | "ClipLimitReached") => return Verdict::Meant,
        (FALSE, _) => {}
        _ => return Verdict::Well,
    }
    let (name, severity) = match (fact.kind, ready.reason) {
        (ObjectKind::Camera, "Stalled" | "NoVideo") => (AlertName::CameraStalled, Severity::Critical),
        (ObjectKind::Camera, "CredentialRefused") => (AlertName::CredentialRefused, Severity::Critical),
        (ObjectKind::Camera, "ReconnectLimitReached") => (AlertName::ReconnectLimitReached, Severity::Critical),
        (ObjectKind::Camera, _) => (AlertName::CameraDown, Severity::Critical),
        (ObjectKind::Stream, _) => (AlertName::StreamDown, Severity::Warning),
        (ObjectKind::Recording, _) => (AlertName::RecordingGap, Severity::Critical),
        (ObjectKind::Archive, _) => (AlertName::ArchiveUnavailable, Severity::Critical),
        (ObjectKind::AlertRoute, _) => (AlertName::AlertDeliveryFailed, Severity::Warning),
    };
    Verdict::Wrong(name, severity, ready)
}

/// What can be wrong with an object beside whether it does what it is for.
fn judge_beside(observed: &mut Observed, fact: &Fact<'_>, full_in: &BTreeMap<ObjectKey, f64>, now: Timestamp) {
    let mut raise = |alert: Alert| observed.alerts.insert(alert.key.clone(), alert);
    match fact.kind {
        ObjectKind::Recording => {
            // Which share is too little is each route's own to say.
            let Some(day) = fact.last_day else { return };
            let Some(share) = share(day).filter(|share| *share < 1_000_000) else { return };
            let message = format!(
                "Of the last whole day (UTC) {day} is held; its gaps and their reasons are in the recording's status."
            );
            let name = AlertName::CoverageBelowObjective;
            let mut alert = fact.alert(name, Severity::Info, "CoverageBelowObjective", &message, now);
            (alert.share, alert.since, alert.code) = (Some(share), now, None);
            raise(alert);
        }
        ObjectKind::Archive => {
            if let Some(ready) = fact.ready.filter(|ready| ready.reason == "RetentionWithheld") {
                let (name, severity) = (AlertName::RetentionFailed, Severity::Warning);
                raise(fact.alert(name, severity, ready.reason, ready.message, now));
            }
            if let Some(days) = full_in.get(fact.key) {
                let message = format!(
                    "Its volume is full in {days:.1} days if it goes on like this: give it more room, or keep recordings for \
                     a shorter time."
                );
                let mut alert = fact.alert(AlertName::DiskFilling, Severity::Warning, "DiskFilling", &message, now);
                (alert.since, alert.code) = (now, None);
                raise(alert);
            }
        }
        // A route whose receivers all fail cannot speak for itself.
        ObjectKind::AlertRoute if fact.is_mute => {
            if let Verdict::Wrong(name, severity, ready) = verdict(fact) {
                raise(fact.alert(name, severity, ready.reason, ready.message, now));
            }
        }
        _ => {}
    }
}

/// Agents that run and do not answer. What was known of their objects stays as it was.
fn agents_unreachable(observed: &mut Observed, facts: &[Fact<'_>], now: Timestamp) {
    for fact in facts.iter().filter(|fact| fact.has_agent) {
        let Some(ready) = fact.ready.filter(|ready| ready.status == UNKNOWN && ready.reason == "ReportUnavailable")
        else {
            continue;
        };
        let alert = fact.alert(AlertName::AgentUnreachable, Severity::Critical, ready.reason, ready.message, now);
        observed.alerts.insert(alert.key.clone(), Alert { code: None, ..alert });
    }
}

/// A share such as 99.98% in millionths.
pub fn share(percent: &str) -> Option<u32> {
    let number: f64 = percent.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then(|| (number * 10_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: ObjectKind, name: &str, status: &str, reason: &str) -> (ObjectRef, Value) {
        let reference = ObjectRef { kind, key: ObjectKey::new("default", name) };
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-21T01:02:03Z"});
        (
            reference,
            json!({"metadata": {"labels": {"site": "shop"}}, "spec": {}, "status": {"conditions": [condition]}}),
        )
    }

    fn seen(objects: &[(ObjectRef, Value)]) -> Observed {
        let facts: Vec<Fact<'_>> = objects.iter().map(|(reference, object)| Fact::of_json(reference, object)).collect();
        observe(&facts, &BTreeMap::new(), Timestamp::UNIX_EPOCH)
    }

    fn names(observed: &Observed) -> Vec<&str> {
        observed.alerts.values().map(|alert| alert.name.as_str()).collect()
    }

    #[test]
    fn reasons_become_alerts() {
        use ObjectKind::{Archive, Camera, Recording, Stream};
        for (kind, status, reason, alert) in [
            (Camera, "False", "Unreachable", Some("CameraDown")),
            (Camera, "False", "SecretMissing", Some("CameraDown")),
            (Camera, "False", "Stalled", Some("CameraStalled")),
            (Camera, "False", "NoVideo", Some("CameraStalled")),
            (Camera, "False", "CredentialRefused", Some("CredentialRefused")),
            (Camera, "False", "ReconnectLimitReached", Some("ReconnectLimitReached")),
            (Camera, "False", "Suspended", None),
            (Camera, "True", "Streaming", None),
            (Stream, "False", "CodecNotCarried", Some("StreamDown")),
            (Recording, "False", "RecorderOverrun", Some("RecordingGap")),
            (Archive, "False", "ArchiveFull", Some("ArchiveUnavailable")),
            (Archive, "False", "ArchiveWriteFailed", Some("ArchiveUnavailable")),
            (Archive, "True", "RetentionWithheld", Some("RetentionFailed")),
        ] {
            let observed = seen(&[object(kind, "one", status, reason)]);
            assert_eq!(names(&observed), alert.into_iter().collect::<Vec<_>>(), "{kind:?} {status} {reason}");
            assert!(observed.undecided.is_empty(), "{kind:?} {status} {reason}");
        }
    }

    #[test]
    fn what_is_not_certain_is_left_as_it_was() {
        for (status, reason) in [("Unknown", "Pending"), ("False", "Connecting"), ("False", "Pending")] {
            let observed = seen(&[object(ObjectKind::Camera, "door", status, reason)]);
            assert!(observed.alerts.is_empty() && observed.undecided.len() == 1, "{status} {reason}");
        }
    }

    #[test]
    fn an_agent_that_does_not_answer_is_told_and_its_camera_left_as_it_was() {
        let observed = seen(&[object(ObjectKind::Camera, "door", "Unknown", "ReportUnavailable")]);
        assert_eq!(names(&observed), ["AgentUnreachable"]);
        assert_eq!(observed.undecided.len(), 1);
    }

    #[test]
    fn what_lacks_its_camera_or_its_archive_names_the_cause() {
        let recording = |reason: &str| {
            let mut recording = object(ObjectKind::Recording, "rec", "False", reason);
            recording.1["spec"]["cameraRef"]["name"] = json!("door");
            recording
        };
        let up = object(ObjectKind::Camera, "door", "True", "Streaming");
        let down = object(ObjectKind::Camera, "door", "False", "Unreachable");
        let full = object(ObjectKind::Archive, "default", "False", "ArchiveFull");
        let cause = |observed: &Observed| {
            let alert = observed.alerts.values().find(|alert| alert.name == "RecordingGap").cloned();
            alert.map(|alert| alert.cause.map(|cause| cause.object.kind))
        };
        let of = |objects: &[(ObjectRef, Value)]| cause(&seen(objects));
        assert_eq!(of(&[down, recording("CameraUnavailable")]), Some(Some(ObjectKind::Camera)));
        assert_eq!(of(&[up.clone(), full, recording("ArchiveUnavailable")]), Some(Some(ObjectKind::Archive)));
        assert_eq!(of(&[up, recording("RecorderOverrun")]), Some(None));
        let suspended = object(ObjectKind::Camera, "door", "False", "Suspended");
        assert_eq!(of(&[suspended, recording("CameraUnavailable")]), None);
        let unknown =
            seen(&[object(ObjectKind::Camera, "door", "False", "Connecting"), recording("CameraUnavailable")]);
        assert_eq!((cause(&unknown), unknown.undecided.len()), (None, 2));
    }

    #[test]
    fn a_day_with_a_gap_says_how_much_is_held() {
        let mut recording = object(ObjectKind::Recording, "day", "True", "Recording");
        recording.1["status"]["coverage"] = json!({"lastDay": "99.89%"});
        let observed = seen(std::slice::from_ref(&recording));
        assert_eq!(observed.alerts.values().next().unwrap().share, Some(998_900));
        recording.1["status"]["coverage"] = json!({"lastDay": "100%"});
        assert!(seen(&[recording]).alerts.is_empty());
    }

    #[test]
    fn a_volume_that_fills_up_and_a_route_that_cannot_speak() {
        let archive = object(ObjectKind::Archive, "default", "True", "Recording");
        let facts = [Fact::of_json(&archive.0, &archive.1)];
        let soon = BTreeMap::from([(archive.0.key.clone(), 1.5)]);
        let observed = observe(&facts, &soon, Timestamp::UNIX_EPOCH);
        assert_eq!(names(&observed), ["DiskFilling"]);
        let mut route = object(ObjectKind::AlertRoute, "ops", "False", "DeliveryFailed");
        route.1["status"]["receivers"] = json!([{"name": "a", "error": "no"}, {"name": "b"}]);
        assert!(seen(std::slice::from_ref(&route)).alerts.is_empty(), "b can tell of a");
        route.1["status"]["receivers"] = json!([{"name": "a", "error": "no"}]);
        assert_eq!(names(&seen(&[route])), ["AlertDeliveryFailed"]);
    }
}
