//! The agent's HTTP interface: what a control plane and other pods ask of it, and the media of its units. Assembles routers
//! that the outputs bring; must not decide anything itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::access::gate::guard;
use super::metrics::{self, Exposition};
use super::supervisor::Agent;
use super::{output, probes, recordings};
use crate::plan::report::Report;

/// How long a report may be waited for; below the idle time-outs of common proxies.
const LONG_POLL: Duration = Duration::from_secs(25);

/// Everything that an agent serves in a pod: probes, metrics, its report, and the media of its units, each to those only whom
/// the plan allows. Callers on this machine are known by their address, so serve it with connection info.
pub fn routes(agent: &Arc<Agent>) -> Router {
    let control =
        Router::new().route("/metrics", get(metrics)).route("/v1/report", get(report)).with_state(agent.clone());
    let sidecar =
        output::sidecar_routes(&agent.registry, &agent.board).merge(recordings::sidecar_routes(agent.registry.clone()));
    let all = control.merge(probes::routes(agent)).merge(media_routes(agent)).merge(sidecar);
    all.layer(from_fn_with_state(agent.registry.gate.clone(), guard))
}

/// The media of the agent's units only: what a gateway serves as its own.
pub fn media_routes(agent: &Arc<Agent>) -> Router {
    output::routes().with_state(agent.registry.clone()).merge(recordings::routes(agent.registry.clone()))
}

async fn metrics(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    let exposition = Exposition::default();
    metrics::collect(&exposition, &agent.board.report(), &agent.registry);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], exposition.encode())
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<u64>,
}

/// The report; with `?since=` it waits until there is a newer one, or answers with the same one after a while.
async fn report(State(agent): State<Arc<Agent>>, Query(query): Query<Since>) -> Json<Report> {
    let mut changes = agent.board.subscribe();
    if let Some(since) = query.since {
        // A sequence from before a restart of this agent is larger than ours: answer at once.
        let newer = changes.wait_for(|sequence| *sequence != since);
        let _ = tokio::time::timeout(LONG_POLL, newer).await;
    }
    Json(agent.board.report())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::agent::unit::NoSecrets;
    use crate::plan::unit::Plan;

    async fn get_report(routes: &Router, path: &str) -> Report {
        let response = routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_long_poll_answers_when_the_report_changes() {
        let agent = Arc::new(Agent::new(Arc::new(NoSecrets)));
        let routes = routes(&agent);
        let first = get_report(&routes, "/v1/report").await;
        let path = format!("/v1/report?since={}", first.sequence);
        let plan = Plan::new("run");
        let (second, ()) = tokio::join!(get_report(&routes, &path), agent.apply(&plan));
        assert_eq!(second.plan_hash, plan.hash());
        assert!(second.sequence > first.sequence);
    }
}
