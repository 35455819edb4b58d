//! One delivery, from what is to be told to what came of it: the message with its picture, the receiver, the log, and what is counted.
//! Must not decide who is told, nor when it is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::time::timeout;

use super::engine::{Delivery, Outcome, Purpose, sign_of_life};
use super::handle::TestResult;
use super::message::{Message, camera_of, shows_pictures};
use super::metrics::Metrics;
use super::place::Place;
use super::receivers::{self, Access, ReadSecret};
use crate::api::alert_receiver::Receiver;
use crate::plan::unit::ObjectKey;

/// How long a picture may take: then a message goes without one.
const PICTURE_PATIENCE: Duration = Duration::from_secs(8);

/// Sends. Clones send the same way.
#[derive(Clone)]
pub(super) struct Dispatcher {
    place: Arc<dyn Place>,
    http: reqwest::Client,
    metrics: Metrics,
}

/// Secrets in one namespace of a place.
struct Within<'a> {
    place: &'a dyn Place,
    namespace: &'a str,
}

impl ReadSecret for Within<'_> {
    fn read<'a>(&'a self, name: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
        self.place.secret(self.namespace, name, key)
    }
}

impl Dispatcher {
    /// One for a place.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(place: Arc<dyn Place>, metrics: Metrics) -> reqwest::Result<Self> {
        // Also where nothing else has done so yet.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { place, http: receivers::client()?, metrics })
    }

    /// Sends one message once, and tells what became of it. `page` is where the page is.
    pub(super) async fn deliver(&self, receiver: &Receiver, delivery: Delivery, page: Option<&str>) -> Outcome {
        let begun = Instant::now();
        let outcome = self.attempt(receiver, delivery.clone(), page).await;
        log(&delivery, &outcome);
        self.metrics.delivered(&delivery, receivers::type_of(receiver), &outcome, begun.elapsed(), Timestamp::now());
        outcome
    }

    /// Sends a test message to each of the receivers of a route.
    pub(super) async fn test(&self, route: &ObjectKey, to: &[Receiver], page: Option<&str>) -> Vec<TestResult> {
        let tests = to.iter().map(|receiver| async move {
            let delivery = sign_of_life(route, &receiver.name, Purpose::Test, Timestamp::now());
            let error = match self.deliver(receiver, delivery, page).await {
                Outcome::Taken => None,
                Outcome::Failed { error, .. } => Some(error),
            };
            TestResult { name: receiver.name.clone(), delivered: error.is_none(), error }
        });
        join_all(tests).await
    }

    async fn attempt(&self, receiver: &Receiver, delivery: Delivery, page: Option<&str>) -> Outcome {
        let namespace = delivery.route.namespace.clone();
        let mut message = Message::new(delivery, receiver, page);
        if shows_pictures(receiver)
            && let Some(camera) = camera_of(&message.delivery, self.place.may_see_all(&namespace)).cloned()
        {
            let picture = timeout(PICTURE_PATIENCE, self.place.picture(&camera)).await.ok().flatten();
            message = message.with_picture(&camera, picture);
        }
        let within = Within { place: &*self.place, namespace: &namespace };
        receivers::send(receiver, &message, Access { http: &self.http, secrets: &within }).await
    }
}

fn log(delivery: &Delivery, outcome: &Outcome) {
    let (route, receiver, alerts) = (&delivery.route, delivery.receiver.as_str(), delivery.alerts.len());
    match outcome {
        Outcome::Taken if delivery.purpose == Purpose::Heartbeat => {
            tracing::debug!(%route, receiver, "the heartbeat was delivered");
        }
        Outcome::Taken => tracing::info!(%route, receiver, alerts, "alerts were delivered"),
        Outcome::Failed { error, .. } => {
            tracing::warn!(%route, receiver, alerts, code = 201, "alerts were not delivered: {error}");
        }
    }
}
