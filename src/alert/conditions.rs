//! Our objects and their conditions → the alerts that stand now. Pure. An object of which nothing certain is known (it has just
//! been declared, its agent cannot be asked, its camera is down) leaves its alerts as they were.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{Alert, AlertKey};
use crate::api::alert_route::{AlertName, Severity};
use crate::plan::report::Reason;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Share of a day, in hundredths of a percent, below which a recording missed its objective: 99.9 %, as in the chart's rules.
const COVERAGE_OBJECTIVE: f64 = 99.9;

/// What is known of all objects at one instant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// What is wrong.
    pub alerts: BTreeMap<AlertKey, Alert>,
    /// Objects whose alerts stay as they were.
    pub undecided: BTreeSet<ObjectRef>,
}

/// What the objects, as Kubernetes shapes them, say at `now`.
pub fn observe<'a>(objects: impl IntoIterator<Item = (&'a ObjectRef, &'a Value)> + Clone, now: Timestamp) -> Observed {
    let cameras_not_ready: BTreeSet<&ObjectKey> = objects
        .clone()
        .into_iter()
        .filter(|(reference, object)| {
            reference.kind == ObjectKind::Camera && ready(object).is_none_or(|one| one.status != "True")
        })
        .map(|(reference, _)| &reference.key)
        .collect();
    let mut observed = Observed::default();
    for (reference, object) in objects {
        let camera = object["spec"]["cameraRef"]["name"].as_str();
        let camera = camera.map(|name| ObjectKey::new(reference.key.namespace.clone(), name));
        let camera_is_down = camera.is_some_and(|camera| cameras_not_ready.contains(&camera));
        judge(&mut observed, reference, object, camera_is_down, now);
    }
    observed
}

struct Ready<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    since: Option<Timestamp>,
}

fn ready(object: &Value) -> Option<Ready<'_>> {
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some(Ready {
        status: ready["status"].as_str()?,
        reason: ready["reason"].as_str()?,
        message: ready["message"].as_str().unwrap_or_default(),
        since: ready["lastTransitionTime"].as_str().and_then(|text| text.parse().ok()),
    })
}

