//! Kubernetes events: what people see under `kubectl describe`. They are sent by a task of their own, so that nobody waits
//! for them, and are lost rather than let pile up.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::api::API_VERSION;
use crate::plan::unit::ObjectRef;

/// How many may wait to be sent.
const MOST_WAITING: usize = 4096;
/// How long sending one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest note that the API takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Where events are dropped off.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<(ObjectReference, Told)>);

#[derive(Debug)]
struct Told {
    type_: EventType,
    reason: String,
    note: String,
}

/// Sends them.
#[derive(Debug)]
pub struct Sender(mpsc::Receiver<(ObjectReference, Told)>);

/// A place to drop events off, and the sender that [`Sender::run`]s.
pub fn channel() -> (Events, Sender) {
    let (events, waiting) = mpsc::channel(MOST_WAITING);
    (Events(events), Sender(waiting))
}

impl Events {
    /// Something that went as it should.
    pub fn normal(&self, object: &ObjectRef, uid: &str, reason: &str, note: String) {
        self.tell(object, uid, EventType::Normal, reason, note);
    }

    /// Something that a person may want to look into.
    pub fn warning(&self, object: &ObjectRef, uid: &str, reason: &str, note: String) {
        self.tell(object, uid, EventType::Warning, reason, note);
    }

    fn tell(&self, object: &ObjectRef, uid: &str, type_: EventType, reason: &str, mut note: String) {
        let mut end = note.len().min(MAX_NOTE);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(format!("{:?}", object.kind)),
            namespace: Some(object.key.namespace.clone()),
            name: Some(object.key.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if self.0.try_send((reference, Told { type_, reason: reason.to_owned(), note })).is_err() {
            tracing::debug!(%object, "an event is lost: too many wait to be sent");
        }
    }
}

impl Sender {
    /// Sends events until nobody can drop any off any more.
    pub async fn run(mut self, client: Client, instance: String) {
        let reporter = Reporter { controller: "camera-operator.dev/operator".to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client, reporter);
        while let Some((object, told)) = self.0.recv().await {
            let event = Event {
                type_: told.type_,
                action: action(&told.reason, &told.note),
                reason: told.reason,
                note: Some(told.note),
                secondary: None,
            };
            match tokio::time::timeout(PATIENCE, recorder.publish(&event, &object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("an event cannot be sent: {error}"),
                Err(_) => tracing::debug!("an event cannot be sent: no answer"),
            }
        }
    }
}

/// What the recorder tells events apart by, beside object and reason: it counts those up that have the same, whatever their notes
/// say, and shows the first note. Something else that is said is another event.
fn action(reason: &str, note: &str) -> String {
    let digest = Sha256::digest(note);
    format!("{reason}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}

#[cfg(test)]
mod tests {
    use super::action;

    #[test]
    fn what_is_said_differently_is_another_event() {
        assert_eq!(action("RollOut", "image: a → b"), action("RollOut", "image: a → b"));
        assert_ne!(action("RollOut", "image: a → b"), action("RollOut", "image: b → c"));
        assert!(action("RollOut", "").starts_with("RollOut-"), "a person can read it");
    }
}
