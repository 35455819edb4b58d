//! Tables of reports and the conditions that they lead to.

use serde_json::json;

use super::*;
use crate::plan::report::{PushFacts, PushMode, RecordingFacts};
use crate::plan::resolve::{Environment, plan};

const NOW: &str = "2026-11-21T12:00:00Z";
const LATER: &str = "2026-11-21T13:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn micros(text: &str) -> UtcMicros {
    UtcMicros::from_timestamp(at(text))
}

#[allow(clippy::needless_pass_by_value)] // reads better with `json!` at every call
fn object<T: serde::de::DeserializeOwned>(spec: Value) -> T {
    let value = json!({
        "apiVersion": "camera-operator.dev/v1alpha1", "kind": "Any",
        "metadata": {"name": "door", "namespace": "default", "generation": 3}, "spec": spec
    });
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
}

fn camera() -> Camera {
    object(json!({"source": {"test": {}}}))
}

fn clip() -> Recording {
    object(json!({"cameraRef": {"name": "door"}, "clip": {"duration": "10m"}}))
}

fn unit(kind: ObjectKind, state: UnitState, reason: Reason) -> UnitReport {
    let object = ObjectRef { kind, key: ObjectKey::new("default", "door") };
    let message = format!("{reason:?} it is");
    UnitReport { state, reason, message, ..UnitReport::starting(object, 3, micros(NOW)) }
}

fn said(conditions: &[Condition]) -> Vec<String> {
    conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect()
}

#[test]
fn cameras() {
    use Reason as R;
    use UnitState as S;
    for (state, reason, expected) in [
        (S::Running, R::Streaming, ["Ready=True Streaming", "Reachable=True Streaming"]),
        (S::Starting, R::Connecting, ["Ready=False Connecting", "Reachable=Unknown Connecting"]),
        (S::Reconnecting, R::Unreachable, ["Ready=False Unreachable", "Reachable=False Unreachable"]),
        (S::Reconnecting, R::NoVideo, ["Ready=False NoVideo", "Reachable=True NoVideo"]),
        (S::Reconnecting, R::Stalled, ["Ready=False Stalled", "Reachable=Unknown Stalled"]),
        (S::Reconnecting, R::CredentialRefused, ["Ready=False CredentialRefused", "Reachable=True CredentialRefused"]),
        (S::Reconnecting, R::NotFound, ["Ready=False NotFound", "Reachable=True NotFound"]),
        (S::Waiting, R::SecretMissing, ["Ready=False SecretMissing", "Reachable=Unknown SecretMissing"]),
        (S::Failed, R::FFmpegMissing, ["Ready=False FFmpegMissing", "Reachable=Unknown FFmpegMissing"]),
        (
            S::Failed,
            R::ReconnectLimitReached,
            ["Ready=False ReconnectLimitReached", "Reachable=Unknown ReconnectLimitReached"],
        ),
    ] {
        let report = unit(ObjectKind::Camera, state, reason);
        let status = camera_status(&camera(), Outcome::Reported(&report), at(NOW));
        assert_eq!(said(&status.conditions), expected, "{state:?} {reason:?}");
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.conditions[0].message, format!("{reason:?} it is"));
        assert_eq!(status.conditions[0].observed_generation, Some(3));
    }
}

#[test]
fn what_was_known_of_a_device_stays_while_it_is_tried_again() {
    let mut camera = camera();
    let unreachable = unit(ObjectKind::Camera, UnitState::Reconnecting, Reason::Unreachable);
    camera.status = Some(camera_status(&camera, Outcome::Reported(&unreachable), at(NOW)));
    for reason in [Reason::Connecting, Reason::ReconnectLimitReached] {
        let report = unit(ObjectKind::Camera, UnitState::Starting, reason);
        let status = camera_status(&camera, Outcome::Reported(&report), at(LATER));
        let reachable = condition::find(&status.conditions, REACHABLE);
        assert_eq!(reachable.map(|condition| condition.status.as_str()), Some(FALSE));
        assert_eq!(reachable.map(|condition| condition.last_transition_time.0), Some(at(NOW)));
    }
}

