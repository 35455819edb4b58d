//! What is asked of the desk from outside: a test of a route's receivers, and the taking in of what Alertmanager sends. Must not send
//! anything itself.

use std::sync::Arc;

use ring::digest;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::alertmanager::{self, Refused, Reported};
use super::place::Place;
use crate::plan::unit::ObjectKey;

/// What came of a test, for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Whether it took the message.
    pub delivered: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why something asked of the desk cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// No such route.
    #[error("there is no alert route {0}")]
    NotFound(ObjectKey),
    /// The route takes nothing from Alertmanager.
    #[error("alert route {0} takes nothing from Alertmanager: write spec.alertmanager: {{tokenSecretRef: …}}")]
    NoSource(ObjectKey),
    /// The token is not the one that the route names.
    #[error("send the token that the route's spec.alertmanager.tokenSecretRef names, as in `Authorization: Bearer …`")]
    Unauthorized,
    /// What was sent is not understood.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not now, or not in this process.
    #[error("alerts are not delivered by this process now: ask again")]
    Unavailable,
}

/// What the desk is asked for.
pub(super) enum Request {
    /// A test of a route's receivers.
    Test(ObjectKey, oneshot::Sender<Vec<TestResult>>),
    /// That a route takes in what Alertmanager sent.
    TakeIn(ObjectKey, Vec<Reported>, oneshot::Sender<()>),
}

/// What is asked of a desk from outside. Clones ask the same.
#[derive(Clone)]
pub struct Handle {
    place: Arc<dyn Place>,
    requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Asks who holds the other end of `requests`.
    pub(super) fn new(place: Arc<dyn Place>, requests: mpsc::Sender<Request>) -> Self {
        Self { place, requests }
    }

    /// Sends a test message to each receiver of a route, and returns what came of it.
    ///
    /// # Errors
    /// When there is no such route, or the desk is closed.
    pub async fn test(&self, route: &ObjectKey) -> Result<Vec<TestResult>, DeskError> {
        self.place.route(route).ok_or_else(|| DeskError::NotFound(route.clone()))?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Test(route.clone(), reply);
        self.requests.send(request).await.map_err(|_| DeskError::Unavailable)?;
        answer.await.map_err(|_| DeskError::Unavailable)
    }

    /// Takes in a message of Alertmanager. When it returns, what was taken in outlives a restart.
    ///
    /// # Errors
    /// When the route does not want it, the token is wrong, or the message cannot be understood.
    pub async fn take_in(&self, route: &ObjectKey, bearer: Option<&str>, body: &[u8]) -> Result<usize, DeskError> {
        let declared = self.place.route(route).ok_or_else(|| DeskError::NotFound(route.clone()))?;
        let source = declared.spec.alertmanager.as_ref().ok_or_else(|| DeskError::NoSource(route.clone()))?;
        let reference = &source.token_secret_ref;
        let token = self.place.secret(&route.namespace, &reference.name, &reference.key).await;
        let token = token.map_err(|_| DeskError::Unavailable)?.ok_or(DeskError::Unauthorized)?;
        // Digests of the same length are compared, so that time tells nothing of the token.
        let hash = |text: &str| digest::digest(&digest::SHA256, text.trim().as_bytes());
        let is_right = bearer.is_some_and(|bearer| hash(bearer).as_ref() == hash(&token).as_ref());
        if !is_right || token.trim().is_empty() {
            return Err(DeskError::Unauthorized);
        }
        let alerts = alertmanager::parse(route, body)?;
        let (count, (reply, answer)) = (alerts.len(), oneshot::channel());
        let request = Request::TakeIn(route.clone(), alerts, reply);
        self.requests.send(request).await.map_err(|_| DeskError::Unavailable)?;
        answer.await.map_err(|_| DeskError::Unavailable)?;
        Ok(count)
    }
}
