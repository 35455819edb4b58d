//! `Stream`: one live output of a camera.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::duration::{self, Duration};
use super::pod::PodOverrides;
use super::quantity::{self, Quantity};
use super::reference::{self, ObjectReference};
use super::rule::{exactly_one_of, rule};

mod fallback;
mod push;
mod video;

pub use fallback::{Fallback, FallbackImage, FallbackStatus};
pub use push::{PushOutput, PushStatus, YouTube};
pub use video::{HlsRendition, Video, VideoCodec, VideoEncoder, VideoPreset};

/// What is wanted of a stream.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "camera-operator.dev",
    version = "v1alpha1",
    kind = "Stream",
    plural = "streams",
    shortname = "vst",
    category = "video",
    namespaced,
    status = "StreamStatus",
    derive = "PartialEq",
    doc = "One live output of a camera.",
    validation = reference::name_rule(),
    printcolumn(name = "Camera", type_ = "string", json_path = ".spec.cameraRef.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.path"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.push.target"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.push.mode"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!(has(self.output.mjpeg) && has(self.audio))",
    "must not hold audio with output.mjpeg, which carries no sound: leave audio out"
))]
#[x_kube(validation = rule(
    "!(has(self.output.hls) && has(self.pod)) || (has(self.video) && has(self.video.codec) && self.video.codec != 'Copy')",
    "must not hold pod with output.hls without video, which is made in the pod of the camera: write pod into the Camera"
))]
#[x_kube(validation = rule(
    "!(has(self.output.mjpeg) && has(self.fallback))",
    "must not hold fallback with output.mjpeg, which shows the last picture on: leave fallback out"
))]
#[x_kube(validation = rule(
    "has(self.output.push) || !has(self.audio) || !has(self.audio.bitRate) || \
     (has(self.audio.codec) && self.audio.codec == 'AAC')",
    "must not hold audio.bitRate without codec AAC, but for output.push: HLS carries the camera's sound as it is unless it is to be \
     encoded: add codec: AAC"
))]
#[x_kube(validation = rule(
    "!(has(self.output.mjpeg) && has(self.video))",
    "must not hold video with output.mjpeg, which is always JPEG: write width, framesPerSecond and quality into output.mjpeg"
))]
#[x_kube(validation = rule(
    "!(has(self.output.hls) && has(self.output.hls.renditions)) || \
     (has(self.video) && has(self.video.codec) && self.video.codec != 'Copy')",
    "must hold video that encodes with output.hls.renditions: add video: {codec: H264}"
))]
#[x_kube(validation = rule(
    "!(has(self.output.hls) && has(self.output.hls.renditions) && has(self.video)) || \
     !(has(self.video.width) || has(self.video.height) || has(self.video.bitRate) || has(self.video.crf))",
    "must not hold width, height, bitRate or crf in video with output.hls.renditions: write them into each rendition"
))]
#[x_kube(validation = rule(
    "!(has(self.output.push) && self.output.push.url.startsWith('rtmp') && has(self.video) && has(self.video.codec) && \
     self.video.codec == 'H265')",
    "must not hold video with codec H265 for an RTMP target, which does not take it: write codec: H264"
))]
pub struct StreamSpec {
    /// The camera whose pictures are sent.
    pub camera_ref: ObjectReference,
    /// What is made of them: exactly one of the fields below.
    pub output: StreamOutput,
    /// What becomes of the pictures; HLS and push only. Default: sent as the camera makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// What becomes of the sound; HLS and push only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<StreamAudio>,
    /// What viewers see while the camera is away, HLS and push only; {} for a card with the camera's name and a clock. The
    /// stream goes on meanwhile. Recordings never hold it. Without this there is nothing to see until the camera is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whether to stop the output. The camera and other outputs go on. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What is asked of the stream's pod in a cluster; HLS without video has none, because it is made in the camera's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverrides>,
}

/// What is made of the pictures: exactly one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_of(&["hls", "mjpeg", "push"], "must hold exactly one of hls, mjpeg and push, such as hls: {}"))]
pub struct StreamOutput {
    /// HLS (RFC 8216): for browsers, phones and television sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hls: Option<HlsOutput>,
    /// Motion JPEG over HTTP: for an img element, and whatever is too simple for HLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mjpeg: Option<MjpegOutput>,
    /// Sent to a server of somebody else, such as YouTube or MediaMTX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushOutput>,
}

/// HLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!has(self.partDuration) || (has(self.lowLatency) && self.lowLatency)",
    "must not hold partDuration without low latency: add lowLatency: true or leave partDuration out"
))]
#[x_kube(validation = parts_fit())]
pub struct HlsOutput {
    /// Length of a segment; it is cut at the first key frame at or after this. Default: 4s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "30s", "4s"))]
    pub segment_duration: Option<Duration>,
    /// How many segments a playlist lists. Default: 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 60))]
    pub playlist_segments: Option<i32>,
    /// Low-Latency HLS: parts of segments are offered while the segment is still being made. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_latency: Option<bool>,
    /// Length of a part; low latency only, and at most half a segment. Default: 500ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("200ms", "2s", "500ms"))]
    pub part_duration: Option<Duration>,
    /// Several sizes and qualities of the same pictures, best first: index.m3u8 lists them, and players choose between them as
    /// their network allows. The camera's pictures are decoded once for all. Needs video with a codec. Default: one, of what
    /// video says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub renditions: Vec<HlsRendition>,
}

/// Motion JPEG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct MjpegOutput {
    /// At most so many pictures a second. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 30))]
    pub frames_per_second: Option<i32>,
    /// JPEG quality, from 1 (smallest) to 100 (best). The pictures of a camera that sends JPEG itself are passed on as they
    /// are unless width is set. Default: 75.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub quality: Option<i32>,
    /// Width in pixels to scale to, keeping the aspect ratio; an even number. Default: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 3840))]
    #[x_kube(validation = rule("self % 2 == 0", "must be an even number, such as 640"))]
    pub width: Option<i32>,
}

/// What becomes of a stream's sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!has(self.bitRate) || !has(self.codec) || self.codec in ['Auto', 'AAC']",
    "must not hold bitRate with codec Copy or None, which encode nothing: write codec: AAC or leave bitRate out"
))]
pub struct StreamAudio {
    /// Auto: copied where the output can carry it, else encoded as AAC; RTMP targets want sound, so that a camera without any
    /// is sent with silence. Copy: as the camera sends it, never encoded. AAC: encoded with bitRate. None: left out.
    /// Default: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<StreamAudioCodec>,
    /// Bits a second of sound that is encoded, at most six for each sample of a channel; with HLS only where codec is AAC.
    /// Default: 128k.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::bit_rate_between("16k", "512k", "128k"))]
    pub bit_rate: Option<Quantity>,
}

/// What becomes of a stream's sound. Default: Auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum StreamAudioCodec {
    /// Copied where the output can carry it, else AAC; silence where the target wants sound and the camera has none.
    #[default]
    Auto,
    /// As the camera sends it.
    Copy,
    /// Encoded as AAC (ISO/IEC 14496-3).
    #[serde(rename = "AAC")]
    Aac,
    /// Left out.
    None,
}

/// What becomes of the sound of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Audio {
    /// Auto: copied where the output can carry it, else encoded as AAC. None: left out. Default: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<AudioCodec>,
}

/// Auto: copied where the output can carry it, else encoded as AAC. None: left out. Default: Auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum AudioCodec {
    /// Copied where the output can carry it, else AAC.
    #[default]
    Auto,
    /// Left out.
    None,
}

/// How a stream is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the output can be played now. Others when there is something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// Path of the live media beneath the address of the gateway, such as /live/default/front-door/index.m3u8; none of a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub path: Option<String>,
    /// Of a stream with spec.fallback, once it has been taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackStatus>,
    /// Of a push, once it has been taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushStatus>,
}

fn parts_fit() -> kube::core::Rule {
    let milliseconds = duration::milliseconds_expression;
    let is_duration = duration::is_duration_expression;
    let of = |path: &str, default: u32| format!("({} ? {} : {default})", is_duration(path), milliseconds(path));
    rule(
        format!(
            "!has(self.partDuration) || {} * 2 <= (has(self.segmentDuration) ? {} : 4000)",
            of("self.partDuration", 0),
            of("self.segmentDuration", 30_000)
        ),
        "must have partDuration at most half of segmentDuration (4s by default): write a shorter partDuration, such as 500ms",
    )
}
