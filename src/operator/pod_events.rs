//! What the cluster says of one pod that takes long to start: the only place that reads events. They are asked for, not
//! watched: a cluster has many, and hardly ever is one of ours among them. Must not decide what they mean (`pod_problem`).

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::pod_problem::PodEvent;

/// Most events of a pod that are looked at.
const MOST: u32 = 50;

/// The events of a pod; none when they cannot be had, since without them nothing is worse than before.
pub async fn of(client: &Client, namespace: &str, pod_uid: &str) -> Vec<PodEvent> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let parameters = ListParams::default().fields(&format!("involvedObject.uid={pod_uid}")).limit(MOST);
    match api.list(&parameters).await {
        Ok(events) => events.items.into_iter().map(event).collect(),
        Err(error) => {
            tracing::debug!(namespace, pod_uid, "the pod's events cannot be listed: {error}");
            Vec::new()
        }
    }
}

fn event(event: Event) -> PodEvent {
    let repeated = event.series.and_then(|series| series.last_observed_time).map(|time| time.0);
    let seconds = event.last_timestamp.or(event.first_timestamp).map(|time| time.0);
    PodEvent {
        at: repeated.or(seconds).or_else(|| event.event_time.map(|time| time.0)),
        is_warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    }
}
