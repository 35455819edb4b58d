//! The grouping of a cluster: which agent (pod) runs which units. One agent for each Camera (its connection and the Streams
//! that only repackage it), one for each Stream that has work of its own (Motion JPEG, a push, encoding), one for each Archive (all its
//! Recordings). Pure, and of one owner at a time, so that a thousand cameras cost no more to plan than the one that changed.
//!
//! The pods themselves are made from these plans in `operator::build`.

use std::collections::BTreeSet;

use super::address::{ARCHIVE_ROOT, agent_subject, agent_url, child_name, retention_name, subject};
use super::clips;
use super::index::{Index, camera_of_recording, camera_of_stream};
use super::ingest::ingest;
use super::objects::{archive_of, stable_uid};
use super::outputs::fallback_image;
use super::report::Reason;
use super::resolve::{Refusal, Waiting, archive_plan, camera_unit, declared, recording_unit, stream_unit, unit};
use super::unit::{
    Access, ConfigMapKey, Credentials, Ingest, Location, ObjectKey, ObjectKind, ObjectRef, Plan, Reconnect, SecretKey,
    Source, SourceGuard, Unit, Work,
};
use super::values::secret_key;
use crate::api::archive::{Claim, ReclaimPolicy};
use crate::api::pod::PodOverrides;
use crate::api::stream::{PushOutput, Video};
use crate::api::{Archive, Camera, DEFAULT_ARCHIVE, Stream};

/// How much a viewer's agent keeps of a camera that another agent is connected to: enough for the way between the two. The
/// camera's own agent keeps the rest, and hands it out again after a cut.
const VIEWER_RING_MS: u64 = 2_000;
/// Between two attempts to reach another agent: it is near, and comes back soon.
const HUB_RECONNECT: Reconnect = Reconnect { initial_delay_ms: 250, max_delay_ms: 5_000, max_attempts: None };

/// How long a recorder waits for the job that asks it for retention. Without jobs (the API server is down for days, say) a
/// volume must not fill up; and a job may start an hour late.
const RETENTION_OVERDUE_MS: u64 = 2 * 3_600_000;

/// What the plans of a cluster depend on beside the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `iss` of the cluster's ServiceAccount tokens.
    pub issuer: String,
    /// The cluster's public keys, a JWK set (RFC 7517 §5).
    pub keys: serde_json::Value,
    /// Subjects that may ask every agent for everything: the operator's own.
    pub control: Vec<String>,
    /// Subjects that may read media of every agent, such as the gateway's.
    pub media: Vec<String>,
    /// Addresses and networks that cameras' sources may not connect to, such as the API server's.
    pub refused: Vec<String>,
    /// How many clips of a namespace may run at once.
    pub max_clips_per_namespace: usize,
}

/// One agent: what it runs, and what its pod needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlan {
    /// The object whose agent it is: a Camera, a Stream or an Archive.
    pub owner: ObjectRef,
    /// `metadata.uid` of the owner.
    pub owner_uid: String,
    /// Name of everything that is made for it, such as `front-door-camera`.
    pub name: String,
    /// What the agent runs.
    pub plan: Plan,
    /// Whether there is anything to run: otherwise the Deployment has no replicas.
    pub runs: bool,
    /// Keys of users' Secrets that the agent reads, sorted.
    pub secrets: Vec<SecretKey>,
    /// Keys of users' ConfigMaps that the agent reads, sorted.
    pub config_maps: Vec<ConfigMapKey>,
    /// Whether the agent reads other agents, and so needs a token to show them.
    pub reads_agents: bool,
    /// Whether it opens a video device of the node.
    pub opens_device: bool,
    /// How one pod follows another.
    pub rollout: Rollout,
    /// What the owner's `spec.pod` asks for.
    pub overrides: PodOverrides,
    /// An archive's volume.
    pub volume: Option<Volume>,
}

