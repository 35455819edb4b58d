//! The operator's own HTTP interface: probes and metrics, served by followers too.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::kinds::Watched;
use super::metrics;
use super::reconcile::count_states;
use super::reports::Reports;
use super::watches::Feed;
use crate::alert::handle::{DeskError, Handle};
use crate::plan::unit::ObjectKey;

/// A watch that has not even been tried to be opened for this long hangs: each is opened again every four minutes.
const STALE: Duration = Duration::from_mins(10);

/// What the probes and metrics look at.
#[derive(Clone)]
pub struct Server {
    /// What is known and counted.
    pub feed: Feed,
    /// What agents say.
    pub reports: Reports,
    /// Who delivers alerts, once this process leads.
    pub alerts: Arc<OnceLock<Handle>>,
}

impl Server {
    /// The routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(serve_metrics))
            .route("/api/v1/namespaces/{ns}/alertroutes/{name}/alertmanager", post(alertmanager))
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
    liveness(&server.ages())
}

fn liveness(ages: &[(String, Duration)]) -> (StatusCode, String) {
    let stale: Vec<&str> = ages.iter().filter(|(_, age)| *age > STALE).map(|(kind, _)| kind.as_str()).collect();
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

/// Alerts of Prometheus. A follower sends Alertmanager to the next attempt, which may reach the leader.
async fn alertmanager(
    State(server): State<Arc<Server>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let taken = match server.alerts.get() {
        Some(desk) => desk.take_in(&ObjectKey { namespace, name }, bearer, &body).await,
        None => Err(DeskError::Unavailable),
    };
    let Err(error) = taken else { return (StatusCode::NO_CONTENT, String::new()) };
    let status = match &error {
        DeskError::NotFound(_) => StatusCode::NOT_FOUND,
        DeskError::NoSource(_) => StatusCode::CONFLICT,
        DeskError::Unauthorized => StatusCode::UNAUTHORIZED,
        DeskError::Refused(_) => StatusCode::BAD_REQUEST,
        DeskError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{error}\n"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_watch_that_hangs_is_reason_enough() {
        let ages = |pods: u64| {
            let age = |kind: &str, seconds| (kind.to_owned(), Duration::from_secs(seconds));
            [age("cameras", 0), age("pods", pods), age("jobs", 240)]
        };
        assert_eq!(liveness(&ages(600)).0, StatusCode::OK);
        let (status, said) = liveness(&ages(601));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(said, "no sign of life from the watches of pods\n");
    }
}
