//! How pictures are encoded: what a Stream, or a clip, may ask for instead of the camera's own pictures.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::duration::{self, Duration};
use crate::api::quantity::{self, Quantity};
use crate::api::rule::rule;

/// What becomes of the pictures. Left out, or with codec Copy, they are sent as the camera makes them, which costs next to
/// nothing; with another codec they are decoded and encoded anew, which costs a good part of a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "(has(self.codec) && self.codec != 'Copy') || !(has(self.width) || has(self.height) || has(self.framesPerSecond) || \
     has(self.bitRate) || has(self.crf) || has(self.preset) || has(self.keyFrameInterval) || has(self.threads) || \
     has(self.encoder))",
    "must not hold anything beside codec: Copy, which encodes nothing: write codec: H264 to encode, or leave the rest out"
))]
#[x_kube(validation = rule(
    "!has(self.preset) && !has(self.threads) || !has(self.encoder) || self.encoder in ['Auto', 'Software']",
    "must not hold preset or threads with a hardware encoder, which knows neither: leave them out, or write encoder: Auto"
))]
pub struct Video {
    /// Copy: as the camera sends them, never encoded. H264: encoded; every player and target takes it. H265: encoded; smaller
    /// than H264, slower to make, and not taken by every player. Default: Copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<VideoCodec>,
    /// Width in pixels, an even number; without height, that follows the camera's shape. With both, a picture of another shape
    /// gets bars. Default: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 7680))]
    #[x_kube(validation = rule("self % 2 == 0", "must be an even number, such as 1280"))]
    pub width: Option<i32>,
    /// Height in pixels, an even number; without width, that follows the camera's shape. Default: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 4320))]
    #[x_kube(validation = rule("self % 2 == 0", "must be an even number, such as 720"))]
    pub height: Option<i32>,
    /// Pictures a second, constant: more are left out, missing ones repeat the one before. Default: as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub frames_per_second: Option<i32>,
    /// Bits a second: the mean, or with crf the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::bit_rate_between("64k", "100M", "2500k"))]
    pub bit_rate: Option<Quantity>,
    /// Constant quality, from 0 (best) to 51 (smallest). Default: 23 of H264 and 28 of H265, where there is no bitRate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 51))]
    pub crf: Option<i32>,
    /// Speed against size: a slower one makes less of the same quality. Software only. Default: VeryFast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<VideoPreset>,
    /// Distance of key frames: where viewers can begin and segments of HLS are cut. Default: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("500ms", "10s", "2s"))]
    pub key_frame_interval: Option<Duration>,
    /// Threads of each encoder; software only. Default: as many as there are processors, at most 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub threads: Option<i32>,
    /// Auto: the first hardware encoder that works on the machine, else software. Software: x264 or x265. VAAPI: Intel and AMD
    /// GPUs. NVENC: NVIDIA GPUs. V4L2M2M: devices such as a Raspberry Pi. One that does not work is replaced by software, and the
    /// condition EncoderFallback says why. In a cluster a pod sees no device but those of pod.deviceResources. Default: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<VideoEncoder>,
}

impl Video {
    /// Whether pictures are encoded.
    pub fn encodes(&self) -> bool {
        self.codec.is_some_and(|codec| codec != VideoCodec::Copy)
    }
}

/// What pictures are encoded as. Default: Copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum VideoCodec {
    /// As the camera sends them.
    #[default]
    Copy,
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

/// The presets of x264 and x265, fastest first. Default: VeryFast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[allow(missing_docs, reason = "the names of x264's presets")]
pub enum VideoPreset {
    UltraFast,
    SuperFast,
    #[default]
    VeryFast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    VerySlow,
}

/// What encodes. Default: Auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum VideoEncoder {
    /// The first hardware encoder that works, else software.
    #[default]
    Auto,
    /// x264 or x265.
    Software,
    /// Intel and AMD GPUs.
    #[serde(rename = "VAAPI")]
    Vaapi,
    /// NVIDIA GPUs.
    #[serde(rename = "NVENC")]
    Nvenc,
    /// Video4Linux memory-to-memory devices.
    #[serde(rename = "V4L2M2M")]
    V4l2M2m,
}

/// One of several sizes and qualities of the same pictures, between which a player chooses as its network allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HlsRendition {
    /// Its name, and its folder in addresses, such as 720p.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = crate::api::rule::matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be lower-case letters, digits and dashes, such as 720p"))]
    pub name: String,
    /// Width in pixels, an even number; without height, that follows the camera's shape. Default: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 7680))]
    #[x_kube(validation = rule("self % 2 == 0", "must be an even number, such as 1280"))]
    pub width: Option<i32>,
    /// Height in pixels, an even number; without width, that follows the camera's shape. Default: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 4320))]
    #[x_kube(validation = rule("self % 2 == 0", "must be an even number, such as 720"))]
    pub height: Option<i32>,
    /// Bits a second: the mean, or with crf the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::bit_rate_between("64k", "100M", "2500k"))]
    pub bit_rate: Option<Quantity>,
    /// Constant quality, from 0 (best) to 51 (smallest). Default: 23 of H264 and 28 of H265, where there is no bitRate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 51))]
    pub crf: Option<i32>,
}
