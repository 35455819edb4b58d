//! What agents report and what could not be planned → the status of each kind: conditions with their reasons, and the facts
//! that a status holds. Pure: the clock is handed in. A status changes only when something changed: what moves all the time
//! (bytes, bit rate) is in metrics.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::Resource;
use serde_json::Value;

use super::objects::Objects;
use super::report::{
    ArchiveReport, GapFact, MediaFacts, Notice, Reason, Report, RetentionFacts, UnitReport, UnitState,
};
use super::resolve::{Planned, Waiting};
use super::unit::{ObjectKey, ObjectKind, ObjectRef};
use crate::api::archive::{ArchiveStatus, RetentionStatus};
use crate::api::camera::{CameraStatus, Media};
use crate::api::condition::{self, COMPLETE, Condition, FAILED, FALSE, REACHABLE, READY, TRUE, Time, UNKNOWN};
use crate::api::recording::{Coverage, Gap, RecordingStatus};
use crate::api::stream::{FallbackStatus, PushStatus, StreamStatus};
use crate::api::{Archive, Camera, Recording, Stream};
use crate::media::frame::UtcMicros;

/// Longest message of a condition, in characters (the schema's bound).
const MAX_MESSAGE: usize = 1024;
/// Most conditions of an object (the schema's bound).
const MAX_CONDITIONS: usize = 16;

/// What is known of an object's unit.
#[derive(Debug)]
pub enum Outcome<'a, R> {
    /// The agent reports on it.
    Reported(&'a R),
    /// It was not planned.
    Waiting(&'a Waiting),
    /// Its agent runs and cannot be asked: how it is doing cannot be told.
    Unknown(&'a Waiting),
    /// It was planned and nothing has been heard of it: the status stays as it was.
    Unheard,
}

// Not derived: that would ask for a report that can be copied, and only a reference is.
impl<R> Copy for Outcome<'_, R> {}

impl<R> Clone for Outcome<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

/// The statuses of all objects, as JSON, in the order of the objects; each object's own `status` is taken for the one before.
/// The statuses of archives that nobody declares ([`Objects::default_archives`]) are there too.
pub fn statuses(objects: &Objects, planned: &Planned, report: &Report, now: Timestamp) -> Vec<(ObjectRef, Value)> {
    let mut statuses = Vec::new();
    let mut push = |object: ObjectRef, status: Result<Value, serde_json::Error>| {
        // Plain types of ours: they cannot fail to serialise.
        statuses.push((object, status.unwrap_or_default()));
    };
    let reference = |kind, key: &ObjectKey| ObjectRef { kind, key: key.clone() };
    let known = Known::new(planned, report);
    for (key, camera) in &objects.cameras {
        let object = reference(ObjectKind::Camera, key);
        let status = camera_status(camera, known.unit(&object, camera), now);
        push(object, serde_json::to_value(status));
    }
    for (key, stream) in &objects.streams {
        let object = reference(ObjectKind::Stream, key);
        let status = stream_status(stream, known.unit(&object, stream), now);
        push(object, serde_json::to_value(status));
    }
    let undeclared = objects.default_archives();
    for archive in objects.archives.values().chain(&undeclared) {
        let key = super::objects::key(archive);
        let status = archive_status(archive, known.archive(&key, archive), now);
        push(reference(ObjectKind::Archive, &key), serde_json::to_value(status));
    }
    for (key, recording) in &objects.recordings {
        let object = reference(ObjectKind::Recording, key);
        let status = recording_status(recording, known.unit(&object, recording), now);
        push(object, serde_json::to_value(status));
    }
    statuses
}

/// What was planned and reported, found by object.
struct Known<'a> {
    planned: &'a Planned,
    units: HashMap<&'a ObjectRef, &'a UnitReport>,
    archives: HashMap<&'a ObjectKey, &'a ArchiveReport>,
}

impl<'a> Known<'a> {
    fn new(planned: &'a Planned, report: &'a Report) -> Self {
        Self {
            planned,
            units: report.units.iter().map(|unit| (&unit.object, unit)).collect(),
            archives: report.archives.iter().map(|archive| (&archive.key, archive)).collect(),
        }
    }

    /// What is known of a unit. A report on an earlier generation of the object says nothing of what is wanted now.
    fn unit<T: Resource>(&self, object: &ObjectRef, resource: &T) -> Outcome<'a, UnitReport> {
        if let Some(waiting) = self.planned.waiting_for(object) {
            return Outcome::Waiting(waiting);
        }
        match self.units.get(object) {
            Some(unit) if is_current(unit.generation, resource) => Outcome::Reported(unit),
            _ => Outcome::Unheard,
        }
    }

    fn archive(&self, key: &ObjectKey, archive: &Archive) -> Outcome<'a, ArchiveReport> {
        match self.archives.get(key) {
            Some(report) if is_current(report.generation, archive) => Outcome::Reported(report),
            _ => Outcome::Unheard,
        }
    }
}