#[test]
fn the_time_moves_only_when_the_status_flips() {
    let mut camera = camera();
    let mut times = Vec::new();
    for (now, state, reason) in [
        ("2026-11-21T12:00:00Z", UnitState::Starting, Reason::Connecting),
        ("2026-11-21T12:00:01Z", UnitState::Running, Reason::Streaming),
        ("2026-11-21T12:00:02Z", UnitState::Running, Reason::Streaming),
        ("2026-11-21T12:00:03Z", UnitState::Reconnecting, Reason::Stalled),
        ("2026-11-21T12:00:04Z", UnitState::Reconnecting, Reason::Unreachable),
    ] {
        let report = unit(ObjectKind::Camera, state, reason);
        let status = camera_status(&camera, Outcome::Reported(&report), at(now));
        times.push(status.conditions[0].last_transition_time.0.to_string());
        camera.status = Some(status);
    }
    let seconds: Vec<&str> = times.iter().map(|time| &time[17..19]).collect();
    assert_eq!(seconds, ["00", "01", "01", "03", "03"]);
}

#[test]
fn the_same_report_makes_the_same_status() {
    let mut camera = camera();
    let mut report = unit(ObjectKind::Camera, UnitState::Running, Reason::Streaming);
    let mut facts = MediaFacts {
        video_codec: "H264".into(),
        width: 1920,
        height: 1080,
        frames_per_second_milli: 24_980,
        audio_codec: None,
    };
    report.media = Some(facts.clone());
    let first = camera_status(&camera, Outcome::Reported(&report), at(NOW));
    assert_eq!(first.media.as_ref().map(|media| media.frames_per_second.as_str()), Some("25"));
    camera.status = Some(first.clone());
    facts.frames_per_second_milli = 26_400;
    report.media = Some(facts.clone());
    assert_eq!(
        camera_status(&camera, Outcome::Reported(&report), at(LATER)),
        first,
        "a wavering measurement is no news"
    );
    facts.frames_per_second_milli = 500;
    report.media = Some(facts);
    let slow = camera_status(&camera, Outcome::Reported(&report), at(LATER));
    assert_eq!(slow.media.map(|media| media.frames_per_second), Some("0.5".into()));
}

#[test]
fn notices_are_conditions_while_they_hold() {
    let mut camera = camera();
    let mut report = unit(ObjectKind::Camera, UnitState::Running, Reason::Streaming);
    let notice = |kind: &str| Notice { kind: kind.into(), message: "key frames are 120 s apart".into() };
    report.notices = vec![notice("LongKeyframeInterval"), notice("no word"), notice("Ready")];
    let status = camera_status(&camera, Outcome::Reported(&report), at(NOW));
    assert_eq!(
        said(&status.conditions),
        ["Ready=True Streaming", "Reachable=True Streaming", "LongKeyframeInterval=True LongKeyframeInterval"]
    );
    camera.status = Some(status);
    report.notices.clear();
    assert_eq!(camera_status(&camera, Outcome::Reported(&report), at(LATER)).conditions.len(), 2);
}

#[test]
fn streams() {
    let hls: Stream = object(json!({"cameraRef": {"name": "door"}, "output": {"hls": {}}}));
    let report = unit(ObjectKind::Stream, UnitState::Running, Reason::Streaming);
    let status = stream_status(&hls, Outcome::Reported(&report), at(NOW));
    assert_eq!(said(&status.conditions), ["Ready=True Streaming"]);
    assert_eq!(status.path.as_deref(), Some("/live/default/door/index.m3u8"));
    let mjpeg: Stream = object(json!({"cameraRef": {"name": "door"}, "output": {"mjpeg": {}}}));
    let report = unit(ObjectKind::Stream, UnitState::Failed, Reason::CodecNotCarried);
    let status = stream_status(&mjpeg, Outcome::Reported(&report), at(NOW));
    assert_eq!(said(&status.conditions), ["Ready=False CodecNotCarried"]);
    assert_eq!(status.path.as_deref(), Some("/live/default/door/stream.mjpeg"));
}

