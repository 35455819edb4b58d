//! One receiver of each kind that there is, each a strict server of its own (the mail server is a real one), and what they heard.

use std::collections::BTreeMap;

use super::chatwoot::{ACCOUNT, Chatwoot, INBOX};
use super::hook::{Hook, Posted};
use super::manifest;
use super::slack::Slack;
use super::smtp::{Authority, Smtp, Way};
use super::telegram::Telegram;

const BOT: &str = "4713:Savory-tansy_2";
const CHAT: &str = "-1008";
const DESK: &str = "Costmary-dill-4";
const SLACK: &str = "/services/Feverfew6";
const USER: &str = "cameras";
const PASSWORD: &str = "Woodruff-bay-7";
/// Number of receivers.
pub const SIZE: usize = 5;

/// The receivers.
pub struct Audience {
    name: &'static str,
    hook: Hook,
    slack: Slack,
    telegram: Telegram,
    mail: Smtp,
    chatwoot: Chatwoot,
}

impl Audience {
    /// Starts all of them. `name` begins the names of their Secrets; the mail server has a certificate of `authority`.
    pub fn start(name: &'static str, authority: &Authority) -> Self {
        Self {
            name,
            hook: Hook::start(),
            slack: Slack::start(SLACK),
            telegram: Telegram::start(BOT, CHAT),
            mail: Smtp::start(authority, Way::StartTls, USER, PASSWORD),
            chatwoot: Chatwoot::start(DESK),
        }
    }

    /// Manifests of their Secrets.
    pub fn secrets(&self) -> String {
        let keys = [("bot", BOT), ("slack", &self.slack.url), ("desk", DESK)];
        manifest::secret(self.name, &keys) + &manifest::credentials(&format!("{}-mail", self.name), USER, PASSWORD)
    }

    /// The list `receivers` of a route.
    pub fn receivers(&self) -> String {
        let secret = |key: &str| format!("{{name: {}, key: {key}}}", self.name);
        let (hook, telegram, chatwoot) = (self.hook.port, &self.telegram.url, &self.chatwoot.url);
        let (port, mail) = (self.mail.port, format!("{{name: {}-mail}}", self.name));
        let receivers = [
            format!("name: hook, webhook: {{url: 'http://127.0.0.1:{hook}/hook'}}"),
            format!("name: channel, slack: {{urlSecretRef: {}}}", secret("slack")),
            format!(
                "name: chat, telegram: {{apiUrl: '{telegram}', botTokenSecretRef: {}, chatId: '{CHAT}'}}",
                secret("bot")
            ),
            format!(
                "name: mail, email: {{smtp: {{host: localhost, port: {port}, credentialsSecretRef: {mail}}}, \
                 from: cameras@example.com, to: [ops@example.com]}}"
            ),
            format!(
                "name: desk, chatwoot: {{baseUrl: '{chatwoot}', accountId: {ACCOUNT}, inboxId: {INBOX}, tokenSecretRef: {}}}",
                secret("desk")
            ),
        ];
        receivers.iter().map(|receiver| format!("  - {{cooldown: 1s, {receiver}}}\n")).collect()
    }

    /// The texts that each of them was sent, in their order.
    pub fn heard(&self) -> BTreeMap<&'static str, Vec<String>> {
        let bodies = self.hook.at("/hook");
        let bodies = bodies.iter().map(Posted::json);
        let text = |text: &serde_json::Value| text.as_str().unwrap_or_default().to_owned();
        let plain = |mail: &serde_json::Value| {
            let parts = mail["parts"].as_array().unwrap();
            parts.iter().find(|part| part["type"] == "text/plain").map(|part| text(&part["text"])).unwrap_or_default()
        };
        BTreeMap::from([
            ("webhook", bodies.map(|body| text(&body["commonAnnotations"]["description"])).collect()),
            ("slack", self.slack.texts()),
            ("telegram", self.telegram.sent().into_iter().map(|sent| sent.text).collect()),
            ("email", self.mail.mail().iter().map(plain).collect()),
            ("chatwoot", self.chatwoot.written().into_iter().map(|written| written.content).collect()),
        ])
    }

    /// What the strict ones among them refused.
    pub fn refused(&self) -> Vec<String> {
        [self.slack.refused(), self.telegram.refused(), self.chatwoot.refused()].concat()
    }
}
