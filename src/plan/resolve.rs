//! Objects → the plan of one agent that runs them all: defaults filled in, references resolved, what is suspended or lacks
//! something left out and named with its reason. Pure; the grouping of a cluster (`plan::agents`) stands beside it and uses
//! the same parts.

use kube::{Resource, ResourceExt as _};

use super::capability::{Carrier, known_video_codec};
use super::defaults;
use super::ingest::ingest;
use super::objects::{Objects, archive_of, stable_uid};
use super::outputs::{fallback, hls, mjpeg, push, transcode};
use super::report::Reason;
use super::unit::{
    ArchivePlan, DeclaredRecording, Hls, ObjectKey, ObjectKind, ObjectRef, Plan, Push, Record, RecordMode,
    RetentionRules, RetentionSchedule, Unit, Work,
};
use super::values::{bytes, milliseconds};
use crate::api::recording::Retention;
use crate::api::stream::{Audio, AudioCodec};
use crate::api::{Archive, Camera, Duration, Quantity, Recording, Stream};

/// What a plan depends on beside the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Which agent the plan is for.
    pub agent: String,
    /// Folder of all data; archives lie in `archives/<namespace>/<name>` beneath it.
    pub data: String,
}

impl Environment {
    /// Folder of an archive.
    fn root(&self, archive: &Archive) -> String {
        let key = super::objects::key(archive);
        format!("{}/archives/{}/{}", self.data.trim_end_matches('/'), key.namespace, key.name)
    }
}

/// A plan and what could not go into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What the agent runs.
    pub plan: Plan,
    /// What it does not run, sorted by object.
    pub waiting: Vec<Waiting>,
}

/// An object for which nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub object: ObjectRef,
    /// Why.
    pub reason: Reason,
    /// One sentence; what is missing and what to do.
    pub message: String,
}

impl Default for Planned {
    /// Nothing to do.
    fn default() -> Self {
        Self { plan: Plan::new(""), waiting: Vec::new() }
    }
}

impl Planned {
    /// Why nothing runs for an object; `None` when something does.
    pub fn waiting_for(&self, object: &ObjectRef) -> Option<&Waiting> {
        let place = self.waiting.binary_search_by(|waiting| waiting.object.cmp(object)).ok()?;
        self.waiting.get(place)
    }
}

/// Why nothing runs for an object.
pub(super) type Refusal = (Reason, String);

/// Plans all objects for one agent. Archives that nobody declares are added ([`Objects::default_archives`]).
pub fn plan(objects: &Objects, environment: &Environment) -> Planned {
    let mut units = Vec::new();
    let mut waiting = Vec::new();
    let mut take = |kind, key: &ObjectKey, outcome: Result<Unit, Refusal>| match outcome {
        Ok(unit) => units.push(unit),
        Err((reason, message)) => {
            waiting.push(Waiting { object: ObjectRef { kind, key: key.clone() }, reason, message });
        }
    };
    for (key, camera) in &objects.cameras {
        take(ObjectKind::Camera, key, camera_unit(camera, key));
    }
    for (key, stream) in &objects.streams {
        take(ObjectKind::Stream, key, stream_unit(stream, key, objects));
    }
    let default_archives = objects.default_archives();
    let mut archives: Vec<ArchivePlan> = objects
        .archives
        .values()
        .chain(&default_archives)
        .map(|archive| archive_plan(archive, environment.root(archive)))
        .collect();
    archives.sort_by(|one, other| one.key.cmp(&other.key));
    let mut recordings = Vec::new();
    for (key, recording) in &objects.recordings {
        let archive = archive_of(recording);
        let is_there = archives.iter().any(|candidate| candidate.key == archive);
        take(ObjectKind::Recording, key, recording_unit(recording, key, objects, is_there));
        recordings.push(declared(recording, key));
    }
    units.sort_by(|one, other| one.object.cmp(&other.object));
    waiting.sort_by(|one, other| one.object.cmp(&other.object));
    let agent = environment.agent.clone();
    Planned { plan: Plan { archives, recordings, units, ..Plan::new(agent) }, waiting }
}