fn is_current<T: Resource>(generation: i64, resource: &T) -> bool {
    resource.meta().generation.is_none_or(|wanted| wanted == generation)
}

/// The status of a camera.
pub fn camera_status(camera: &Camera, outcome: Outcome<'_, UnitReport>, now: Timestamp) -> CameraStatus {
    let previous = camera.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, camera, now);
    let mut media = previous.media.clone();
    match outcome {
        Outcome::Unheard => return CameraStatus { conditions: conditions.unheard(), ..previous },
        Outcome::Waiting(waiting) => {
            conditions.set(READY, FALSE, waiting.reason, &waiting.message);
            conditions.set(REACHABLE, UNKNOWN, waiting.reason, &waiting.message);
        }
        Outcome::Unknown(waiting) => {
            conditions.set(READY, UNKNOWN, waiting.reason, &waiting.message);
            conditions.set(REACHABLE, UNKNOWN, waiting.reason, &waiting.message);
        }
        Outcome::Reported(report) => {
            conditions.ready(report);
            let reachable = reachable(report).or_else(|| {
                let before = condition::find(&previous.conditions, REACHABLE);
                before.map(|before| before.status.clone()).filter(|_| says_nothing_new(report.reason))
            });
            conditions.set(REACHABLE, &reachable.unwrap_or_else(|| UNKNOWN.to_owned()), report.reason, &report.message);
            conditions.notices(&report.notices);
            if let Some(facts) = &report.media {
                media = Some(media_status(facts, previous.media.as_ref()));
            }
        }
    }
    CameraStatus { observed_generation: camera.metadata.generation, conditions: conditions.list, media }
}

/// Whether the device answers, where the report proves it either way.
fn reachable(report: &UnitReport) -> Option<String> {
    let answer = match report.reason {
        Reason::Unreachable => FALSE,
        // The device did answer, though not with what was wanted.
        Reason::NoVideo | Reason::CredentialRefused | Reason::NotFound | Reason::SourceEnded => TRUE,
        _ if report.state == UnitState::Running => TRUE,
        _ => return None,
    };
    Some(answer.to_owned())
}

/// Whether a reason leaves what was known of the device as it is.
const fn says_nothing_new(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Connecting | Reason::ReconnectLimitReached | Reason::ClockStepped | Reason::ConfigurationChanged
    )
}

