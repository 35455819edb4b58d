//! Who is told of alerts: the receivers of an [`super::alert_route::AlertRoute`]. Holds shapes and bounds only.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::duration::{self, Duration};
use super::reference::{self, SecretKeyReference, SecretReference};
use super::rule::{exactly_one_of, matches, rule};
use super::url;

/// One who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_of(
    &["webhook", "telegram", "slack", "email", "chatwoot"],
    "must hold exactly one of webhook, telegram, slack, email and chatwoot: write for example webhook: {url: \"https://hooks.example.com/cameras\"}"
))]
pub struct Receiver {
    /// Name within the route.
    #[schemars(length(min = 1, max = 40), regex(pattern = reference::NAME_PATTERN))]
    #[x_kube(validation = matches(reference::NAME_PATTERN, "must be a name: lower-case letters, digits and hyphens, such as ops"))]
    pub name: String,
    /// Least time between two messages; what happens meanwhile comes in one message afterwards. Default: 10m for email, 5m for
    /// all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "1d", "5m"))]
    pub cooldown: Option<Duration>,
    /// A message this often although nothing happens (its alert is called Heartbeat), so that silence can be told from peace.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("10s", "7d", "1h"))]
    pub heartbeat: Option<Duration>,
    /// What messages say, in place of the built-in text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// JSON as Alertmanager sends it to a webhook (version 4), by POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A message of a Telegram bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telegram: Option<Telegram>,
    /// An incoming webhook of Slack, or of what takes the same, such as Mattermost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// An email with the latest picture in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// A message in a conversation of Chatwoot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chatwoot: Option<Chatwoot>,
}

/// Texts in the language of Jinja2, such as "{{ alerts[0].name }} in {{ alerts[0].namespace }}". They know: text (the built-in
/// text), subject, route, receiver, page, standing and over (numbers of alerts), and alerts, each with name, kind, namespace, object,
/// severity, reason, code, message, since, ended, over, labels, affects and link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "has(self.subject) || has(self.body)",
    "must hold subject, body or both: leave template out to have the built-in text"
))]
pub struct Template {
    /// The first line: the subject of an email, the summary of a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// The whole message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub body: Option<String>,
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

/// An email.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// The server that takes it.
    pub smtp: Smtp,
    /// Whose it is: an address, or a name with an address in angle brackets.
    #[schemars(length(min = 3, max = 320), regex(pattern = MAILBOX_PATTERN))]
    #[x_kube(validation = matches(MAILBOX_PATTERN, MAILBOX_MESSAGE))]
    pub from: String,
    /// Who gets it.
    #[schemars(length(min = 1, max = 16), inner(length(min = 3, max = 320), regex(pattern = MAILBOX_PATTERN)))]
    #[x_kube(validation = rule(format!("self.all(one, one.matches({}))", super::rule::literal(MAILBOX_PATTERN)), MAILBOX_MESSAGE))]
    pub to: Vec<String>,
}

/// An address, or a name with an address in angle brackets, as far as a pattern can tell.
const MAILBOX_PATTERN: &str = r"^([^<>@\x00-\x1f]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+)$";
const MAILBOX_MESSAGE: &str =
    "must be an address such as ops@example.com, or a name with it, such as Cameras <cameras@example.com>";

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!(has(self.credentialsSecretRef) && has(self.tls) && self.tls == 'None')",
    "must not hold credentialsSecretRef with tls: None, which would show the password to everybody on the way: write tls: STARTTLS or TLS"
))]
pub struct Smtp {
    /// Its name, or its address.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_PATTERN))]
    #[x_kube(validation = matches(HOST_PATTERN, "must be a host name or an address without a scheme or a port, such as smtp.example.com"))]
    pub host: String,
    /// Its port. Default: 587 for STARTTLS, 465 for TLS, 25 for None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How the way is secured. Default: STARTTLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SmtpTls>,
    /// Keys username and password. Default: the server is not logged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
}

const HOST_PATTERN: &str = "^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$";

/// How the way to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub enum SmtpTls {
    /// Plain at first, then TLS; without TLS nothing is sent.
    #[serde(rename = "STARTTLS")]
    StartTls,
    /// TLS from the beginning.
    #[serde(rename = "TLS")]
    Tls,
    /// Not at all.
    None,
}

/// A conversation of Chatwoot, in an inbox of the kind API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chatwoot {
    /// Where Chatwoot is.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = url::rule_of_characters(), validation = url::rule_of_user_information(),
        validation = url::rule_of_password_parameter(), validation = url::Family::Http.rule_of_shape())]
    pub base_url: String,
    /// Number of the account, as in /app/accounts/<number>.
    #[schemars(range(min = 1))]
    pub account_id: i64,
    /// Number of the inbox, as in /app/accounts/<number>/inbox/<number>. Its channel must be API.
    #[schemars(range(min = 1))]
    pub inbox_id: i64,
    /// Who writes the messages: the identifier of a contact, which is made where there is none. Default: camera-operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = CONTACT_PATTERN))]
    #[x_kube(validation = matches(CONTACT_PATTERN, "must be letters, digits, dots, hyphens and underscores, such as camera-operator"))]
    pub contact_identifier: Option<String>,
    /// An access token of an agent or a bot of the account.
    pub token_secret_ref: SecretKeyReference,
}

const CONTACT_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
