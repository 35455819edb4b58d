//! Where a camera's pictures come from, as a plan writes it.

use serde::{Deserialize, Serialize};

use super::SecretKey;

/// One connection to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingest {
    /// Where pictures come from.
    pub source: Source,
    /// No new video frame for this long (or 3 × the measured frame interval, if longer) = stalled.
    pub stall_timeout_ms: u64,
    /// How long a fresh connection may take to its first video frame.
    pub start_timeout_ms: u64,
    /// What happens between attempts.
    pub reconnect: Reconnect,
    /// How much the hub keeps for readers that come late: at least this long, and at least one GOP.
    pub ring_ms: u64,
    /// Upper bound of the hub's ring in bytes of payload.
    pub ring_bytes: u64,
}

/// Exponential back-off with jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// Before the second attempt.
    pub initial_delay_ms: u64,
    /// Never longer than this.
    pub max_delay_ms: u64,
    /// After so many attempts in a row without a frame the unit stops with `ReconnectLimitReached`; absent = for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i32>,
}

/// A URL, or where one is kept secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// In the open; never holds `user:password@`.
    Url(String),
    /// The URL itself is the secret.
    Secret(SecretKey),
}

/// User name and password, each in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Where the user name is.
    pub username: SecretKey,
    /// Where the password is.
    pub password: SecretKey,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Source {
    /// RTSP (RFC 2326, RFC 7826).
    Rtsp {
        /// `rtsp://` or `rtsps://`.
        location: Location,
        /// How RTP travels.
        transport: RtspTransport,
        /// For digest or basic authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
        /// Which driver reads it.
        #[serde(default, skip_serializing_if = "Engine::is_auto")]
        engine: Engine,
    },
    /// Motion JPEG over HTTP (`multipart/x-mixed-replace`) or a progressive file.
    Http {
        /// `http://` or `https://`.
        location: Location,
        /// For basic or digest authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
    },
    /// An HLS playlist (RFC 8216).
    Hls {
        /// `http://` or `https://`.
        location: Location,
        /// For basic or digest authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
    },
    /// RTMP, pulled from a server.
    Rtmp {
        /// `rtmp://` or `rtmps://`.
        location: Location,
    },
    /// SRT, as caller.
    Srt {
        /// `srt://host:port`.
        location: Location,
        /// Passphrase of the session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase: Option<SecretKey>,
        /// Stream identifier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream_id: Option<String>,
        /// Receiver's latency.
        latency_ms: u64,
    },
    /// A Video4Linux2 device.
    V4l2 {
        /// Such as `/dev/video0`.
        device: String,
        /// What to ask of the device: `mjpeg`, `h264`, `yuyv422`, … ; absent = its own choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_format: Option<String>,
        /// Width in pixels; absent = the device's choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<i32>,
        /// Height in pixels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<i32>,
        /// Frames a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frames_per_second: Option<i32>,
    },
    /// A synthetic picture with a clock in it, and a tone.
    Test {
        /// Width in pixels.
        width: i32,
        /// Height in pixels.
        height: i32,
        /// Frames a second.
        frames_per_second: i32,
        /// Key-frame distance.
        key_frame_interval_ms: u64,
        /// Whether there is sound.
        audio: bool,
        /// Text in the picture; the camera's name by default.
        text: String,
    },
    /// The hub of another agent, for a camera whose one connection is there.
    Hub {
        /// Base URL of that agent's HTTP interface, such as `http://front-door-camera.shop.svc:9090`; the camera's frames are at
        /// `/v1/cameras/{namespace}/{name}/live.mp4` beneath it.
        address: String,
    },
}

/// Which driver reads an RTSP camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Engine {
    /// The native one, or FFmpeg where it cannot.
    #[default]
    Auto,
    /// The native one.
    Native,
    /// FFmpeg.
    FFmpeg,
}

impl Engine {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
    const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// How RTP travels in an RTSP session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// RTP over UDP.
    #[serde(rename = "UDP")]
    Udp,
}
