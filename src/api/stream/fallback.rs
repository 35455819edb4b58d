//! What viewers of a stream see while its camera is away.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::Time;
use crate::api::duration::{self, Duration};

/// The slate of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Without a new picture for this long the slate is shown, whatever the camera's stallTimeout is; of a camera that sends few
    /// pictures, when three of them are missing. It goes at the camera's first key frame. Default: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("500ms", "10m", "2s"))]
    pub after: Option<Duration>,
    /// What stands in the middle of the slate, beneath the camera's name and above the clock that says how long the camera has
    /// been away. Empty for none. Default: Back soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 120))]
    pub text: Option<String>,
}

/// What viewers see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct FallbackStatus {
    /// Camera: the camera's pictures. Slate: the slate, because the camera sends none.
    #[schemars(length(max = 32))]
    pub mode: String,
    /// Since when the slate is shown, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}
