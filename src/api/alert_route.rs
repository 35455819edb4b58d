//! `AlertRoute`: who is told when something goes wrong, and when it is over.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::{Condition, Time};
use super::duration::{self, Duration};
use super::reference::{self, SecretKeyReference};
use super::rule::{exactly_one_of, matches, rule};
use super::url;

/// What is wanted of an alert route.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "camera-operator.dev",
    version = "v1alpha1",
    kind = "AlertRoute",
    plural = "alertroutes",
    shortname = "route",
    category = "video",
    namespaced,
    status = "AlertRouteStatus",
    derive = "PartialEq",
    doc = "Who is told when something of the same namespace goes wrong, and when it is over. Delivered by camera-operator run; the operator of a cluster does not deliver yet.",
    validation = reference::name_rule(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "self.receivers.all(one, self.receivers.filter(other, other.name == one.name).size() == 1)",
    "receivers must have different names: give each receiver a name of its own"
))]
pub struct AlertRouteSpec {
    /// Which alerts are told. Default: all of the namespace.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<Match>,
    /// An alert is told when it has stood for this long, and over when it has been gone for this long, so that what flaps is
    /// told once. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "1h", "30s"))]
    pub hold_for: Option<Duration>,
    /// Whether the end of an alert is told, too. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
    /// Who is told. Each is told by itself: one that cannot be reached holds up no other.
    #[schemars(length(min = 1, max = 8))]
    pub receivers: Vec<Receiver>,
}

/// Which alerts are told: those that fit everything that is written here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Of these severities. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub severities: Vec<Severity>,
    /// Of these names. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub alerts: Vec<AlertName>,
    /// On objects with these labels. Default: all objects of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_selector: Option<ObjectSelector>,
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSelector {
    /// Labels that an object must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub match_labels: BTreeMap<String, String>,
}

fn labels_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63 }
    })
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it within days.
    Warning,
    /// Pictures are being lost now.
    Critical,
}

/// What went wrong. Where a Prometheus rule of the chart speaks of the same, it has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub enum AlertName {
    /// No picture comes from a camera.
    CameraDown,
    /// A camera answers, and sends no new picture.
    CameraStalled,
    /// A camera refuses user name or password.
    CredentialRefused,
    /// A camera was tried as often as its spec allows.
    ReconnectLimitReached,
    /// A stream is not served, although its camera is well.
    StreamDown,
    /// A recording does not write, although its camera is well.
    RecordingGap,
    /// Of the last whole day less is held than the objective asks for.
    CoverageBelowObjective,
    /// An archive's volume is full.
    DiskFilling,
    /// An archive cannot be written.
    ArchiveUnavailable,
    /// Retention waits for a person.
    RetentionFailed,
    /// Another receiver of the same route could not be reached.
    AlertDeliveryFailed,
}

/// One who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_of(
    &["webhook", "telegram", "slack"],
    "must hold exactly one of webhook, telegram and slack: write for example webhook: {url: \"https://hooks.example.com/cameras\"}"
))]
pub struct Receiver {
    /// Name within the route.
    #[schemars(length(min = 1, max = 40), regex(pattern = reference::NAME_PATTERN))]
    #[x_kube(validation = matches(reference::NAME_PATTERN, "must be a name: lower-case letters, digits and hyphens, such as ops"))]
    pub name: String,
    /// Least time between two messages; what happens meanwhile comes in one message afterwards. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "1d", "5m"))]
    pub cooldown: Option<Duration>,
    /// JSON as Alertmanager sends it to a webhook (version 4), by POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A message of a Telegram bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telegram: Option<Telegram>,
    /// An incoming webhook of Slack, or of what takes the same, such as Mattermost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where to.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Http.rule_of_shape())]
    pub url: String,
    /// A key; with it the header X-Camera-Operator-Signature holds sha256= and the HMAC-SHA256 of the body in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret_ref: Option<SecretKeyReference>,
}

/// A Telegram bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telegram {
    /// The bot's token.
    pub bot_token_secret_ref: SecretKeyReference,
    /// The chat that the bot writes to: a number, or @ and the name of a channel.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = matches("^(-?[0-9]+|@[A-Za-z0-9_]+)$", "must be the id of a chat, such as \"-1001234567890\", or @ and the name of a channel"))]
    pub chat_id: String,
    /// Where the Bot API is. Default: https://api.telegram.org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Http.rule_of_shape())]
    pub api_url: Option<String>,
}

/// An incoming webhook of Slack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slack {
    /// The webhook's address, which is a secret as a whole.
    pub url_secret_ref: SecretKeyReference,
}

/// How a route is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct AlertRouteStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: no receiver has failed to take what was last sent to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// Each receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub receivers: Vec<ReceiverStatus>,
}

/// How a receiver is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverStatus {
    /// Its name.
    #[schemars(length(max = 40))]
    pub name: String,
    /// When it last took a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::condition::time_schema")]
    pub last_delivery: Option<Time>,
    /// How many alerts it has not been told yet.
    #[schemars(range(min = 0, max = 2000))]
    pub undelivered: i32,
    /// Why it did not take the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub error: Option<String>,
}