#[test]
fn a_clip_from_beginning_to_end() {
    let mut clip = clip();
    let mut told = Vec::new();
    for (state, reason, progress) in [
        (UnitState::Starting, Reason::Connecting, None),
        (UnitState::Running, Reason::Recording, Some(9)),
        (UnitState::Running, Reason::Recording, Some(37)),
        (UnitState::Complete, Reason::DeadlineReached, Some(100)),
    ] {
        let mut report = unit(ObjectKind::Recording, state, reason);
        report.recording = Some(RecordingFacts {
            start: progress.map(|_| micros(NOW)),
            completion: (state == UnitState::Complete).then(|| micros(LATER)),
            progress_percent: progress,
            ..RecordingFacts::default()
        });
        let status = recording_status(&clip, Outcome::Reported(&report), at(NOW));
        told.push(format!("{} {:?}", said(&status.conditions).join(", "), status.progress_percent));
        clip.status = Some(status);
    }
    assert_eq!(
        told,
        [
            "Ready=False Connecting, Complete=False Connecting None",
            "Ready=True Recording, Complete=False Recording Some(0)",
            "Ready=True Recording, Complete=False Recording Some(30)",
            "Ready=True DeadlineReached, Complete=True DeadlineReached Some(100)",
        ]
    );
    let complete = clip.status.clone().unwrap_or_default();
    assert_eq!(complete.start_time.map(|time| time.0), Some(at(NOW)));
    assert_eq!(complete.completion_time.map(|time| time.0), Some(at(LATER)));

    // Its camera is deleted: the clip is still there, whole.
    let waiting = Waiting {
        object: ObjectRef { kind: ObjectKind::Recording, key: ObjectKey::new("default", "door") },
        reason: Reason::CameraUnavailable,
        message: "gone".into(),
    };
    let after = recording_status(&clip, Outcome::Waiting(&waiting), at(LATER));
    assert_eq!(said(&after.conditions), ["Ready=False CameraUnavailable", "Complete=True DeadlineReached"]);
    assert_eq!(after.progress_percent, Some(100));
}

#[test]
fn a_recording_with_gaps() {
    let recording: Recording = object(json!({"cameraRef": {"name": "door"}, "continuous": {}}));
    let mut report = unit(ObjectKind::Recording, UnitState::Running, Reason::Recording);
    let gap = |minute: u8| GapFact {
        from: micros(&format!("2026-11-21T11:{minute:02}:00.5Z")),
        to: micros(&format!("2026-11-21T11:{minute:02}:30Z")),
        reason: Reason::Stalled,
    };
    report.recording = Some(RecordingFacts {
        start: Some(micros(NOW)),
        coverage_hour_ppm: Some(999_999),
        coverage_day_ppm: Some(1_000_000),
        progress_percent: Some(50),
        last_gaps: (0..12).map(gap).collect(),
        retention: Some(RetentionFacts { last_run: micros(NOW), deleted_segments: 4, deleted_bytes: 4096 }),
        ..RecordingFacts::default()
    });
    let status = recording_status(&recording, Outcome::Reported(&report), at(NOW));
    assert_eq!(said(&status.conditions), ["Ready=True Recording"]);
    assert_eq!(status.progress_percent, None, "only a clip has an end to make progress to");
    let coverage = status.coverage.unwrap_or_default();
    assert_eq!(coverage.last_hour.as_deref(), Some("99.99%"), "never rounded up to whole");
    assert_eq!(coverage.last_day.as_deref(), Some("100.00%"));
    assert_eq!(status.last_gaps.len(), 10);
    assert_eq!(status.last_gaps[9].from.0, at("2026-11-21T11:11:00Z"));
    assert_eq!(status.last_gaps[9].reason, "Stalled");
    let failed = unit(ObjectKind::Recording, UnitState::Failed, Reason::ArchiveOwnedByAnother);
    let status = recording_status(&recording, Outcome::Reported(&failed), at(NOW));
    assert_eq!(said(&status.conditions), ["Ready=False ArchiveOwnedByAnother", "Failed=True ArchiveOwnedByAnother"]);
}

#[test]
fn archives() {
    let archive: Archive = object(json!({}));
    let report = ArchiveReport {
        key: ObjectKey::new("default", "door"),
        generation: 3,
        ready: false,
        reason: Reason::ArchiveLocked,
        message: "held by process 7".into(),
        free_bytes: 1,
        total_bytes: 2,
        retention: None,
    };
    let status = archive_status(&archive, Outcome::Reported(&report), at(NOW));
    assert_eq!(said(&status.conditions), ["Ready=False ArchiveLocked"]);
}