/// How one pod follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// The new pod is ready before the old one ends, so that nothing is cut.
    Overlap,
    /// The old pod ends before the new one starts, because only one of them can hold what it works with.
    OneAtATime,
}

/// Where an archive's recordings lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volume {
    /// A claim that is made for the archive.
    Made {
        /// What is asked for.
        claim: Claim,
        /// What becomes of it with the archive.
        reclaim_policy: ReclaimPolicy,
    },
    /// A claim that somebody else has made, by name.
    Existing(String),
}

/// The object whose agent runs the unit of `object`, whether or not that agent is there: a Camera's, an Archive's, or a
/// Stream's own that has work of its own; any other Stream's camera; a Recording's archive. `None` when there is no such object.
pub fn host(index: &Index, object: &ObjectRef) -> Option<ObjectRef> {
    let objects = index.objects();
    let key = &object.key;
    match object.kind {
        ObjectKind::Camera => objects.cameras.contains_key(key).then(|| object.clone()),
        ObjectKind::Archive => objects.archives.contains_key(key).then(|| object.clone()),
        ObjectKind::Stream => objects.streams.get(key).map(|stream| {
            if has_agent(stream) {
                object.clone()
            } else {
                ObjectRef { kind: ObjectKind::Camera, key: camera_of_stream(stream) }
            }
        }),
        ObjectKind::Recording => objects
            .recordings
            .get(key)
            .map(|recording| ObjectRef { kind: ObjectKind::Archive, key: archive_of(recording) }),
        ObjectKind::AlertRoute => None,
    }
}

/// Why nothing runs for an object; `None` when something does, or there is no such object. An Archive runs as soon as it has a
/// volume.
pub fn waiting(index: &Index, object: &ObjectRef, cluster: &Cluster) -> Option<Waiting> {
    let objects = index.objects();
    let key = &object.key;
    let outcome = match object.kind {
        ObjectKind::Camera => camera_outcome(objects.cameras.get(key)?, key).map(drop),
        ObjectKind::Stream => stream_outcome(index, objects.streams.get(key)?, key).map(drop),
        ObjectKind::Archive => volume(objects.archives.get(key)?).map(drop),
        ObjectKind::Recording => {
            objects.recordings.get(key)?;
            recording_outcome(index, key, cluster).map(drop)
        }
        ObjectKind::AlertRoute => return None,
    };
    let (reason, message) = outcome.err()?;
    Some(Waiting { object: object.clone(), reason, message })
}

/// The agent of an object. `None` when the object is not there, has no agent of its own (a Recording, an HLS Stream), or lacks
/// what a pod cannot be made without (an Archive without a volume; [`waiting`] says so).
pub fn agent_plan(index: &Index, owner: &ObjectRef, cluster: &Cluster) -> Option<AgentPlan> {
    let objects = index.objects();
    match owner.kind {
        ObjectKind::Camera => Some(camera_agent(index, owner, objects.cameras.get(&owner.key)?, cluster)),
        ObjectKind::Stream => {
            let stream = objects.streams.get(&owner.key).filter(|stream| has_agent(stream))?;
            Some(stream_agent(index, owner, stream, cluster))
        }
        ObjectKind::Archive => archive_agent(index, owner, objects.archives.get(&owner.key)?, cluster),
        ObjectKind::Recording | ObjectKind::AlertRoute => None,
    }
}

/// Whether a stream's work is done by an agent of its own.
fn has_agent(stream: &Stream) -> bool {
    let output = &stream.spec.output;
    let encodes = stream.spec.video.as_ref().is_some_and(Video::encodes);
    output.mjpeg.is_some() || output.push.is_some() || encodes
}

fn camera_outcome(camera: &Camera, key: &ObjectKey) -> Result<Unit, Refusal> {
    let unit = camera_unit(camera, key)?;
    let has_devices = camera.spec.pod.as_ref().is_some_and(|pod| !pod.device_resources.is_empty());
    if camera.spec.source.v4l2.is_some() && !has_devices {
        return Err((
            Reason::DeviceMissing,
            "a pod gets no device of its node by itself: write spec.pod.deviceResources with the resource of a device plugin, \
             such as [{name: squat.ai/video}]"
                .to_owned(),
        ));
    }
    Ok(unit)
}

