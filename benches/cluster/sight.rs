//! When pods and cameras were first seen in a state, by watches as anybody may open them. Must not change anything.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use camera_operator::operator::kinds::Watched;
use futures::StreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client};
use serde_json::Value;

use crate::support::http::runtime;

/// Namespace and name.
pub type Key = (String, String);

/// Calls `seen` with everything of a kind, whenever it changes, and with `true` when it is gone.
pub fn follow(client: &Client, kind: Watched, labels: Option<&str>, seen: impl Fn(&Value, bool) + Send + 'static) {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let config = watcher::Config { label_selector: labels.map(str::to_owned), ..watcher::Config::default() };
    runtime().spawn(async move {
        let mut stream = std::pin::pin!(watch(api, config).default_backoff());
        while let Some(event) = stream.next().await {
            let (object, gone) = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                Ok(Event::Delete(object)) => (object, true),
                _ => continue,
            };
            seen(&serde_json::to_value(object).unwrap(), gone);
        }
    });
}

/// Namespace and name of an object.
pub fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// What was seen, and when first.
#[derive(Debug, Clone, Default)]
pub struct Sight(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    created: HashMap<Key, Instant>,
    running: HashMap<Key, Instant>,
    present: HashSet<Key>,
    ready: HashMap<Key, Instant>,
}

/// What is awaited of pods or cameras.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// Pods that exist.
    Created,
    /// Pods that run.
    Running,
    /// Cameras that are ready, for the spec that they have.
    Ready,
}

impl Sight {
    /// Watches all cameras. Pods are handed in by [`Self::pod`].
    pub fn watch(client: &Client) -> Self {
        let sight = Self::default();
        let seen = sight.clone();
        let kind = Watched::Object(camera_operator::plan::unit::ObjectKind::Camera);
        follow(client, kind, None, move |camera, gone| seen.camera(camera, gone));
        sight
    }

    /// A pod as it is now.
    pub fn pod(&self, pod: &Value, gone: bool) {
        let (now, key, mut seen) = (Instant::now(), key(pod), self.0.lock().unwrap());
        if gone {
            seen.present.remove(&key);
            return;
        }
        seen.present.insert(key.clone());
        seen.created.entry(key.clone()).or_insert(now);
        if pod["status"]["phase"] == "Running" {
            seen.running.entry(key).or_insert(now);
        }
    }

    fn camera(&self, camera: &Value, gone: bool) {
        let conditions = camera["status"]["conditions"].as_array();
        let is_ready = conditions.into_iter().flatten().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == "True"
                && condition["observedGeneration"] == camera["metadata"]["generation"]
        });
        if is_ready && !gone {
            self.0.lock().unwrap().ready.entry(key(camera)).or_insert_with(Instant::now);
        }
    }

    /// The instants of those in a namespace whose names begin so, earliest first.
    pub fn times(&self, of: Of, namespace: &str, prefix: &str) -> Vec<Instant> {
        let seen = self.0.lock().unwrap();
        let map = match of {
            Of::Created => &seen.created,
            Of::Running => &seen.running,
            Of::Ready => &seen.ready,
        };
        let fits = |(within, name): &Key| within == namespace && name.starts_with(prefix);
        let mut times: Vec<Instant> = map.iter().filter(|(key, _)| fits(key)).map(|(_, at)| *at).collect();
        times.sort();
        times
    }

    /// How many pods of a namespace there are now.
    pub fn pods(&self, namespace: &str) -> usize {
        self.0.lock().unwrap().present.iter().filter(|(within, _)| within == namespace).count()
    }
}
