//! What viewers of a stream see while its camera is away.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::Time;
use crate::api::duration::{self, Duration};
use crate::api::reference::ConfigMapKeyReference;
use crate::api::rule::rule;

/// The slate of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!(has(self.text) && has(self.image))",
    "must not hold both text and image, which is shown as it is: leave one of them out"
))]
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
    /// A picture (PNG, JPEG or WebP) that is shown instead of the card, fitted into the camera's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<FallbackImage>,
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FallbackImage {
    /// The key of a ConfigMap that holds it, usually of its binaryData. Under `run`, without a manifest of that ConfigMap, the
    /// file beside the Stream's manifest that is called like the key.
    pub config_map_ref: ConfigMapKeyReference,
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
