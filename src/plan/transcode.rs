//! How pictures are encoded anew, as a plan says it: everything decided but what only the machine or the camera can tell (which
//! encoder works, the size where none is asked for). Must not know FFmpeg.

use serde::{Deserialize, Serialize};

use crate::media::frame::Codec;

/// Pictures that are decoded once and encoded anew, once for each rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcode {
    /// `H264` or `H265`.
    pub codec: Codec,
    /// Frames a second, constant; absent = as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_per_second: Option<i32>,
    /// Speed against size; software encoders only.
    pub preset: Preset,
    /// Distance of key frames, the same moments in all renditions.
    pub key_frame_interval_ms: u64,
    /// Threads of each software encoder; absent = the machine's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<i32>,
    /// Which encoder.
    pub encoder: Encoder,
    /// At least one; the first is the best.
    pub renditions: Vec<Rendition>,
}

/// One size and quality.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Rendition {
    /// Its name in addresses; empty where there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Width in pixels; absent = by the height and the camera's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
    /// Height in pixels; absent = by the width and the camera's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i32>,
    /// Bits a second; with `crf` the most, else the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u64>,
    /// Quality, 0 (best) to 51; absent with `bit_rate` = whatever that leaves, without it the encoder's usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf: Option<i32>,
}

/// The presets of x264 and x265.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs, reason = "the names of x264's presets, fastest first")]
pub enum Preset {
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

impl Preset {
    /// As x264 and x265 call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UltraFast => "ultrafast",
            Self::SuperFast => "superfast",
            Self::VeryFast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
            Self::Slower => "slower",
            Self::VerySlow => "veryslow",
        }
    }
}

/// What encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub enum Encoder {
    /// The first hardware encoder that works on the machine, else software.
    #[default]
    Auto,
    /// x264 or x265.
    Software,
    /// The Video Acceleration API of Intel and AMD GPUs.
    #[serde(rename = "VAAPI")]
    Vaapi,
    /// NVIDIA GPUs.
    #[serde(rename = "NVENC")]
    Nvenc,
    /// `V4L2` memory-to-memory devices, as on a Raspberry Pi.
    #[serde(rename = "V4L2M2M")]
    V4l2M2m,
}

impl Encoder {
    /// As manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Software => "Software",
            Self::Vaapi => "VAAPI",
            Self::Nvenc => "NVENC",
            Self::V4l2M2m => "V4L2M2M",
        }
    }
}
