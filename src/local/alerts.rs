//! Alert routes in `run`: the objects of the store go through the engine, deliveries go out side by side, and who was told what
//! is in `alerts.json` before and after, so that a kill loses nothing. Must not decide who is told.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::control::Control;
use crate::agent::unit::Secrets as _;
use crate::alert::conditions::{Observed, observe};
use crate::alert::engine::{Delivery, Outcome, State};
use crate::alert::receivers::{client, send};
use crate::api::AlertRoute;
use crate::api::alert_route::{AlertRouteStatus, ReceiverStatus};
use crate::api::condition::{self, Condition, FALSE, READY, TRUE, Time};
use crate::plan::objects::key;
use crate::plan::report::Reason;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef, SecretKey};

/// Name of the file.
pub const FILE: &str = "alerts.json";
/// How often time is taken into account; what changes is looked at within this, too.
const EVERY: Duration = Duration::from_secs(1);

/// The loop's own.
pub struct Alerts {
    control: Arc<Control>,
    folder: PathBuf,
    state: State,
    http: reqwest::Client,
}

/// What the file says; nothing where there is none. One that cannot be understood is put aside: everything that stands is then
/// told again.
fn load(folder: &Path) -> std::io::Result<State> {
    let path = folder.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).or_else(|error| {
        let aside = folder.join(format!("{FILE}.unreadable"));
        tracing::warn!("who was told of what cannot be understood ({error}) and was put aside as {}", aside.display());
        std::fs::rename(&path, aside).map(|()| State::default())
    })
}

/// Replaces the file: after a crash it holds the old state or the new, never a part.
fn save(folder: &Path, state: &State) -> std::io::Result<()> {
    let temporary = folder.join(format!("{FILE}.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

impl Alerts {
    /// Goes on where an earlier run ended.
    ///
    /// # Errors
    /// When what it left cannot be read.
    pub fn new(control: Arc<Control>, folder: &Path) -> anyhow::Result<Self> {
        let state = load(folder).with_context(|| format!("{} cannot be read", folder.join(FILE).display()))?;
        // Also where nothing else has done so yet.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = client().context("cannot set up TLS for alerts")?;
        Ok(Self { control, folder: folder.to_owned(), state, http })
    }

    /// Loop: tells what is to be told, until `shutdown`.
    pub async fn deliver(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sending = JoinSet::new();
        let mut busy = BTreeSet::new();
        let mut saved = self.state.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                Some(sent) = sending.join_next() => {
                    let Ok((delivery, outcome)): Result<(Delivery, Outcome), _> = sent else { continue };
                    busy.remove(&(delivery.route.clone(), delivery.receiver.clone()));
                    tell(&delivery, &outcome);
                    self.state.settle(&delivery, &outcome, Timestamp::now());
                }
            }
            if !self.control.is_ready() {
                continue;
            }
            let now = Timestamp::now();
            let (routes, observed) = self.look(now);
            let deliveries = self.state.step(&routes, &observed, now);
            if self.state != saved {
                // Before anything is sent: what is to be told outlives a kill.
                self.save().await;
                saved = self.state.clone();
            }
            self.show(&routes, now);
            for delivery in deliveries {
                // One message after another to each receiver; receivers do not wait for each other.
                if busy.insert((delivery.route.clone(), delivery.receiver.clone())) {
                    self.send(&mut sending, &routes, delivery);
                }
            }
        }
    }

    fn look(&self, now: Timestamp) -> (Vec<AlertRoute>, Observed) {
        let objects = self.control.store.list(None, None).objects;
        let routes = objects.iter().filter(|(reference, _)| reference.kind == ObjectKind::AlertRoute);
        // They were checked when they were read.
        let routes = routes.filter_map(|(_, object)| serde_json::from_value((**object).clone()).ok()).collect();
        let objects: Vec<(&ObjectRef, &Value)> =
            objects.iter().map(|(reference, object)| (reference, &**object)).collect();
        (routes, observe(objects.iter().copied(), now))
    }

    fn send(&self, sending: &mut JoinSet<(Delivery, Outcome)>, routes: &[AlertRoute], delivery: Delivery) {
        let route = routes.iter().find(|route| key(*route) == delivery.route);
        let receiver = route.and_then(|route| route.spec.receivers.iter().find(|one| one.name == delivery.receiver));
        let Some(receiver) = receiver.cloned() else { return };
        let (http, secrets, namespace) =
            (self.http.clone(), self.control.secrets.clone(), delivery.route.namespace.clone());
        sending.spawn(async move {
            let read = move |name: &str, key: &str| {
                let key = SecretKey { namespace: namespace.clone(), name: name.to_owned(), key: key.to_owned() };
                secrets.get(&key).map(|secret| secret.expose().to_owned())
            };
            let outcome = send(&http, &receiver, &delivery, &read).await;
            (delivery, outcome)
        });
    }

    async fn save(&self) {
        let (folder, state) = (self.folder.clone(), self.state.clone());
        let saved = tokio::task::spawn_blocking(move || save(&folder, &state)).await;
        if let Ok(Err(error)) = saved {
            // People are told all the same; after a restart they may be told again.
            tracing::warn!("{FILE} cannot be written: {error}");
        }
    }

    /// Puts how each route is doing into its status.
    fn show(&self, routes: &[AlertRoute], now: Timestamp) {
        for route in routes {
            let name = key(route);
            let reference = ObjectRef { kind: ObjectKind::AlertRoute, key: name.clone() };
            // A plain type of ours: it cannot fail to serialise.
            let status = serde_json::to_value(status(&self.state, route, &name, now)).unwrap_or_default();
            self.control.store.set_status(&reference, status);
        }
    }
}

fn tell(delivery: &Delivery, outcome: &Outcome) {
    let (route, receiver, alerts) = (&delivery.route, delivery.receiver.as_str(), delivery.alerts.len());
    match outcome {
        Outcome::Taken => tracing::info!(%route, receiver, alerts, "alerts were delivered"),
        Outcome::Failed { error, .. } => {
            tracing::warn!(%route, receiver, alerts, code = 201, "alerts were not delivered: {error}");
        }
    }
}

fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn status(state: &State, route: &AlertRoute, name: &ObjectKey, now: Timestamp) -> AlertRouteStatus {
    let mut receivers = Vec::new();
    for declared in &route.spec.receivers {
        let known = state.receiver(name, &declared.name);
        receivers.push(ReceiverStatus {
            name: declared.name.clone(),
            last_delivery: known.and_then(|known| known.last_delivery).map(seconds),
            undelivered: known.map_or(0, |known| i32::try_from(known.undelivered()).unwrap_or(i32::MAX)),
            error: known.and_then(|known| known.error.clone()),
        });
    }
    let failed = receivers.iter().find_map(|one| Some(format!("receiver {}: {}", one.name, one.error.as_ref()?)));
    let (status, reason, message) = match failed {
        Some(failed) => (FALSE, Reason::DeliveryFailed, failed),
        None => (TRUE, Reason::Delivering, "alerts are delivered".to_owned()),
    };
    let previous = route.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let before = condition::find(previous, READY).filter(|before| before.status == status);
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.name(),
        message: message.chars().take(1024).collect(),
        last_transition_time: before.map_or_else(|| seconds(now), |before| before.last_transition_time.clone()),
        observed_generation: route.metadata.generation,
    };
    AlertRouteStatus { observed_generation: route.metadata.generation, conditions: vec![ready], receivers }
}
