//! The operator's own HTTP interface: probes and metrics, served by followers too.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::kinds::Watched;
use super::metrics;
use super::reconcile::count_states;
use super::reports::Reports;
use super::watches::Feed;

/// A watch that has not even been tried to be opened for this long hangs: each is opened again every four minutes.
const STALE: Duration = Duration::from_mins(10);

/// What the probes and metrics look at.
#[derive(Clone)]
pub struct Server {
    /// What is known and counted.
    pub feed: Feed,
    /// What agents say.
    pub reports: Reports,
}

impl Server {
    /// The routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(serve_metrics))
            .with_state(Arc::new(self))
    }

    /// The age of each watch's last sign of life.
    fn ages(&self) -> Vec<(String, Duration)> {
        let plurals = Watched::all().into_iter().map(|kind| kind.resource().plural);
        plurals.map(|plural| (plural.clone(), self.feed.progress.age(&plural).unwrap_or_default())).collect()
    }
}

/// Liveness: every watch makes progress. One that hangs would leave the operator blind and looking healthy.
async fn healthz(State(server): State<Arc<Server>>) -> (StatusCode, String) {
    let stale: Vec<String> = server.ages().into_iter().filter(|(_, age)| *age > STALE).map(|(kind, _)| kind).collect();
    if stale.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("no sign of life from the watches of {}\n", stale.join(", ")))
}

/// Readiness: everything has been seen once, so that this process could lead at once.
async fn readyz(State(server): State<Arc<Server>>) -> (StatusCode, &'static str) {
    if server.feed.is_complete() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not everything has been listed yet\n")
    }
}

async fn serve_metrics(State(server): State<Arc<Server>>) -> Response {
    let metrics = &server.feed.metrics;
    for (kind, age) in server.ages() {
        metrics.watched(&kind, age);
    }
    let depth = server.feed.queue.depth(|object| object.kind);
    for kind in super::kinds::OBJECT_KINDS {
        metrics.queued(kind.plural(), depth.get(&kind).copied().unwrap_or(0));
    }
    count_states(&server.feed.world.lock(), metrics);
    metrics.agents_unavailable(server.reports.unavailable());
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