fn stream_outcome(index: &Index, stream: &Stream, key: &ObjectKey) -> Result<Unit, Refusal> {
    let unit = stream_unit(stream, key, index.objects())?;
    let camera_key = camera_of_stream(stream);
    match index.objects().cameras.get(&camera_key).map(|camera| camera_outcome(camera, &camera_key)) {
        Some(Err((_, message))) => {
            Err((Reason::CameraUnavailable, format!("Camera {} cannot run: {message}", camera_key.name)))
        }
        _ => Ok(unit),
    }
}

fn camera_agent(index: &Index, owner: &ObjectRef, camera: &Camera, cluster: &Cluster) -> AgentPlan {
    let key = &owner.key;
    let mut units: Vec<Unit> = camera_outcome(camera, key).into_iter().collect();
    let runs = !units.is_empty();
    let streams = index.streams_of_camera(key);
    let (repackaged, own): (Vec<_>, Vec<_>) = streams.partition(|(_, stream)| !has_agent(stream));
    if runs {
        let outcomes = repackaged.iter().map(|(key, stream)| stream_outcome(index, stream, key));
        units.extend(outcomes.filter_map(Result::ok));
    }
    // Who reads this camera from elsewhere: the agents of what declares that it does, and nobody else.
    let streams = own.iter().map(|(stream, _)| agent_subject(ObjectKind::Stream, stream));
    let recordings = index.recordings_of_camera(key).map(|(_, recording)| archive_of(recording));
    let recorders = recordings.map(|archive| agent_subject(ObjectKind::Archive, &archive));
    let readers: BTreeSet<String> = streams.chain(recorders).collect();
    let source = &camera.spec.source;
    let overrides = camera.spec.pod.clone().unwrap_or_default();
    let single_session = source.rtsp.as_ref().is_some_and(|rtsp| rtsp.single_session == Some(true));
    let holds_alone = single_session || source.v4l2.is_some() || overrides.host_network == Some(true);
    let config_maps = config_maps(repackaged.iter().map(|(_, stream)| *stream), &key.namespace);
    // Mounted while the camera is suspended, too, so that going on changes nothing of the pod.
    let secrets = ingest(camera, key).map(|ingest| secret_keys(&ingest.source)).unwrap_or_default();
    AgentPlan {
        runs,
        secrets,
        config_maps,
        opens_device: source.v4l2.is_some(),
        rollout: if holds_alone { Rollout::OneAtATime } else { Rollout::Overlap },
        ..agent(owner, camera.metadata.uid.as_deref(), overrides, units, readers, cluster)
    }
}

fn stream_agent(index: &Index, owner: &ObjectRef, stream: &Stream, cluster: &Cluster) -> AgentPlan {
    let mut units = Vec::new();
    let camera = camera_of_stream(stream);
    if let Ok(output) = stream_outcome(index, stream, &owner.key)
        && let Some(hub) = hub_unit(index, &camera, Some(VIEWER_RING_MS))
    {
        units.extend([hub, output]);
    }
    let overrides = stream.spec.pod.clone().unwrap_or_default();
    let push = stream.spec.output.push.as_ref();
    // Never two sessions on one stream key.
    let holds_alone = push.is_some() || overrides.host_network == Some(true);
    // Mounted while the stream is suspended, too, so that going on changes nothing of the pod.
    let secrets = push.map(|push| push_secrets(push, &owner.key)).unwrap_or_default();
    AgentPlan {
        runs: !units.is_empty(),
        secrets,
        config_maps: config_maps([stream], &owner.key.namespace),
        reads_agents: true,
        rollout: if holds_alone { Rollout::OneAtATime } else { Rollout::Overlap },
        ..agent(owner, stream.metadata.uid.as_deref(), overrides, units, BTreeSet::new(), cluster)
    }
}

