//! How a delivery reaches people: one file for each kind of receiver. They send once; when to send again is the engine's.

mod slack;
mod telegram;
mod webhook;

use std::time::Duration;

use super::engine::{Delivery, Outcome};
use crate::api::alert_route::Receiver;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a delivery was not taken. Never holds a URL or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The Secret or its key does not exist.
    #[error("Secret {name} with the key {key} does not exist: declare it in the same namespace")]
    SecretMissing {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// What a Secret holds is no URL.
    #[error("what the Secret holds is no http or https URL: put the address there as it was given to you")]
    NotAUrl,
    /// No connection, or no answer.
    #[error("{0}")]
    Unreachable(&'static str),
    /// It answered with an error.
    #[error("it answered {status}{}", detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, where that is known to hold no secret.
        detail: Option<String>,
        /// It asked to be left alone this long, in seconds.
        retry_after: Option<i64>,
    },
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        // What reqwest says itself holds the URL, which may be a secret.
        Self::Unreachable(if error.is_timeout() {
            "it did not answer in time"
        } else if error.is_connect() {
            "it cannot be connected to: look whether its address is right and it is running"
        } else {
            "the connection to it broke"
        })
    }
}

/// Reads a Secret's key, by the Secret's name in the namespace of the route.
pub type ReadSecret<'a> = &'a (dyn Fn(&str, &str) -> Option<String> + Send + Sync);

fn secret(read: ReadSecret<'_>, reference: &crate::api::reference::SecretKeyReference) -> Result<String, SendError> {
    let value = read(&reference.name, &reference.key);
    let missing = || SendError::SecretMissing { name: reference.name.clone(), key: reference.key.clone() };
    value.map(|value| value.trim_end_matches(['\n', '\r']).to_owned()).ok_or_else(missing)
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

/// Sends a delivery once.
pub async fn send(http: &reqwest::Client, receiver: &Receiver, delivery: &Delivery, read: ReadSecret<'_>) -> Outcome {
    let sent = match receiver {
        Receiver { webhook: Some(webhook), .. } => webhook::send(http, webhook, delivery, read).await,
        Receiver { telegram: Some(telegram), .. } => telegram::send(http, telegram, delivery, read).await,
        Receiver { slack: Some(slack), .. } => slack::send(http, slack, delivery, read).await,
        // The schema asks for exactly one.
        Receiver { .. } => Err(SendError::Unreachable("it has no address")),
    };
    match sent {
        Ok(()) => Outcome::Taken,
        Err(error) => {
            let retry_after = match &error {
                SendError::Refused { retry_after, .. } => retry_after.map(|seconds| seconds.saturating_mul(1000)),
                _ => None,
            };
            Outcome::Failed { error: error.to_string(), retry_after }
        }
    }
}
