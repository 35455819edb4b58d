//! `AlertRoute`: who is told when something goes wrong, and when it is over.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::alert_receiver::Receiver;
use super::condition::{Condition, Time};
use super::duration::{self, Duration};
use super::reference::{self, SecretKeyReference};
use super::rule::{matches, rule};
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
    doc = "Who is told when something goes wrong, and when it is over.",
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
    /// The share of a day that a continuous recording should hold; CoverageBelowObjective is told below it. Default: 99.9%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), regex(pattern = SHARE_PATTERN))]
    #[x_kube(validation = matches(SHARE_PATTERN, "must be a share of at most 100%, such as 99.9%"))]
    pub coverage_objective: Option<String>,
    /// Times at which less important alerts wait. They are told when it is over, as far as they still matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub quiet_hours: Vec<QuietHours>,
    /// Address of the page as the people who are told reach it; messages then link to the camera's live picture. Default: in
    /// camera-operator run its own address; in a cluster none, and messages hold no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Http.rule_of_shape())]
    pub page_url: Option<String>,
    /// Alerts of Prometheus are taken in, too: those that its Alertmanager sends to this route's webhook,
    /// POST /api/v1/namespaces/<namespace>/alertroutes/<name>/alertmanager. What is known here already is not told twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertmanagerSource>,
    /// Who is told. Each is told by itself: one that cannot be reached holds up no other.
    #[schemars(length(min = 1, max = 8))]
    pub receivers: Vec<Receiver>,
}

/// A share of time in percent.
const SHARE_PATTERN: &str = r"^(100|[0-9]{1,2}([.][0-9]{1,3})?)%$";
/// A time of day.
const CLOCK_PATTERN: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";
/// The name of a time zone, as far as a pattern can tell.
const ZONE_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$";

/// A time of day at which less important alerts wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuietHours {
    /// When it begins, such as 22:00.
    #[schemars(length(min = 5, max = 5), regex(pattern = CLOCK_PATTERN))]
    #[x_kube(validation = matches(CLOCK_PATTERN, "must be a time of day from 00:00 to 23:59, such as 22:00"))]
    pub from: String,
    /// When it ends, such as 07:00; before from: on the next day. The same as from: the whole day.
    #[schemars(length(min = 5, max = 5), regex(pattern = CLOCK_PATTERN))]
    #[x_kube(validation = matches(CLOCK_PATTERN, "must be a time of day from 00:00 to 23:59, such as 07:00"))]
    pub to: String,
    /// On which days it begins. Default: on every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// Where that is the time. Default: Etc/UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ZONE_PATTERN))]
    #[x_kube(validation = matches(ZONE_PATTERN, "must be the IANA name of a time zone, such as Europe/Madrid"))]
    pub time_zone: Option<String>,
    /// What waits. Default: Info and Warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub severities: Vec<Severity>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
#[allow(missing_docs, reason = "they are the days of the week")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Where Prometheus' alerts come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerSource {
    /// What Alertmanager sends as its bearer token (http_config.authorization.credentials).
    pub token_secret_ref: SecretKeyReference,
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
    /// On objects of these kinds. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub kinds: Vec<ObjectKind>,
    /// Of all namespaces rather than of the route's own. In a cluster only a route in the operator's namespace may say so.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_namespaces: Option<bool>,
    /// On objects with these labels. Default: all objects of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_selector: Option<ObjectSelector>,
}

/// A kind of object that something can go wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
#[allow(missing_docs, reason = "they are the kinds of this API")]
pub enum ObjectKind {
    Camera,
    Stream,
    Archive,
    Recording,
    AlertRoute,
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
    /// An archive's volume will be full within three days if it goes on like this.
    DiskFilling,
    /// An archive cannot be written, for example because its volume is full.
    ArchiveUnavailable,
    /// In a cluster: an agent runs and does not answer, so that nobody knows how its cameras are.
    AgentUnreachable,
    /// Retention waits for a person.
    RetentionFailed,
    /// A receiver of alerts could not be reached.
    AlertDeliveryFailed,
}

/// How a route is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct AlertRouteStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: no receiver has failed to take what was last sent to it. Others when there is something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// How many alerts stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub standing: Option<i32>,
    /// The value of the annotation camera-operator.dev/test-alerts that was last obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub tested: Option<String>,
    /// Of each receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub receivers: Vec<ReceiverStatus>,
}

/// How a receiver is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
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
    #[schemars(range(min = 0, max = 10000))]
    pub undelivered: i32,
    /// Why it did not take the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub error: Option<String>,
    /// What came of the last test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestStatus>,
}

/// What came of a test message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestStatus {
    /// When it was sent.
    #[schemars(schema_with = "super::condition::time_schema")]
    pub time: Time,
    /// Whether it was taken.
    pub delivered: bool,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub error: Option<String>,
}