fn archive_agent(index: &Index, owner: &ObjectRef, archive: &Archive, cluster: &Cluster) -> Option<AgentPlan> {
    let volume = volume(archive).ok()?;
    let mut units = Vec::new();
    let mut cameras = BTreeSet::new();
    let mut recordings = Vec::new();
    for (key, recording) in index.recordings_of_archive(&owner.key) {
        recordings.push(declared(recording, key));
        if let Ok(unit) = recording_outcome(index, key, cluster) {
            units.push(unit);
            cameras.insert(camera_of_recording(recording));
        }
    }
    // A recorder keeps as much as the camera's own agent does, because a slow disk is here and not there.
    units.extend(cameras.iter().filter_map(|camera| hub_unit(index, camera, None)));
    let retention = subject(&ObjectKey::new(&*owner.key.namespace, retention_name(&owner.key.name)));
    let overrides = archive.spec.pod.clone().unwrap_or_default();
    let uid = archive.metadata.uid.as_deref();
    let mut agent = agent(owner, uid, overrides, units, BTreeSet::from([retention]), cluster);
    let mut archive_plan = archive_plan(archive, ARCHIVE_ROOT.to_owned());
    archive_plan.retention.overdue_ms = Some(RETENTION_OVERDUE_MS);
    agent.plan.archives = vec![archive_plan];
    agent.plan.recordings = recordings;
    Some(AgentPlan {
        // Also with nothing to record: what is recorded already can be played, and retention goes on.
        runs: true,
        reads_agents: true,
        rollout: Rollout::OneAtATime,
        volume: Some(volume),
        ..agent
    })
}

/// What all agents have in common. `callers` may ask this agent for everything, beside those that may ask every agent.
fn agent(
    owner: &ObjectRef,
    uid: Option<&str>,
    overrides: PodOverrides,
    mut units: Vec<Unit>,
    callers: BTreeSet<String>,
    cluster: &Cluster,
) -> AgentPlan {
    units.sort_by(|one, other| one.object.cmp(&other.object));
    let name = child_name(owner.kind, &owner.key.name);
    let mut control = cluster.control.clone();
    control.extend(callers);
    let access = Access {
        issuer: cluster.issuer.clone(),
        audience: super::address::AGENT_AUDIENCE.to_owned(),
        keys: cluster.keys.clone(),
        control,
        media: cluster.media.clone(),
        host_network: overrides.host_network == Some(true),
    };
    let guard = SourceGuard { refused: cluster.refused.clone() };
    let plan = Plan {
        units,
        access: Some(access),
        guard: Some(guard),
        ..Plan::new(format!("{}/{name}", owner.key.namespace))
    };
    AgentPlan {
        owner: owner.clone(),
        owner_uid: uid.map_or_else(|| stable_uid(owner.kind, &owner.key), str::to_owned),
        name,
        plan,
        runs: false,
        secrets: Vec::new(),
        config_maps: Vec::new(),
        reads_agents: false,
        opens_device: false,
        rollout: Rollout::Overlap,
        overrides,
        volume: None,
    }
}

/// A camera as an agent sees it that is not connected to it. `None` when the camera is not there or suspended: what reads it
/// then says that it waits for the camera.
fn hub_unit(index: &Index, key: &ObjectKey, ring_ms: Option<u64>) -> Option<Unit> {
    let camera = index.objects().cameras.get(key)?;
    camera_outcome(camera, key).ok()?;
    let own = ingest(camera, key).ok()?;
    let address = agent_url(&ObjectRef { kind: ObjectKind::Camera, key: key.clone() });
    let ingest = Ingest {
        source: Source::Hub { address },
        reconnect: HUB_RECONNECT,
        ring_ms: ring_ms.map_or(own.ring_ms, |ring_ms| ring_ms.min(own.ring_ms)),
        ..own
    };
    Some(unit(ObjectKind::Camera, camera, key, Work::Ingest(ingest)))
}

