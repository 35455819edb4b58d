//! A stream that is sent to somebody else's server: what is wanted of it, and how it is doing.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::camera::Reconnect;
use crate::api::condition::Time;
use crate::api::reference::SecretKeyReference;
use crate::api::rule::{matches, rule};
use crate::api::url;

/// Where a stream is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!has(self.streamKeySecretRef) || !self.url.startsWith('rtsp:')",
    "must not hold streamKeySecretRef with an RTSP URL, which has no stream key: write the whole path into url"
))]
#[x_kube(validation = rule(
    "!has(self.passphraseSecretRef) || self.url.startsWith('srt:')",
    "must not hold passphraseSecretRef but with an SRT URL: leave it out, and put a stream key into streamKeySecretRef"
))]
#[x_kube(validation = rule(
    "!has(self.youtube) || self.url.startsWith('rtmp')",
    "must not hold youtube but with an RTMP URL, such as rtmps://a.rtmps.youtube.com/live2"
))]
pub struct PushOutput {
    /// Such as rtmps://a.rtmps.youtube.com/live2, rtmp://192.0.2.10/live/door, rtsp://192.0.2.10:8554/door or
    /// srt://192.0.2.10:8890. The scheme is the protocol: RTMP, RTMP over TLS (the server's certificate is verified), RTSP (we
    /// publish, over TCP) or SRT (we call). Without the stream key: that goes into a Secret.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Push.rule_of_shape())]
    pub url: String,
    /// Where the stream key is kept: of RTMP what comes behind the URL's path, of SRT the stream identifier. It is read at
    /// every connection, so that a new key needs no restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_key_secret_ref: Option<SecretKeyReference>,
    /// Where the passphrase of the session is kept; SRT only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_secret_ref: Option<SecretKeyReference>,
    /// Where people watch it, when the target is YouTube.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub youtube: Option<YouTube>,
    /// What happens between two attempts to connect. A refused stream key is tried more rarely, and at once when its Secret
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
}

/// A broadcast on YouTube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct YouTube {
    /// Identifier of the broadcast, such as jfKfPfyJRdk: what stands behind watch?v= in its address. It makes the link in
    /// status.push.watchUrl.
    #[schemars(length(min = 11, max = 11))]
    #[x_kube(validation = matches("^[A-Za-z0-9_-]{11}$",
        "must be the 11 characters behind watch?v= in the broadcast's address, such as jfKfPfyJRdk"))]
    pub video_id: String,
}

/// How a push is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct PushStatus {
    /// Where it is sent, without the stream key.
    #[schemars(length(max = 2048))]
    pub target: String,
    /// Camera: the camera's pictures are sent. Slate: the slate of spec.fallback is sent, because the camera sends nothing.
    /// Paused: there is a session with the target, and the camera sends nothing.
    /// Reconnecting: there is no session with the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub mode: Option<String>,
    /// Since when the session with the target lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Bits a second that the target takes, over the last minute and rounded; the metrics have it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<i64>,
    /// Frames that were left out because the target took too little, since the stream's agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_frames: Option<i64>,
    /// How often it was begun again since the stream's agent started.
    pub reconnects: i64,
    /// Where people watch it, when spec.output.push.youtube says which broadcast it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub watch_url: Option<String>,
}