/// The unit of one camera by itself, whether or not it is suspended: what a connection test runs.
pub fn ingest_unit(camera: &Camera) -> Result<Unit, String> {
    let key = super::objects::key(camera);
    let ingest = ingest(camera, &key).map_err(|(_, message)| message)?;
    Ok(unit(ObjectKind::Camera, camera, &key, Work::Ingest(ingest)))
}

/// The unit of an object.
pub(super) fn unit<T: Resource>(kind: ObjectKind, object: &T, key: &ObjectKey, work: Work) -> Unit {
    Unit {
        uid: object.uid().unwrap_or_else(|| stable_uid(kind, key)),
        generation: object.meta().generation.unwrap_or(1),
        object: ObjectRef { kind, key: key.clone() },
        work,
    }
}

/// Refuses what its owner has suspended.
fn suspended(suspend: Option<bool>) -> Result<(), Refusal> {
    match suspend {
        Some(true) => Err((Reason::Suspended, "suspended: set spec.suspend to false to go on".to_owned())),
        _ => Ok(()),
    }
}

/// The connection to a camera, unless it is suspended.
pub(super) fn camera_unit(camera: &Camera, key: &ObjectKey) -> Result<Unit, Refusal> {
    suspended(camera.spec.suspend)?;
    Ok(unit(ObjectKind::Camera, camera, key, Work::Ingest(ingest(camera, key)?)))
}

/// The camera of that name, whether or not it runs.
fn camera_of<'a>(objects: &'a Objects, namespace: &str, name: &str) -> Result<(ObjectKey, &'a Camera), Refusal> {
    let key = ObjectKey::new(namespace, name);
    match objects.cameras.get(&key) {
        Some(camera) => Ok((key, camera)),
        None => Err((
            Reason::CameraUnavailable,
            format!("there is no Camera {name} in namespace {namespace}: declare it, or correct spec.cameraRef.name"),
        )),
    }
}

/// A stream's output, if it and its camera run.
pub(super) fn stream_unit(stream: &Stream, key: &ObjectKey, objects: &Objects) -> Result<Unit, Refusal> {
    suspended(stream.spec.suspend)?;
    let (camera_key, camera) = camera_of(objects, &key.namespace, &stream.spec.camera_ref.name)?;
    if camera.spec.suspend == Some(true) {
        return Err((Reason::CameraUnavailable, format!("Camera {} is suspended", camera_key.name)));
    }
    let output = &stream.spec.output;
    let audio = stream.spec.audio.clone().unwrap_or_default();
    let fallback = stream.spec.fallback.as_ref().map(|wanted| Box::new(fallback(wanted, &camera_key)));
    let renditions = output.hls.as_ref().map(|hls| hls.renditions.as_slice()).unwrap_or_default();
    let video = transcode(stream.spec.video.as_ref(), renditions);
    let encoded = video.as_ref().map(|video| video.codec);
    let (carrier, work) = if let Some(output) = &output.hls {
        (Carrier::Hls, Work::Hls(Hls { video, fallback, ..hls(output, camera_key, &audio) }))
    } else if let Some(output) = &output.mjpeg {
        (Carrier::Mjpeg, Work::Mjpeg(mjpeg(output, camera_key)))
    } else if let Some(output) = &output.push {
        let unknown = || unspecified("spec.output.push.url must begin with rtmp://, rtmps://, rtsp:// or srt://");
        let carrier = Carrier::of_push(&output.url).ok_or_else(unknown)?;
        (carrier, Work::Push(Push { video, fallback, ..push(output, camera_key, &audio) }))
    } else {
        return Err(unspecified("spec.output must hold exactly one of hls, mjpeg and push"));
    };
    let sent = encoded.or_else(|| known_video_codec(&camera.spec.source));
    if let Some(message) = sent.and_then(|codec| carrier.refusal(codec)) {
        return Err((Reason::CodecNotCarried, message));
    }
    Ok(unit(ObjectKind::Stream, stream, key, work))
}