fn media_status(facts: &MediaFacts, previous: Option<&Media>) -> Media {
    let measured = f64::from(facts.frames_per_second_milli) / 1000.0;
    let before = previous.and_then(|media| media.frames_per_second.parse::<f64>().ok());
    let frames_per_second = match (previous, before) {
        // A measurement that wavers is no news.
        (Some(media), Some(before)) if (measured - before).abs() <= before * 0.1 => media.frames_per_second.clone(),
        _ if measured >= 10.0 => format!("{measured:.0}"),
        _ => {
            let text = format!("{measured:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    Media {
        video_codec: facts.video_codec.clone(),
        width: pixels(facts.width),
        height: pixels(facts.height),
        frames_per_second,
        audio_codec: facts.audio_codec.clone(),
    }
}

/// Path of a stream's live media beneath the gateway's address; a push has none.
pub fn live_path(stream: &Stream) -> Option<String> {
    let key = super::objects::key(stream);
    let output = &stream.spec.output;
    let file = match (&output.hls, &output.mjpeg) {
        (Some(_), _) => "index.m3u8",
        (None, Some(_)) => "stream.mjpeg",
        (None, None) => return None,
    };
    Some(format!("/live/{}/{}/{file}", key.namespace, key.name))
}

/// The status of a stream.
pub fn stream_status(stream: &Stream, outcome: Outcome<'_, UnitReport>, now: Timestamp) -> StreamStatus {
    let previous = stream.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, stream, now);
    let path = live_path(stream);
    let mut push = push_status(stream, None);
    let mut fallback = None;
    match outcome {
        Outcome::Unheard => {
            // Nothing new is known, but for where it goes.
            let before = previous.push.clone().unwrap_or_default();
            let push = push.map(|push| PushStatus { target: push.target, watch_url: push.watch_url, ..before });
            return StreamStatus { conditions: conditions.unheard(), path, push, ..previous };
        }
        Outcome::Waiting(waiting) => conditions.set(READY, FALSE, waiting.reason, &waiting.message),
        Outcome::Unknown(waiting) => conditions.set(READY, UNKNOWN, waiting.reason, &waiting.message),
        Outcome::Reported(report) => {
            conditions.ready(report);
            conditions.notices(&report.notices);
            push = push_status(stream, Some(report));
            fallback = report
                .fallback
                .as_ref()
                .map(|facts| FallbackStatus { mode: facts.mode.name().to_owned(), since: facts.since.map(time) });
        }
    }
    StreamStatus { observed_generation: stream.metadata.generation, conditions: conditions.list, path, fallback, push }
}

/// What a status says of a push; `None` of other streams.
fn push_status(stream: &Stream, report: Option<&UnitReport>) -> Option<PushStatus> {
    let output = stream.spec.output.push.as_ref()?;
    let facts = report.and_then(|report| report.push.as_ref());
    Some(PushStatus {
        // A query may hold a token, whoever wrote it.
        target: output.url.split('?').next().unwrap_or_default().to_owned(),
        mode: facts.map(|facts| facts.mode.name().to_owned()),
        since: facts.and_then(|facts| facts.since).map(time),
        bit_rate: facts.and_then(|facts| facts.bit_rate).map(whole),
        dropped_frames: facts.map(|facts| whole(facts.dropped_frames)),
        reconnects: report.map_or(0, |report| whole(report.reconnects)),
        watch_url: output
            .youtube
            .as_ref()
            .map(|youtube| format!("https://www.youtube.com/watch?v={}", youtube.video_id)),
    })
}

/// A count as Kubernetes takes it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The status of an archive.
pub fn archive_status(archive: &Archive, outcome: Outcome<'_, ArchiveReport>, now: Timestamp) -> ArchiveStatus {
    let previous = archive.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, archive, now);
    let mut retention = previous.retention.clone();
    match outcome {
        Outcome::Unheard => return ArchiveStatus { conditions: conditions.unheard(), ..previous },
        Outcome::Waiting(waiting) => conditions.set(READY, FALSE, waiting.reason, &waiting.message),
        Outcome::Unknown(waiting) => conditions.set(READY, UNKNOWN, waiting.reason, &waiting.message),
        Outcome::Reported(report) => {
            conditions.set(READY, if report.ready { TRUE } else { FALSE }, report.reason, &report.message);
            retention = report.retention.as_ref().map(retention_status).or(retention);
        }
    }
    ArchiveStatus { observed_generation: archive.metadata.generation, conditions: conditions.list, retention }
}

/// The status of a recording.
pub fn recording_status(recording: &Recording, outcome: Outcome<'_, UnitReport>, now: Timestamp) -> RecordingStatus {
    let previous = recording.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, recording, now);
    let is_clip = recording.spec.clip.is_some();
    let mut status = RecordingStatus { observed_generation: recording.metadata.generation, ..previous.clone() };
    match outcome {
        Outcome::Unheard => return RecordingStatus { conditions: conditions.unheard(), ..previous },
        Outcome::Waiting(waiting) => {
            conditions.set(READY, FALSE, waiting.reason, &waiting.message);
            if is_clip {
                // A clip that is complete stays so, whatever becomes of its camera.
                match condition::find(&previous.conditions, COMPLETE).filter(|complete| complete.status == TRUE) {
                    Some(complete) => conditions.list.push(complete.clone()),
                    None => conditions.set(COMPLETE, FALSE, waiting.reason, &waiting.message),
                }
            }
        }
        Outcome::Unknown(waiting) => conditions.unknown_recording(waiting),
        Outcome::Reported(report) => {
            conditions.ready(report);
            if is_clip {
                let complete = if report.state == UnitState::Complete { TRUE } else { FALSE };
                conditions.set(COMPLETE, complete, report.reason, &report.message);
            }
            if report.state == UnitState::Failed {
                conditions.set(FAILED, TRUE, report.reason, &report.message);
            }
            conditions.notices(&report.notices);
            if let Some(facts) = &report.recording {
                status.start_time = facts.start.map(time).or(status.start_time);
                status.completion_time = facts.completion.map(time).or(status.completion_time);
                // Steps of ten: a status is no progress bar.
                let progress = facts.progress_percent.map(|percent| i32::from(percent.min(100)) / 10 * 10);
                status.progress_percent = progress.filter(|_| is_clip);
                let (hour, day) = (facts.coverage_hour_ppm.map(percent), facts.coverage_day_ppm.map(percent));
                status.coverage =
                    (hour.is_some() || day.is_some()).then_some(Coverage { last_hour: hour, last_day: day });
                status.last_gaps = facts.last_gaps.iter().rev().take(10).rev().map(gap).collect();
                status.retention = facts.retention.as_ref().map(retention_status).or(status.retention);
            }
        }
    }
    status.conditions = conditions.list;
    status
}

