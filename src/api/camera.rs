//! `Camera`: one device and the one connection to it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::duration::{self, Duration};
use super::pod::PodOverrides;
use super::quantity::{self, Quantity};
use super::reference::{self, SecretKeyReference, SecretReference};
use super::rule::{exactly_one_of, matches, matches_not, rule};
use super::url;

/// What is wanted of a camera.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "camera-operator.dev",
    version = "v1alpha1",
    kind = "Camera",
    plural = "cameras",
    shortname = "cam",
    category = "video",
    namespaced,
    status = "CameraStatus",
    derive = "PartialEq",
    doc = "A device that sends pictures. There is one connection to it, whatever reads it.",
    validation = reference::name_rule(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Codec", type_ = "string", json_path = ".status.media.videoCodec"),
    printcolumn(name = "Width", type_ = "integer", json_path = ".status.media.width"),
    printcolumn(name = "Height", type_ = "integer", json_path = ".status.media.height"),
    printcolumn(name = "FPS", type_ = "string", json_path = ".status.media.framesPerSecond"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CameraSpec {
    /// Where the pictures come from: exactly one of the fields below.
    pub source: CameraSource,
    /// The camera counts as stalled when it has sent no new picture for this long, or for three times the usual distance
    /// between its pictures if that is longer. Sound or other data going on proves nothing. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "10m", "10s"))]
    pub stall_timeout: Option<Duration>,
    /// How long a fresh connection may take to its first picture. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("2s", "10m", "30s"))]
    pub start_timeout: Option<Duration>,
    /// What happens between two attempts to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
    /// How much of the newest video is kept in memory for readers that come late or fall behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
    /// Whether to leave the camera alone: no connection is made, and what reads it waits. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What is asked of the camera's pod in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverrides>,
}

/// Where pictures come from: exactly one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_of(
    &["rtsp", "http", "hls", "rtmp", "srt", "v4l2", "test"],
    "must hold exactly one of rtsp, http, hls, rtmp, srt, v4l2 and test, such as rtsp: {url: \"rtsp://192.0.2.10:554/path\"}"
))]
pub struct CameraSource {
    /// RTSP (RFC 2326, RFC 7826): what most network cameras speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtsp: Option<RtspSource>,
    /// Motion JPEG over HTTP, or a progressive file or stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// An HLS playlist (RFC 8216).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hls: Option<HttpSource>,
    /// RTMP, pulled from a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmp: Option<RtmpSource>,
    /// SRT; we call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srt: Option<SrtSource>,
    /// A Video4Linux2 device of this machine, such as a USB camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4l2: Option<V4l2Source>,
    /// A synthetic picture with a clock in it: for trying things out without a camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestSource>,
}

/// An RTSP camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = url_or_secret())]
pub struct RtspSource {
    /// Such as rtsp://192.0.2.10:554/Streaming/Channels/101. Without user name and password: those go into a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Rtsp.rule_of_shape())]
    pub url: Option<String>,
    /// Where the URL is kept, when the URL itself is secret. Instead of url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
    /// How the media travels: TCP (interleaved in the RTSP connection; passes every firewall) or UDP. Default: TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<RtspTransport>,
    /// A Secret with the keys username and password, for digest or basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// What reads the camera: the native driver, which costs a fraction of FFmpeg and carries H.264, H.265 and MJPEG with AAC
    /// sound over TCP, or FFmpeg, which carries more. Auto asks FFmpeg where the native driver cannot carry what the camera
    /// sends, and says so in the condition ReadByFFmpeg. Default: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<RtspEngine>,
    /// Whether the camera allows one session at a time. A cluster then ends the old pod before it starts a new one, at the
    /// cost of a gap, instead of letting the two overlap. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_session: Option<bool>,
}

/// How the media travels: TCP (interleaved in the RTSP connection; passes every firewall) or UDP. Default: TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// RTP over UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// What reads the camera: the native driver, FFmpeg, or FFmpeg where the native driver cannot. Default: Auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RtspEngine {
    /// The native driver, or FFmpeg where it cannot carry what the camera sends.
    Auto,
    /// The native driver, or nothing.
    Native,
    /// FFmpeg.
    FFmpeg,
}

/// A source behind HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = url_or_secret())]
pub struct HttpSource {
    /// Such as http://192.0.2.10/video.mjpg. Without user name and password: those go into a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Http.rule_of_shape())]
    pub url: Option<String>,
    /// Where the URL is kept, when the URL itself is secret. Instead of url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
    /// A Secret with the keys username and password, for basic or digest authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
}

/// A stream on an RTMP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = url_or_secret())]
pub struct RtmpSource {
    /// Such as rtmp://192.0.2.10/app/stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Rtmp.rule_of_shape())]
    pub url: Option<String>,
    /// Where the URL is kept, when the URL itself is secret (a stream key often is). Instead of url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
}

/// An SRT listener that we call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = url_or_secret())]
pub struct SrtSource {
    /// Such as srt://192.0.2.10:8890, without parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::Family::Srt.rule_of_shape())]
    pub url: Option<String>,
    /// Where the URL is kept, when the URL itself is secret. Instead of url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
    /// Where the passphrase of an encrypted session is kept (10 to 79 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_secret_ref: Option<SecretKeyReference>,
    /// Which stream to ask the listener for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = url::rule_of_characters())]
    pub stream_id: Option<String>,
    /// How long lost packets may take to be sent again. Default: 120ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("20ms", "8s", "120ms"))]
    pub latency: Option<Duration>,
}