#[test]
fn a_push_says_where_it_goes_and_what_it_sends() {
    let push = json!({"url": "rtmp://a.example/live2?token=1", "youtube": {"videoId": "jfKfPfyJRdk"}});
    let mut stream: Stream = object(json!({"cameraRef": {"name": "door"}, "output": {"push": push}}));
    let mut report = unit(ObjectKind::Stream, UnitState::Running, Reason::Streaming);
    report.reconnects = 2;
    report.push = Some(PushFacts {
        since: Some(micros(NOW)),
        bit_rate: Some(4_000_000),
        dropped_frames: 7,
        ..PushFacts::new(PushMode::Camera)
    });
    let status = stream_status(&stream, Outcome::Reported(&report), at(LATER));
    assert_eq!(
        serde_json::to_value(&status.push).ok(),
        Some(json!({
            "target": "rtmp://a.example/live2", "mode": "Camera", "since": NOW, "bitRate": 4_000_000, "droppedFrames": 7, "reconnects": 2,
            "watchUrl": "https://www.youtube.com/watch?v=jfKfPfyJRdk"
        }))
    );
    assert_eq!((said(&status.conditions), status.path.clone()), (vec!["Ready=True Streaming".to_owned()], None));
    // Nothing is heard of it for a while: it stays as it was.
    stream.status = Some(status.clone());
    assert_eq!(stream_status(&stream, Outcome::Unheard, at(LATER)).push, status.push);
    report.state = UnitState::Reconnecting;
    report.reason = Reason::PushRefused;
    report.push = Some(PushFacts::new(PushMode::Reconnecting));
    let status = stream_status(&stream, Outcome::Reported(&report), at(LATER));
    assert_eq!(said(&status.conditions), ["Ready=False PushRefused"]);
    assert_eq!(status.push.and_then(|push| push.mode).as_deref(), Some("Reconnecting"));
    assert_eq!((Reason::PushRefused.code(), Reason::TargetUnreachable.code()), (Some(103), Some(102)));
}

#[test]
fn reports_on_an_earlier_generation_change_nothing() {
    let mut objects = Objects::default();
    objects.insert_camera(camera());
    let planned = plan(&objects, &Environment { agent: "run".into(), data: "/data".into() });
    let mut report =
        Report { units: vec![unit(ObjectKind::Camera, UnitState::Running, Reason::Streaming)], ..Report::default() };
    report.units[0].generation = 2;
    let before = statuses(&objects, &planned, &report, at(NOW));
    assert_eq!(before[0].1["conditions"][0]["status"], "Unknown");
    assert_eq!(before[0].1["conditions"][0]["reason"], "Pending");
    assert_eq!(before[0].1.get("observedGeneration"), None, "nobody has observed this generation yet");
    report.units[0].generation = 3;
    let after = statuses(&objects, &planned, &report, at(NOW));
    assert_eq!(after[0].1["conditions"][0]["status"], "True");
    assert_eq!(after[0].1["observedGeneration"], 3);
}

#[test]
fn every_status_fits_its_schema() {
    let text = "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Recording\nmetadata: {name: a, generation: 1}\n\
                spec: {cameraRef: {name: none}, clip: {}}\n";
    let objects = crate::check::load_text("test.yaml", text).manifests.objects();
    let planned = plan(&objects, &Environment { agent: "run".into(), data: "/data".into() });
    let found = statuses(&objects, &planned, &Report::default(), at(NOW));
    assert_eq!(found.len(), 2, "the undeclared default archive has a status too");
    for (object, status) in found {
        let definitions = crate::api::crds::all();
        let definition =
            definitions.iter().find(|definition| definition.spec.names.kind == format!("{:?}", object.kind));
        let schema =
            crate::api::crds::schema(definition.unwrap_or_else(|| panic!("{object}")))["properties"]["status"].clone();
        let text = serde_json::to_string(&status).unwrap_or_default();
        let node = crate::check::yaml::documents(&text).remove(0).unwrap_or_else(|error| panic!("{error}"));
        let mut violations = Vec::new();
        crate::check::schema::validate(&node, &schema, "status", &mut violations);
        assert_eq!(violations, [], "{object}");
    }
}

#[test]
fn names_of_reasons_are_what_reports_say() {
    for reason in [Reason::FFmpegFailed, Reason::Streaming, Reason::ArchiveOwnedByAnother] {
        assert_eq!(serde_json::to_value(reason).ok(), Some(Value::String(reason.name())));
    }
}
