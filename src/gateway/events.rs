//! Server-sent events (WHATWG HTML §9.2): a snapshot first, then every change of state. What a page follows in place of
//! polling.
//!
//! | event | data | id |
//! | --- | --- | --- |
//! | `snapshot` | `{"resourceVersion", "items": [object, …]}`: forget all that was known | version |
//! | `change` | `{"type": "ADDED" / "MODIFIED" / "DELETED", "object"}` | version |
//! | `heartbeat` | `{}` every 15 s, so that a dead connection is noticed | none |
//!
//! A client that comes back with `Last-Event-ID` gets only what it missed, or a snapshot where that is forgotten.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::stream::{Stream, StreamExt as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::Gateway;
use super::world::{Change, ChangeKind, Object, Snapshot, Update};

/// How often a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// Data of a `snapshot` event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotEvent {
    /// Version of the collection.
    pub resource_version: String,
    /// All objects of all kinds.
    #[schema(value_type = Vec<super::openapi::Resource>)]
    pub items: Vec<Object>,
}

/// Data of a `change` event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEvent {
    /// What became of the object.
    pub r#type: ChangeKind,
    /// The object after the change; as it was last, when it was deleted.
    #[schema(value_type = super::openapi::Resource)]
    pub object: Object,
}

fn event(name: &str, version: u64, data: &impl Serialize) -> Event {
    let event = Event::default().event(name).id(version.to_string());
    // Our own plain types always can be written; an event without data is one that browsers ignore.
    event.json_data(data).unwrap_or_default()
}

/// The event of an update, or nothing where it concerns another namespace.
fn to_event(update: Update, namespace: Option<&str>) -> Option<Event> {
    let concerned = |other: &str| namespace.is_none_or(|namespace| namespace == other);
    match update {
        Update::Snapshot(Snapshot { version, objects }) => {
            let items = objects
                .into_iter()
                .filter(|(reference, _)| concerned(&reference.key.namespace))
                .map(|(_, object)| object)
                .collect();
            let data = SnapshotEvent { resource_version: version.to_string(), items };
            Some(event("snapshot", version, &data).retry(RETRY))
        }
        Update::Change(Change { reference, kind, object, version }) => {
            concerned(&reference.key.namespace).then(|| event("change", version, &ChangeEvent { r#type: kind, object }))
        }
    }
}

fn follow(
    gateway: &Gateway,
    namespace: Option<String>,
    headers: &HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let since = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let events = gateway
        .world
        .watch(since)
        .filter_map(move |update| std::future::ready(to_event(update, namespace.as_deref()).map(Ok)))
        .take_until(gateway.shutdown.clone().cancelled_owned());
    let heartbeat = Event::default().event("heartbeat").data("{}");
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).event(heartbeat))
}

/// Follows the objects of all namespaces: a `snapshot` event, then a `change` event for every change of state.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "Events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last event received; only what came after it is sent")),
    responses(
        (status = 200, description = "Events `snapshot`, `change` and `heartbeat`; the data of a `change`:", body = ChangeEvent, content_type = "text/event-stream"),
    ),
)]
pub(super) async fn all(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    follow(&gateway, None, &headers)
}

/// Follows the objects of one namespace.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/events", tag = "Events",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event received; only what came after it is sent"),
    ),
    responses(
        (status = 200, description = "Events `snapshot`, `change` and `heartbeat`; the data of a `snapshot`:", body = SnapshotEvent, content_type = "text/event-stream"),
    ),
)]
pub(super) async fn of_namespace(
    State(gateway): State<Gateway>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    follow(&gateway, Some(namespace), &headers)
}
