//! What a stream makes of a camera's pictures, as a plan writes it.

use serde::{Deserialize, Serialize};

use super::{ConfigMapKey, ObjectKey, Reconnect, SecretKey};
use crate::plan::transcode::Transcode;

/// HLS from the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hls {
    /// The camera in the same namespace whose hub is read.
    pub camera: ObjectKey,
    /// Segments are cut at the first key frame at or after this.
    pub segment_ms: u64,
    /// How many segments a playlist lists.
    pub playlist_segments: u32,
    /// Low-Latency HLS.
    pub low_latency: bool,
    /// Low latency only: target of a part.
    pub part_ms: u64,
    /// Whether sound is carried.
    pub audio: bool,
    /// Bits a second of sound that is encoded as AAC; absent = as the camera sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_bit_rate: Option<u64>,
    /// How pictures are encoded; absent = by copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Transcode>,
    /// What is shown while the camera is away; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
}

/// What is shown while a camera is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Without a new picture for this long (or 3 × the distance of the camera's pictures, if longer) the slate is shown.
    pub after_ms: u64,
    /// What stands above the text: the camera's name.
    pub title: String,
    /// What stands in the middle.
    pub text: String,
    /// A picture that is shown instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ConfigMapKey>,
}

/// Motion JPEG from the hub; re-encoded unless the camera sends JPEG and no size is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mjpeg {
    /// The camera whose hub is read.
    pub camera: ObjectKey,
    /// At most so many pictures a second.
    pub frames_per_second: i32,
    /// FFmpeg's `-q:v` scale, 2 (best) to 31.
    pub quality: i32,
    /// Width to scale to, keeping the aspect ratio; absent = the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
}

/// A push from the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The camera whose hub is read.
    pub camera: ObjectKey,
    /// Where it is sent, without any secret; the scheme is the protocol.
    pub url: String,
    /// The stream key (RTMP) or stream identifier (SRT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_key: Option<SecretKey>,
    /// Passphrase of an SRT session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<SecretKey>,
    /// What becomes of the sound.
    pub audio: PushAudio,
    /// Bits a second of sound that is encoded.
    pub audio_bit_rate: u64,
    /// How pictures are encoded; absent = by copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Transcode>,
    /// What happens between attempts.
    pub reconnect: Reconnect,
    /// What is sent while the camera is away; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
}

/// What becomes of the sound of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushAudio {
    /// Copied where the protocol carries it, else AAC; silence where the target wants sound and there is none.
    Auto,
    /// As the camera sends it, if it sends any.
    Copy,
    /// AAC; silence where the target wants sound and there is none.
    #[serde(rename = "AAC")]
    Aac,
    /// Left out.
    None,
}
