//! What alerts need of an object, taken from its types or from its JSON. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{Alert, AlertKey};
use crate::api::alert_route::{AlertName, Severity};
use crate::api::condition::{self, Condition, READY};
use crate::api::{Archive, Camera, DEFAULT_ARCHIVE, Recording, Stream};
use crate::plan::report::Reason;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Where an object's labels stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Labels<'a> {
    None,
    Json(&'a Value),
    Map(&'a BTreeMap<String, String>),
}

impl Labels<'_> {
    fn collect(self) -> BTreeMap<String, String> {
        match self {
            Self::None => BTreeMap::new(),
            Self::Map(labels) => labels.clone(),
            Self::Json(labels) => {
                let labels = labels.as_object().into_iter().flatten();
                labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
            }
        }
    }
}

/// The condition `Ready`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready<'a> {
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    pub(super) since: Option<Timestamp>,
}

/// The little of an object that alerts come from.
#[derive(Debug, Clone)]
pub struct Fact<'a> {
    pub(super) kind: ObjectKind,
    pub(super) key: &'a ObjectKey,
    pub(super) labels: Labels<'a>,
    pub(super) ready: Option<Ready<'a>>,
    /// Name of the camera that it refers to.
    pub(super) camera: Option<&'a str>,
    /// Name of the archive that it refers to.
    pub(super) archive: Option<&'a str>,
    /// What is held of the last whole day, such as 99.98%.
    pub(super) last_day: Option<&'a str>,
    /// Whether an agent runs for it alone.
    pub(super) has_agent: bool,
    /// Of a route: whether no receiver takes what is sent to it.
    pub(super) is_mute: bool,
}

fn ready_of(conditions: &[Condition]) -> Option<Ready<'_>> {
    let ready = condition::find(conditions, READY)?;
    let (status, reason, message) = (ready.status.as_str(), ready.reason.as_str(), ready.message.as_str());
    Some(Ready { status, reason, message, since: Some(ready.last_transition_time.0) })
}

impl<'a> Fact<'a> {
    fn new(kind: ObjectKind, key: &'a ObjectKey, labels: Labels<'a>, ready: Option<Ready<'a>>) -> Self {
        let has_agent = matches!(kind, ObjectKind::Camera | ObjectKind::Archive);
        Self { kind, key, labels, ready, camera: None, archive: None, last_day: None, has_agent, is_mute: false }
    }

    fn typed<T: kube::Resource>(
        kind: ObjectKind,
        key: &'a ObjectKey,
        object: &'a T,
        conditions: Option<&'a Vec<Condition>>,
    ) -> Self {
        let labels = object.meta().labels.as_ref().map_or(Labels::None, Labels::Map);
        Self::new(kind, key, labels, conditions.and_then(|conditions| ready_of(conditions)))
    }

    /// Of an object as Kubernetes shapes it.
    pub fn of_json(reference: &'a ObjectRef, object: &'a Value) -> Self {
        let conditions = object["status"]["conditions"].as_array();
        let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == READY)).and_then(|ready| {
            Some(Ready {
                status: ready["status"].as_str()?,
                reason: ready["reason"].as_str()?,
                message: ready["message"].as_str().unwrap_or_default(),
                since: ready["lastTransitionTime"].as_str().and_then(|text| text.parse().ok()),
            })
        });
        let kind = reference.kind;
        let receivers = object["status"]["receivers"].as_array().filter(|receivers| !receivers.is_empty());
        let is_recording = kind == ObjectKind::Recording;
        Self {
            camera: object["spec"]["cameraRef"]["name"].as_str(),
            archive: is_recording.then(|| object["spec"]["archiveRef"]["name"].as_str().unwrap_or(DEFAULT_ARCHIVE)),
            last_day: object["status"]["coverage"]["lastDay"].as_str(),
            is_mute: receivers.is_some_and(|all| all.iter().all(|one| one["error"].is_string())),
            ..Self::new(kind, &reference.key, Labels::Json(&object["metadata"]["labels"]), ready)
        }
    }

    /// Of a camera.
    pub fn of_camera(key: &'a ObjectKey, camera: &'a Camera) -> Self {
        Self::typed(ObjectKind::Camera, key, camera, camera.status.as_ref().map(|status| &status.conditions))
    }

    /// Of a stream.
    pub fn of_stream(key: &'a ObjectKey, stream: &'a Stream) -> Self {
        let conditions = stream.status.as_ref().map(|status| &status.conditions);
        Self {
            camera: Some(&stream.spec.camera_ref.name),
            has_agent: stream.spec.output.hls.is_none(),
            ..Self::typed(ObjectKind::Stream, key, stream, conditions)
        }
    }

    /// Of an archive.
    pub fn of_archive(key: &'a ObjectKey, archive: &'a Archive) -> Self {
        Self::typed(ObjectKind::Archive, key, archive, archive.status.as_ref().map(|status| &status.conditions))
    }

    /// Of a recording.
    pub fn of_recording(key: &'a ObjectKey, recording: &'a Recording) -> Self {
        let status = recording.status.as_ref();
        let archive = recording.spec.archive_ref.as_ref().map_or(DEFAULT_ARCHIVE, |archive| archive.name.as_str());
        let coverage = status.and_then(|status| status.coverage.as_ref());
        Self {
            camera: Some(&recording.spec.camera_ref.name),
            archive: Some(archive),
            last_day: coverage.and_then(|coverage| coverage.last_day.as_deref()),
            ..Self::typed(ObjectKind::Recording, key, recording, status.map(|status| &status.conditions))
        }
    }

    pub(super) fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind, key: self.key.clone() }
    }

    pub(super) fn named(&self, name: Option<&str>) -> Option<ObjectKey> {
        name.map(|name| ObjectKey::new(self.key.namespace.clone(), name))
    }

    pub(super) fn alert(
        &self,
        name: AlertName,
        severity: Severity,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Alert {
        let key = AlertKey::own(self.reference(), name);
        let since = self.ready.and_then(|ready| ready.since).unwrap_or(now);
        let mut alert = Alert::new(key, format!("{name:?}"), severity, reason, since).saying(message);
        alert.code = Reason::parse(reason).code();
        alert.labels = self.labels.collect();
        alert.camera = if self.kind == ObjectKind::Camera { Some(self.key.clone()) } else { self.named(self.camera) };
        alert
    }
}