/// A Video4Linux2 device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule("has(self.width) == has(self.height)", "must set width and height together, such as width: 1280 and height: 720"))]
pub struct V4l2Source {
    /// Path of the device, such as /dev/video0 or one beneath /dev/v4l/by-id, which stays the same over restarts.
    #[schemars(length(min = 6, max = 255))]
    #[x_kube(validation = matches("^/dev/[A-Za-z0-9]([A-Za-z0-9_:+-]|\\.[A-Za-z0-9_:+-]|/[A-Za-z0-9])*$",
        "must be the path of a device beneath /dev, such as /dev/video0"))]
    pub device: String,
    /// What to ask the device for. Default: MJPEG, which every USB camera offers at full size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_format: Option<V4l2Format>,
    /// Width in pixels. Default: what the device is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 7680))]
    pub width: Option<i32>,
    /// Height in pixels. Default: what the device is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 4320))]
    pub height: Option<i32>,
    /// Pictures a second. Default: what the device is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 240))]
    pub frames_per_second: Option<i32>,
}

/// What to ask the device for; formats that are compressed already. Default: MJPEG, which every USB camera offers at full
/// size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum V4l2Format {
    /// Motion JPEG.
    #[serde(rename = "MJPEG")]
    Mjpeg,
    /// H.264, as some cameras encode it themselves.
    H264,
    /// H.265, as some cameras encode it themselves.
    H265,
}

/// A synthetic picture with a clock in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct TestSource {
    /// Width in pixels, an even number. Default: 1280.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 3840))]
    #[x_kube(validation = even())]
    pub width: Option<i32>,
    /// Height in pixels, an even number. Default: 720.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 2160))]
    #[x_kube(validation = even())]
    pub height: Option<i32>,
    /// Pictures a second. Default: 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub frames_per_second: Option<i32>,
    /// Distance of key frames. Default: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("100ms", "10m", "2s"))]
    pub key_frame_interval: Option<Duration>,
    /// Whether there is a tone to be heard. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// Text in the picture. Default: the camera's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = matches_not("[\\x00-\\x1f\\x7f'`\\\\:%,;\\[\\]{}]|\\x22",
        "must not hold quotes, backslashes, brackets, braces or any of : % , ; in the picture's text: write letters, digits, spaces, - or _"))]
    pub text: Option<String>,
}

/// Exponential back-off with jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = delays_in_order())]
pub struct Reconnect {
    /// Before the second attempt; doubled before each further one. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("100ms", "10m", "1s"))]
    pub initial_delay: Option<Duration>,
    /// The delay grows no longer than this. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("100ms", "1h", "30s"))]
    pub max_delay: Option<Duration>,
    /// After so many attempts in a row without a picture the camera, or the target of a push, is given up, with reason
    /// ReconnectLimitReached. Default: none; it is tried for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_attempts: Option<i32>,
}

/// What is kept in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Buffer {
    /// At least this much video is kept, and at least everything since the newest key frame. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "10m", "10s"))]
    pub duration: Option<Duration>,
    /// Never more than this, whatever duration says. Default: 32Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::between("1Mi", "4Gi", "32Mi"))]
    pub max_size: Option<Quantity>,
}

/// How a camera is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct CameraStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: pictures flow. Reachable: the device answers. Others, such as LongKeyframeInterval, when there is something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// What the camera sends, or last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
}

/// What a camera sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Media {
    /// H264, H265 or MJPEG.
    #[schemars(length(max = 16))]
    pub video_codec: String,
    /// Pixels.
    pub width: i32,
    /// Pixels.
    pub height: i32,
    /// Pictures a second, as measured, such as 25 or 0.5.
    #[schemars(length(max = 16))]
    pub frames_per_second: String,
    /// AAC or Opus; absent when there is no sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub audio_codec: Option<String>,
}

fn url_or_secret() -> kube::core::Rule {
    exactly_one_of(
        &["url", "urlSecretRef"],
        "must hold exactly one of url and urlSecretRef: write url, or urlSecretRef: {name, key} where the URL itself is secret",
    )
}

fn even() -> kube::core::Rule {
    rule("self % 2 == 0", "must be an even number, such as 1280 or 720: video is encoded in pairs of pixels")
}

fn delays_in_order() -> kube::core::Rule {
    let milliseconds = duration::milliseconds_expression;
    let is_duration = duration::is_duration_expression;
    let initial = format!(
        "(has(self.initialDelay) && {} ? {} : 1000)",
        is_duration("self.initialDelay"),
        milliseconds("self.initialDelay")
    );
    let most =
        format!("(has(self.maxDelay) && {} ? {} : 30000)", is_duration("self.maxDelay"), milliseconds("self.maxDelay"));
    rule(
        format!("{initial} <= {most}"),
        "must have initialDelay (1s by default) no longer than maxDelay (30s by default): write a shorter initialDelay or a longer maxDelay",
    )
}