/// A share in parts per million as `99.98%`. Rounded down: what is not whole never reads as 100 %.
fn percent(ppm: u32) -> String {
    let hundredths = ppm.min(1_000_000) / 100;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn time(at: UtcMicros) -> Time {
    // Times of a status have whole seconds, as everywhere in Kubernetes.
    let seconds = at.0.div_euclid(1_000_000);
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn gap(fact: &GapFact) -> Gap {
    Gap { from: time(fact.from), to: time(fact.to), reason: fact.reason.name() }
}

fn retention_status(facts: &RetentionFacts) -> RetentionStatus {
    RetentionStatus {
        last_run: time(facts.last_run),
        deleted_segments: whole(facts.deleted_segments),
        deleted_bytes: whole(facts.deleted_bytes),
    }
}

/// The conditions that are being put together.
struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Time,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    fn new<T: Resource>(previous: &'a [Condition], object: &T, now: Timestamp) -> Self {
        let now = time(UtcMicros::from_timestamp(now));
        Self { previous, generation: object.meta().generation, now, list: Vec::new() }
    }

    /// Sets one condition. Its time moves only when its status flips.
    fn set(&mut self, type_: &str, status: &str, reason: Reason, message: &str) {
        self.set_named(type_, status, reason.name(), message);
    }

    fn set_named(&mut self, type_: &str, status: &str, reason: String, message: &str) {
        let before = condition::find(self.previous, type_).filter(|before| before.status == status);
        let last_transition_time =
            before.map_or_else(|| self.now.clone(), |before| before.last_transition_time.clone());
        self.list.retain(|condition| condition.type_ != type_);
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason,
            message: message.chars().take(MAX_MESSAGE).collect(),
            last_transition_time,
            observed_generation: self.generation,
        });
    }

    /// That it cannot be told how a recording is doing. What has ended stays so.
    fn unknown_recording(&mut self, waiting: &Waiting) {
        self.set(READY, UNKNOWN, waiting.reason, &waiting.message);
        let previous = self.previous;
        self.list.extend([COMPLETE, FAILED].iter().filter_map(|type_| condition::find(previous, type_)).cloned());
    }

    fn ready(&mut self, report: &UnitReport) {
        let ready = match report.state {
            UnitState::Running | UnitState::Complete => TRUE,
            UnitState::Starting | UnitState::Waiting | UnitState::Reconnecting | UnitState::Failed => FALSE,
        };
        self.set(READY, ready, report.reason, &report.message);
    }

    /// Notices hold as long as they are there, and are gone with no trace afterwards.
    fn notices(&mut self, notices: &[Notice]) {
        for notice in notices {
            let is_word = notice.kind.starts_with(|first: char| first.is_ascii_alphabetic())
                && notice.kind.len() <= 63
                && notice.kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let is_taken = self.list.iter().any(|condition| condition.type_ == notice.kind);
            if is_word && !is_taken && self.list.len() < MAX_CONDITIONS {
                self.set_named(&notice.kind, TRUE, notice.kind.clone(), &notice.message);
            }
        }
    }

    /// What stood there before, or that nothing is known yet.
    fn unheard(mut self) -> Vec<Condition> {
        if self.previous.is_empty() {
            self.set(READY, UNKNOWN, Reason::Pending, "waiting for the agent to take it up");
            return self.list;
        }
        self.previous.to_vec()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
