//! How a message reaches people: one file for each kind of receiver, behind one trait. They send once; when to send again is the
//! engine's. What they say of a failure holds no URL and no secret.

mod chatwoot;
mod email;
mod slack;
mod telegram;
mod webhook;

use std::time::Duration;

use futures::future::BoxFuture;

use super::engine::Outcome;
use super::message::Message;
use crate::api::alert_receiver::Receiver;
use crate::api::reference::{PASSWORD_KEY, SecretKeyReference, USERNAME_KEY};

/// How long a receiver may take for one request.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a delivery may take with all its requests.
const DELIVERY_PATIENCE: Duration = Duration::from_mins(1);
/// Longest detail of a refusal that is passed on, in characters.
const MAX_DETAIL: usize = 200;

/// Why a delivery was not taken. Never holds a URL or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The Secret or its key does not exist.
    #[error("Secret {name} with the key {key} does not exist: declare it in the namespace of the route")]
    SecretMissing {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The Secret cannot be read.
    #[error("{0}")]
    SecretUnreadable(String),
    /// What a Secret holds is no URL.
    #[error("what the Secret holds is no http or https URL: put the address there as it was given to you")]
    NotAUrl,
    /// What the spec holds cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// No connection.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The connection broke, or no answer came: it may have been taken.
    #[error("{0}")]
    Uncertain(&'static str),
    /// It answered with an error.
    #[error("it answered {status}{}", detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Refused {
        /// HTTP or SMTP status.
        status: u16,
        /// What it said, where that is known to hold no secret.
        detail: Option<String>,
        /// It asked to be left alone this long, in seconds.
        retry_after: Option<i64>,
    },
}

impl SendError {
    /// Whether it may have been taken all the same.
    const fn is_uncertain(&self) -> bool {
        // What stands between (502, 504) knows no more than that no answer came.
        matches!(self, Self::Uncertain(_) | Self::Refused { status: 502 | 504, .. })
    }
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        // What reqwest says itself holds the URL, which may be a secret.
        if error.is_connect() {
            Self::Unreachable("it cannot be connected to: look whether its address is right and it is running")
        } else if error.is_timeout() {
            Self::Uncertain("it did not answer in time")
        } else {
            Self::Uncertain("the connection to it broke")
        }
    }
}

/// Reads Secrets in the namespace of a route.
pub trait ReadSecret: Send + Sync {
    /// What stands under a key, if it is there.
    fn read<'a>(&'a self, name: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<String>, String>>;
}

/// What receivers work with.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The client of all receivers.
    pub http: &'a reqwest::Client,
    /// Where Secrets are.
    pub secrets: &'a dyn ReadSecret,
}

impl Access<'_> {
    async fn key(&self, name: &str, key: &str) -> Result<String, SendError> {
        let value = self.secrets.read(name, key).await.map_err(SendError::SecretUnreadable)?;
        let missing = || SendError::SecretMissing { name: name.to_owned(), key: key.to_owned() };
        value.map(|value| value.trim_end_matches(['\n', '\r']).to_owned()).ok_or_else(missing)
    }

    async fn secret(&self, reference: &SecretKeyReference) -> Result<String, SendError> {
        self.key(&reference.name, &reference.key).await
    }
}

/// A kind of receiver.
trait Receive: Send + Sync {
    /// Its name in metrics.
    fn type_(&self) -> &'static str;

    /// Names and keys of the Secrets that it needs.
    fn secrets(&self) -> Vec<(String, String)>;

    /// Sends a message once.
    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>>;
}

fn named(reference: &SecretKeyReference) -> (String, String) {
    (reference.name.clone(), reference.key.clone())
}

/// What a receiver is.
fn receive(receiver: &Receiver) -> Option<&dyn Receive> {
    // The schema asks for exactly one.
    match receiver {
        Receiver { webhook: Some(webhook), .. } => Some(webhook),
        Receiver { telegram: Some(telegram), .. } => Some(telegram),
        Receiver { slack: Some(slack), .. } => Some(slack),
        Receiver { email: Some(email), .. } => Some(email),
        Receiver { chatwoot: Some(chatwoot), .. } => Some(chatwoot),
        Receiver { .. } => None,
    }
}

/// The kind of a receiver, as metrics name it.
pub fn type_of(receiver: &Receiver) -> &'static str {
    receive(receiver).map_or("none", Receive::type_)
}

/// Names and keys of the Secrets that a receiver needs.
pub fn secrets_of(receiver: &Receiver) -> Vec<(String, String)> {
    receive(receiver).map(Receive::secrets).unwrap_or_default()
}

/// The client of all receivers: follows no redirects, which could lead a secret elsewhere.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    let agent = concat!("camera-operator/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder().user_agent(agent).timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()
}

/// Refuses every status but 2xx.
fn accepted(response: &reqwest::Response) -> Result<(), SendError> {
    if response.status().is_success() {
        return Ok(());
    }
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Err(SendError::Refused { status: response.status().as_u16(), detail: None, retry_after })
}

/// What a receiver said of a refusal, cut, and without the secret that it was sent.
fn detail(said: &str, secret: &str) -> Option<String> {
    let said = if secret.is_empty() { said.to_owned() } else { said.replace(secret, "…") };
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_DETAIL).collect();
    (!said.is_empty()).then_some(said)
}

/// Sends a message once.
pub async fn send(receiver: &Receiver, message: &Message, access: Access<'_>) -> Outcome {
    let sent = match receive(receiver) {
        Some(receive) => tokio::time::timeout(DELIVERY_PATIENCE, receive.send(message, access)).await,
        None => Ok(Err(SendError::Invalid("it has no address".into()))),
    };
    match sent.unwrap_or(Err(SendError::Uncertain("it did not answer in time"))) {
        Ok(()) => Outcome::Taken,
        Err(error) => {
            let retry_after = match &error {
                SendError::Refused { retry_after, .. } => retry_after.map(|seconds| seconds.saturating_mul(1000)),
                _ => None,
            };
            Outcome::Failed { error: error.to_string(), retry_after, is_uncertain: error.is_uncertain() }
        }
    }
}