/// The volume of an archive.
fn volume(archive: &Archive) -> Result<Volume, Refusal> {
    let spec = &archive.spec;
    match (&spec.claim, &spec.existing_claim) {
        (Some(claim), _) => {
            Ok(Volume::Made { claim: claim.clone(), reclaim_policy: spec.reclaim_policy.unwrap_or_default() })
        }
        (None, Some(name)) => Ok(Volume::Existing(name.clone())),
        (None, None) => Err((
            Reason::ClaimMissing,
            "a cluster has to know the volume: write spec.claim with a size, such as claim: {size: 100Gi}, or \
             spec.existingClaim with the name of a PersistentVolumeClaim"
                .to_owned(),
        )),
    }
}

fn recording_outcome(index: &Index, key: &ObjectKey, cluster: &Cluster) -> Result<Unit, Refusal> {
    let objects = index.objects();
    let unspecified = || (Reason::InvalidSpec, format!("there is no Recording {key}"));
    let recording = objects.recordings.get(key).ok_or_else(unspecified)?;
    let archive_key = archive_of(recording);
    let archive = objects.archives.get(&archive_key);
    let unit = recording_unit(recording, key, objects, archive.is_some());
    if archive.is_none() && archive_key.name == DEFAULT_ARCHIVE && unit.is_err() {
        // In a cluster nobody can guess how large it is to be.
        return unit.map_err(|(reason, message)| match reason {
            Reason::ArchiveUnavailable => (
                reason,
                format!(
                    "there is no Archive default in namespace {}: declare one with the size of its volume, such as \
                     spec: {{claim: {{size: 100Gi}}}}",
                    archive_key.namespace
                ),
            ),
            _ => (reason, message),
        });
    }
    let unit = unit?;
    if archive.is_some_and(|archive| volume(archive).is_err()) {
        let message = format!("Archive {} has no volume: write its spec.claim or spec.existingClaim", archive_key.name);
        return Err((Reason::ArchiveUnavailable, message));
    }
    clips::admit(index, key, cluster.max_clips_per_namespace)?;
    Ok(unit)
}

/// The keys of ConfigMaps that streams show.
fn config_maps<'a>(streams: impl IntoIterator<Item = &'a Stream>, namespace: &str) -> Vec<ConfigMapKey> {
    let image = |stream: &Stream| fallback_image(stream.spec.fallback.as_ref()?, namespace);
    let keys: BTreeSet<ConfigMapKey> = streams.into_iter().filter_map(image).collect();
    keys.into_iter().collect()
}

/// The keys of Secrets that a push reads.
fn push_secrets(push: &PushOutput, owner: &ObjectKey) -> Vec<SecretKey> {
    let references = push.stream_key_secret_ref.iter().chain(&push.passphrase_secret_ref);
    let keys: BTreeSet<SecretKey> = references.map(|reference| secret_key(reference, owner)).collect();
    keys.into_iter().collect()
}

/// The keys of Secrets that a source reads.
fn secret_keys(source: &Source) -> Vec<SecretKey> {
    let (location, credentials, passphrase) = match source {
        Source::Rtsp { location, credentials, .. }
        | Source::Http { location, credentials }
        | Source::Hls { location, credentials } => (location, credentials.as_ref(), None),
        Source::Rtmp { location } => (location, None, None),
        Source::Srt { location, passphrase, .. } => (location, None, passphrase.as_ref()),
        Source::V4l2 { .. } | Source::Test { .. } | Source::Hub { .. } => return Vec::new(),
    };
    let url = match location {
        Location::Secret(key) => Some(key),
        Location::Url(_) => None,
    };
    let credentials = credentials.into_iter().flat_map(|Credentials { username, password }| [username, password]);
    let keys: BTreeSet<SecretKey> = url.into_iter().chain(passphrase).chain(credentials).cloned().collect();
    keys.into_iter().collect()
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
