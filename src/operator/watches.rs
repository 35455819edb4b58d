//! Follows everything that `kinds` lists: what the API server says goes into the world, and who is concerned goes into the
//! queue. Objects are read as plain JSON, so that one that does not fit our types cannot stop a watch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;

use super::apply::SharedWorld;
use super::client::Progress;
use super::events::Events;
use super::kinds::Watched;
use super::live;
use super::metrics::Metrics;
use super::queue::SharedQueue;
use super::world::{Concerned, Malformed};
use crate::plan::unit::{ObjectKey, ObjectRef};

/// A change of an object waits this long for more of them.
const SETTLE_WANTED: Duration = Duration::from_millis(10);
/// A change around an object does: they come in bursts.
const SETTLE_AROUND: Duration = Duration::from_millis(100);
/// A watch is opened again after so many seconds, which also shows that it is alive.
const WATCH_SECONDS: u32 = 240;

/// What watches feed.
#[derive(Clone)]
pub struct Feed {
    /// What is known.
    pub world: SharedWorld,
    /// What is to be looked at.
    pub queue: SharedQueue<ObjectRef>,
    /// Woken when pods came, went or changed.
    pub pods_changed: Arc<Notify>,
    /// Signs of life.
    pub progress: Progress,
    /// Where events are dropped off.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// How many watches have not yet seen everything once.
    pub missing: Arc<AtomicUsize>,
    /// Woken when one of them has.
    pub complete: Arc<Notify>,
}

impl Feed {
    /// Whether everything has been seen once.
    pub fn is_complete(&self) -> bool {
        self.missing.load(Ordering::SeqCst) == 0
    }

    /// Returns when everything has been seen once.
    pub async fn completed(&self) {
        loop {
            let woken = self.complete.notified();
            if self.is_complete() {
                return;
            }
            woken.await;
        }
    }

    /// Passes on who is concerned.
    pub fn pass_on(&self, concerned: Concerned) {
        let Concerned { wanted, around, pods, malformed } = concerned;
        if !wanted.is_empty() {
            self.queue.renew(wanted, SETTLE_WANTED);
        }
        if !around.is_empty() {
            self.queue.add(around, SETTLE_AROUND);
        }
        if pods {
            self.pods_changed.notify_one();
        }
        if let Some(Malformed { object, uid, why }) = malformed {
            // Told by every replica, which is as often as it is written.
            tracing::error!(%object, "cannot be read, and is left as it is: {why}");
            self.metrics.reconcile_failed(object.kind.plural(), "Malformed");
            let note = format!("This object cannot be read, and what runs for it is left as it is: {why}");
            self.events.warning(&object, &uid, "Malformed", note);
        }
    }
}

/// Follows one kind, for ever.
pub async fn follow(client: Client, kind: Watched, feed: Feed) {
    let resource = kind.resource();
    match kind {
        // Of ReplicaSets only the owner matters.
        Watched::ReplicaSet => {
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
            follow_api(api, kind, &resource.plural, &feed).await;
        }
        _ => follow_api(Api::<DynamicObject>::all_with(client, &resource), kind, &resource.plural, &feed).await,
    }
}

async fn follow_api<K>(api: Api<K>, kind: Watched, plural: &str, feed: &Feed)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let config =
        watcher::Config { label_selector: kind.labels(), timeout: Some(WATCH_SECONDS), ..watcher::Config::default() };
    let mut stream = std::pin::pin!(watch(api, config).default_backoff());
    let mut listing = Listing::default();
    while let Some(event) = stream.next().await {
        feed.progress.touch(plural);
        match event {
            Ok(Event::Init) => listing.known = feed.world.lock().keys(kind),
            Ok(Event::InitApply(object)) => {
                if let Some(object) = json(object) {
                    listing.known.remove(&live::key(&object));
                    let concerned = feed.world.lock().put(kind, object);
                    feed.pass_on(concerned);
                }
            }
            Ok(Event::InitDone) => {
                // What was there before and is not listed any more went while no watch was open.
                for key in std::mem::take(&mut listing.known) {
                    let concerned = feed.world.lock().remove(kind, &key, None);
                    feed.pass_on(concerned);
                }
                if !std::mem::replace(&mut listing.complete, true) {
                    feed.missing.fetch_sub(1, Ordering::SeqCst);
                    feed.complete.notify_waiters();
                }
            }
            Ok(Event::Apply(object)) => {
                if let Some(object) = json(object) {
                    let concerned = feed.world.lock().put(kind, object);
                    feed.pass_on(concerned);
                }
            }
            Ok(Event::Delete(object)) => {
                let version = object.meta().resource_version.clone();
                if let Some(object) = json(object) {
                    let concerned = feed.world.lock().remove(kind, &live::key(&object), version.as_deref());
                    feed.pass_on(concerned);
                }
            }
            Err(error) => tracing::warn!(kind = plural, "the watch is opened again: {error}"),
        }
    }
}

/// How far a list is.
#[derive(Debug, Default)]
struct Listing {
    /// What was known when it began and has not come up.
    known: BTreeSet<ObjectKey>,
    /// Whether one was whole.
    complete: bool,
}

fn json<K: Serialize>(object: K) -> Option<Value> {
    // What was JSON a moment ago becomes JSON again.
    serde_json::to_value(object).ok()
}