fn judge(observed: &mut Observed, reference: &ObjectRef, object: &Value, camera_is_down: bool, now: Timestamp) {
    if reference.kind == ObjectKind::AlertRoute {
        return;
    }
    let Some(ready) = ready(object) else {
        observed.undecided.insert(reference.clone());
        return;
    };
    let mut raise = |name, severity, reason: &str, message: &str| {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        let key = AlertKey { object: reference.clone(), name };
        let alert = Alert {
            key: key.clone(),
            severity,
            reason: reason.to_owned(),
            code: Reason::parse(reason).code(),
            message: message.to_owned(),
            since: ready.since.unwrap_or(now),
            labels,
        };
        observed.alerts.insert(key, alert);
    };
    if reference.kind == ObjectKind::Recording
        && let Some(day) = object["status"]["coverage"]["lastDay"].as_str()
        && day.trim_end_matches('%').parse::<f64>().is_ok_and(|share| share < COVERAGE_OBJECTIVE)
    {
        let message = format!(
            "Of the last whole day (UTC) {day} is held; its gaps and their reasons are in the recording's status."
        );
        raise(AlertName::CoverageBelowObjective, Severity::Info, "CoverageBelowObjective", &message);
    }
    if reference.kind == ObjectKind::Archive && ready.reason == "RetentionWithheld" {
        raise(AlertName::RetentionFailed, Severity::Warning, ready.reason, ready.message);
    }
    let is_undecided = ready.status == "Unknown"
        || (ready.status == "False"
            && matches!(ready.reason, "Connecting" | "Pending" | "ClockStepped" | "ConfigurationChanged"));
    if is_undecided || (ready.status == "False" && camera_is_down && ready.reason != "Suspended") {
        observed.undecided.insert(reference.clone());
        return;
    }
    let is_meant = matches!(ready.reason, "Suspended" | "Stopped" | "ShuttingDown" | "ClipLimitReached");
    if ready.status != "False" || is_meant {
        return;
    }
    let (name, severity) = match (reference.kind, ready.reason) {
        (ObjectKind::Camera, "Stalled" | "NoVideo") => (AlertName::CameraStalled, Severity::Critical),
        (ObjectKind::Camera, "CredentialRefused") => (AlertName::CredentialRefused, Severity::Critical),
        (ObjectKind::Camera, "ReconnectLimitReached") => (AlertName::ReconnectLimitReached, Severity::Critical),
        (ObjectKind::Camera, _) => (AlertName::CameraDown, Severity::Critical),
        (ObjectKind::Stream, _) => (AlertName::StreamDown, Severity::Warning),
        (ObjectKind::Recording, _) => (AlertName::RecordingGap, Severity::Critical),
        (ObjectKind::Archive, "ArchiveFull") => (AlertName::DiskFilling, Severity::Critical),
        (ObjectKind::Archive, _) => (AlertName::ArchiveUnavailable, Severity::Critical),
        (ObjectKind::AlertRoute, _) => return,
    };
    raise(name, severity, ready.reason, ready.message);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        observe(objects.iter().map(|(reference, object)| (reference, object)), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn reasons_become_alerts() {
        use AlertName::{
            ArchiveUnavailable, CameraDown, CameraStalled, CredentialRefused, DiskFilling, RecordingGap,
            RetentionFailed, StreamDown,
        };
        use ObjectKind::{Archive, Camera, Recording, Stream};
        for (kind, status, reason, alert) in [
            (Camera, "False", "Unreachable", Some(CameraDown)),
            (Camera, "False", "SecretMissing", Some(CameraDown)),
            (Camera, "False", "Stalled", Some(CameraStalled)),
            (Camera, "False", "NoVideo", Some(CameraStalled)),
            (Camera, "False", "CredentialRefused", Some(CredentialRefused)),
            (Camera, "False", "ReconnectLimitReached", Some(AlertName::ReconnectLimitReached)),
            (Camera, "False", "Suspended", None),
            (Camera, "True", "Streaming", None),
            (Stream, "False", "CodecNotCarried", Some(StreamDown)),
            (Recording, "False", "RecorderOverrun", Some(RecordingGap)),
            (Archive, "False", "ArchiveFull", Some(DiskFilling)),
            (Archive, "False", "ArchiveWriteFailed", Some(ArchiveUnavailable)),
            (Archive, "True", "RetentionWithheld", Some(RetentionFailed)),
        ] {
            let observed = seen(&[object(kind, "one", status, reason)]);
            let names: Vec<_> = observed.alerts.keys().map(|key| key.name).collect();
            assert_eq!(names, alert.into_iter().collect::<Vec<_>>(), "{kind:?} {status} {reason}");
            assert!(observed.undecided.is_empty(), "{kind:?} {status} {reason}");
        }
    }

    #[test]
    fn what_is_not_certain_is_left_as_it_was() {
        for (status, reason) in [("Unknown", "ReportUnavailable"), ("False", "Connecting"), ("False", "Pending")] {
            let observed = seen(&[object(ObjectKind::Camera, "door", status, reason)]);
            assert!(observed.alerts.is_empty() && observed.undecided.len() == 1, "{status} {reason}");
        }
    }

    #[test]
    fn what_lacks_its_camera_does_not_alert_beside_it() {
        let mut stream = object(ObjectKind::Stream, "live", "False", "CameraUnavailable");
        stream.1["spec"]["cameraRef"]["name"] = json!("door");
        let down = seen(&[object(ObjectKind::Camera, "door", "False", "Unreachable"), stream.clone()]);
        assert_eq!(down.alerts.len(), 1);
        assert!(down.undecided.contains(&stream.0));
        let up = seen(&[object(ObjectKind::Camera, "door", "True", "Streaming"), stream]);
        assert_eq!(up.alerts.keys().map(|key| key.name).collect::<Vec<_>>(), [AlertName::StreamDown]);
    }

    #[test]
    fn a_day_below_the_objective_alerts_beside_what_else_there_is() {
        let mut recording = object(ObjectKind::Recording, "day", "True", "Recording");
        recording.1["status"]["coverage"] = json!({"lastDay": "99.89%"});
        assert_eq!(seen(std::slice::from_ref(&recording)).alerts.len(), 1);
        recording.1["status"]["coverage"] = json!({"lastDay": "99.90%"});
        assert!(seen(&[recording]).alerts.is_empty());
    }
}
