//! Objects → the plan of one agent that runs them all: defaults filled in, references resolved, what is suspended or lacks
//! something left out and named with its reason. Pure; the grouping of a cluster (`plan::agents`) stands beside it and uses
//! the same parts.

use kube::{Resource, ResourceExt as _};

use super::capability::{Carrier, known_video_codec};
use super::defaults;
use super::objects::{Objects, archive_of, stable_uid};
use super::report::Reason;
use super::transcode::{Encoder, Preset, Rendition, Transcode};
use super::unit::{
    ArchivePlan, ConfigMapKey, Credentials, DeclaredRecording, Engine, Fallback, Hls, Ingest, Location, Mjpeg,
    ObjectKey, ObjectKind, ObjectRef, Plan, Push, PushAudio, Reconnect, Record, RecordMode, RetentionRules,
    RetentionSchedule, RtspTransport, SecretKey, Source, Unit, Work,
};
use crate::api::camera::{self, V4l2Format};
use crate::api::recording::Retention;
use crate::api::reference::{PASSWORD_KEY, SecretKeyReference, SecretReference, USERNAME_KEY};
use crate::api::stream::{
    self, Audio, AudioCodec, HlsOutput, HlsRendition, MjpegOutput, PushOutput, StreamAudio, StreamAudioCodec, Video,
    VideoCodec, VideoEncoder, VideoPreset,
};
use crate::api::{Archive, Camera, Duration, Quantity, Recording, Stream};
use crate::media::frame::Codec;

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
        let audio = audio.codec.unwrap_or_default() != StreamAudioCodec::None;
        (Carrier::Hls, Work::Hls(Hls { video, fallback, ..hls(output, camera_key, audio) }))
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
fn unspecified(message: &str) -> Refusal {
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

fn hls(output: &HlsOutput, camera: ObjectKey, audio: bool) -> Hls {
    Hls {
        camera,
        segment_ms: milliseconds(output.segment_duration.as_ref(), defaults::SEGMENT_DURATION),
        // The schema holds it between 3 and 60.
        playlist_segments: output.playlist_segments.unwrap_or(defaults::PLAYLIST_SEGMENTS).unsigned_abs(),
        low_latency: output.low_latency.unwrap_or(defaults::LOW_LATENCY),
        part_ms: milliseconds(output.part_duration.as_ref(), defaults::PART_DURATION),
        audio,
        fallback: None,
        video: None,
    }
}

/// How pictures are encoded; `None` where they are not. Without named renditions there is one, of what `video` says.
fn transcode(video: Option<&Video>, renditions: &[HlsRendition]) -> Option<Transcode> {
    let video = video.filter(|video| video.encodes())?;
    let bit_rate = |quantity: &Option<Quantity>| quantity.as_ref().map(Quantity::value);
    let mut renditions: Vec<Rendition> = renditions
        .iter()
        .map(|rendition| Rendition {
            name: rendition.name.clone(),
            width: rendition.width,
            height: rendition.height,
            bit_rate: bit_rate(&rendition.bit_rate),
            crf: rendition.crf,
        })
        .collect();
    if renditions.is_empty() {
        renditions.push(Rendition {
            name: String::new(),
            width: video.width,
            height: video.height,
            bit_rate: bit_rate(&video.bit_rate),
            crf: video.crf,
        });
    }
    Some(Transcode {
        codec: if video.codec == Some(VideoCodec::H265) { Codec::H265 } else { Codec::H264 },
        frames_per_second: video.frames_per_second,
        preset: preset(video.preset.unwrap_or_default()),
        key_frame_interval_ms: milliseconds(video.key_frame_interval.as_ref(), defaults::KEY_FRAME_INTERVAL),
        threads: video.threads,
        encoder: match video.encoder.unwrap_or_default() {
            VideoEncoder::Auto => Encoder::Auto,
            VideoEncoder::Software => Encoder::Software,
            VideoEncoder::Vaapi => Encoder::Vaapi,
            VideoEncoder::Nvenc => Encoder::Nvenc,
            VideoEncoder::V4l2M2m => Encoder::V4l2M2m,
        },
        renditions,
    })
}

const fn preset(preset: VideoPreset) -> Preset {
    match preset {
        VideoPreset::UltraFast => Preset::UltraFast,
        VideoPreset::SuperFast => Preset::SuperFast,
        VideoPreset::VeryFast => Preset::VeryFast,
        VideoPreset::Faster => Preset::Faster,
        VideoPreset::Fast => Preset::Fast,
        VideoPreset::Medium => Preset::Medium,
        VideoPreset::Slow => Preset::Slow,
        VideoPreset::Slower => Preset::Slower,
        VideoPreset::VerySlow => Preset::VerySlow,
    }
}

fn mjpeg(output: &MjpegOutput, camera: ObjectKey) -> Mjpeg {
    Mjpeg {
        camera,
        frames_per_second: output.frames_per_second.unwrap_or(defaults::MJPEG_FRAMES_PER_SECOND),
        quality: quantizer(output.quality.unwrap_or(defaults::MJPEG_QUALITY)),
        width: output.width,
    }
}

fn push(output: &PushOutput, camera: ObjectKey, audio: &StreamAudio) -> Push {
    let secret =
        |reference: &Option<SecretKeyReference>| reference.as_ref().map(|reference| secret_key(reference, &camera));
    Push {
        url: output.url.clone(),
        stream_key: secret(&output.stream_key_secret_ref),
        passphrase: secret(&output.passphrase_secret_ref),
        audio: match audio.codec.unwrap_or_default() {
            StreamAudioCodec::Auto => PushAudio::Auto,
            StreamAudioCodec::Copy => PushAudio::Copy,
            StreamAudioCodec::Aac => PushAudio::Aac,
            StreamAudioCodec::None => PushAudio::None,
        },
        audio_bit_rate: bytes(audio.bit_rate.as_ref(), defaults::AUDIO_BIT_RATE),
        video: None,
        reconnect: reconnect(output.reconnect.as_ref()),
        camera,
        fallback: None,
    }
}

fn fallback(wanted: &stream::Fallback, camera: &ObjectKey) -> Fallback {
    Fallback {
        after_ms: milliseconds(wanted.after.as_ref(), defaults::FALLBACK_AFTER),
        title: camera.name.clone(),
        text: wanted.text.clone().unwrap_or_else(|| defaults::FALLBACK_TEXT.to_owned()),
        image: fallback_image(wanted, &camera.namespace),
    }
}

/// Where the picture of a fallback is, if it has one.
pub(super) fn fallback_image(fallback: &stream::Fallback, namespace: &str) -> Option<ConfigMapKey> {
    let reference = &fallback.image.as_ref()?.config_map_ref;
    Some(ConfigMapKey { namespace: namespace.to_owned(), name: reference.name.clone(), key: reference.key.clone() })
}

fn reconnect(reconnect: Option<&camera::Reconnect>) -> Reconnect {
    let reconnect = reconnect.cloned().unwrap_or_default();
    Reconnect {
        initial_delay_ms: milliseconds(reconnect.initial_delay.as_ref(), defaults::INITIAL_DELAY),
        max_delay_ms: milliseconds(reconnect.max_delay.as_ref(), defaults::MAX_DELAY),
        max_attempts: reconnect.max_attempts,
    }
}

/// JPEG quality, 1 to 100, on FFmpeg's scale of quantizers, 31 to 2.
fn quantizer(quality: i32) -> i32 {
    31 - (quality.clamp(1, 100) - 1) * 29 / 99
}

/// The connection to a camera, whether or not it is suspended.
pub(super) fn ingest(camera: &Camera, key: &ObjectKey) -> Result<Ingest, Refusal> {
    let spec = &camera.spec;
    let buffer = spec.buffer.clone().unwrap_or_default();
    Ok(Ingest {
        source: source(&spec.source, key)?,
        stall_timeout_ms: milliseconds(spec.stall_timeout.as_ref(), defaults::STALL_TIMEOUT),
        start_timeout_ms: milliseconds(spec.start_timeout.as_ref(), defaults::START_TIMEOUT),
        reconnect: reconnect(spec.reconnect.as_ref()),
        ring_ms: milliseconds(buffer.duration.as_ref(), defaults::BUFFER_DURATION),
        ring_bytes: bytes(buffer.max_size.as_ref(), defaults::BUFFER_MAX_SIZE),
    })
}

fn source(source: &camera::CameraSource, key: &ObjectKey) -> Result<Source, Refusal> {
    let location = |url: &Option<String>, reference: &Option<SecretKeyReference>| match (url, reference) {
        (Some(url), _) => Ok(Location::Url(url.clone())),
        (None, Some(reference)) => Ok(Location::Secret(secret_key(reference, key))),
        (None, None) => Err(unspecified("the source must hold exactly one of url and urlSecretRef")),
    };
    let credentials = |reference: &Option<SecretReference>| {
        let part = |reference: &SecretReference, part: &str| SecretKey {
            namespace: key.namespace.clone(),
            name: reference.name.clone(),
            key: part.to_owned(),
        };
        reference.as_ref().map(|reference| Credentials {
            username: part(reference, USERNAME_KEY),
            password: part(reference, PASSWORD_KEY),
        })
    };
    if let Some(rtsp) = &source.rtsp {
        return Ok(Source::Rtsp {
            location: location(&rtsp.url, &rtsp.url_secret_ref)?,
            transport: match rtsp.transport {
                Some(camera::RtspTransport::Udp) => RtspTransport::Udp,
                Some(camera::RtspTransport::Tcp) | None => RtspTransport::Tcp,
            },
            credentials: credentials(&rtsp.credentials_secret_ref),
            engine: match rtsp.engine {
                Some(camera::RtspEngine::Native) => Engine::Native,
                Some(camera::RtspEngine::FFmpeg) => Engine::FFmpeg,
                Some(camera::RtspEngine::Auto) | None => Engine::Auto,
            },
        });
    }
    if let Some(http) = &source.http {
        return Ok(Source::Http {
            location: location(&http.url, &http.url_secret_ref)?,
            credentials: credentials(&http.credentials_secret_ref),
        });
    }
    if let Some(hls) = &source.hls {
        return Ok(Source::Hls {
            location: location(&hls.url, &hls.url_secret_ref)?,
            credentials: credentials(&hls.credentials_secret_ref),
        });
    }
    if let Some(rtmp) = &source.rtmp {
        return Ok(Source::Rtmp { location: location(&rtmp.url, &rtmp.url_secret_ref)? });
    }
    if let Some(srt) = &source.srt {
        return Ok(Source::Srt {
            location: location(&srt.url, &srt.url_secret_ref)?,
            passphrase: srt.passphrase_secret_ref.as_ref().map(|reference| secret_key(reference, key)),
            stream_id: srt.stream_id.clone(),
            latency_ms: milliseconds(srt.latency.as_ref(), defaults::SRT_LATENCY),
        });
    }
    if let Some(device) = &source.v4l2 {
        // As FFmpeg names them.
        let format = match device.input_format {
            None | Some(V4l2Format::Mjpeg) => "mjpeg",
            Some(V4l2Format::H264) => "h264",
            Some(V4l2Format::H265) => "hevc",
        };
        return Ok(Source::V4l2 {
            device: device.device.clone(),
            input_format: Some(format.to_owned()),
            width: device.width,
            height: device.height,
            frames_per_second: device.frames_per_second,
        });
    }
    if let Some(test) = &source.test {
        return Ok(Source::Test {
            width: test.width.unwrap_or(defaults::TEST_WIDTH),
            height: test.height.unwrap_or(defaults::TEST_HEIGHT),
            frames_per_second: test.frames_per_second.unwrap_or(defaults::TEST_FRAMES_PER_SECOND),
            key_frame_interval_ms: milliseconds(test.key_frame_interval.as_ref(), defaults::TEST_KEY_FRAME_INTERVAL),
            audio: test.audio.unwrap_or(defaults::TEST_AUDIO),
            text: test.text.clone().unwrap_or_else(|| key.name.clone()),
        });
    }
    Err(unspecified("spec.source must hold exactly one of rtsp, http, hls, rtmp, srt, v4l2 and test"))
}

/// A key of a Secret in the namespace of what names it.
pub(super) fn secret_key(reference: &SecretKeyReference, owner: &ObjectKey) -> SecretKey {
    SecretKey { namespace: owner.namespace.clone(), name: reference.name.clone(), key: reference.key.clone() }
}

fn milliseconds(duration: Option<&Duration>, default: &str) -> u64 {
    // The defaults are our own, and a test reads each of them.
    duration
        .map_or_else(|| default.parse().map_or(0, |default: Duration| default.milliseconds()), Duration::milliseconds)
}

/// The value of a quantity: bytes, or bits a second.
fn bytes(quantity: Option<&Quantity>, default: &str) -> u64 {
    quantity.map_or_else(|| default.parse().map_or(0, |default: Quantity| default.value()), Quantity::value)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