/// What records, if the recording is not suspended, its camera is declared and `has_archive` says that its archive is there.
pub(super) fn recording_unit(
    recording: &Recording,
    key: &ObjectKey,
    objects: &Objects,
    has_archive: bool,
) -> Result<Unit, Refusal> {
    suspended(recording.spec.suspend)?;
    // A suspended camera keeps its recordings' units: a clip's deadline goes on, and the gap is accounted for.
    let (camera, _) = camera_of(objects, &key.namespace, &recording.spec.camera_ref.name)?;
    let archive = archive_of(recording);
    if !has_archive {
        return Err((
            Reason::ArchiveUnavailable,
            format!(
                "there is no Archive {} in namespace {}: declare it, or leave spec.archiveRef out",
                archive.name, archive.namespace
            ),
        ));
    }
    let mode = match (&recording.spec.continuous, &recording.spec.clip) {
        (Some(continuous), _) => RecordMode::Continuous {
            segment_ms: milliseconds(continuous.segment_duration.as_ref(), defaults::FILE_DURATION),
        },
        (None, Some(clip)) => RecordMode::Clip {
            duration_ms: milliseconds(clip.duration.as_ref(), defaults::CLIP_DURATION),
            stop: clip.stop.unwrap_or(false),
        },
        (None, None) => return Err(unspecified("spec must hold exactly one of continuous and clip")),
    };
    let work = Work::Record(Record {
        camera,
        archive,
        mode,
        audio: has_audio(recording.spec.audio.as_ref()),
        video: transcode(recording.spec.video.as_ref(), &[]),
        retention: retention_rules(recording.spec.retention.as_ref()),
        adopt: recording.spec.adopt.unwrap_or(false),
    });
    Ok(unit(ObjectKind::Recording, recording, key, work))
}

/// The schema refuses such objects; one that comes around it must not stop the others.
pub(super) fn unspecified(message: &str) -> Refusal {
    (Reason::InvalidSpec, message.to_owned())
}

/// The archive as its agent runs it, in the folder `root`.
pub(super) fn archive_plan(archive: &Archive, root: String) -> ArchivePlan {
    let key = super::objects::key(archive);
    let retention = archive.spec.retention.clone().unwrap_or_default();
    ArchivePlan {
        uid: archive.uid().unwrap_or_else(|| stable_uid(ObjectKind::Archive, &key)),
        generation: archive.metadata.generation.unwrap_or(1),
        root,
        key,
        min_free_bytes: bytes(archive.spec.min_free.as_ref(), defaults::MIN_FREE),
        retention: RetentionSchedule {
            schedule: retention.schedule.unwrap_or_else(|| defaults::SCHEDULE.to_owned()),
            time_zone: retention.time_zone.unwrap_or_else(|| defaults::TIME_ZONE.to_owned()),
            orphans_ms: retention.orphans.map(|orphans| orphans.milliseconds()),
            overdue_ms: None,
        },
    }
}

/// What retention keeps to for a recording, whether or not it runs.
pub(super) fn declared(recording: &Recording, key: &ObjectKey) -> DeclaredRecording {
    DeclaredRecording {
        key: key.clone(),
        archive: archive_of(recording),
        retention: retention_rules(recording.spec.retention.as_ref()),
    }
}

fn retention_rules(retention: Option<&Retention>) -> RetentionRules {
    RetentionRules {
        max_age_ms: retention.and_then(|retention| retention.max_age.as_ref()).map(Duration::milliseconds),
        max_bytes: retention.and_then(|retention| retention.max_size.as_ref()).map(Quantity::value),
    }
}

fn has_audio(audio: Option<&Audio>) -> bool {
    audio.and_then(|audio| audio.codec).unwrap_or_default() == AudioCodec::Auto
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
