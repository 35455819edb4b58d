//! Liveness, readiness, and how the system as a whole is doing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Gateway;
use super::objects::fresh;
use super::problem::Problem;
use super::world::Health;

/// Liveness: the program answers.
#[utoipa::path(get, path = "/healthz", tag = "Health", responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness: the objects have been read and requests can be answered. Whether video flows is in the objects' conditions.
#[utoipa::path(
    get, path = "/readyz", tag = "Health",
    responses(
        (status = 200, description = "`ok`", body = String, content_type = "text/plain"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn readyz(State(gateway): State<Gateway>) -> Result<&'static str, Problem> {
    if gateway.world.ready() {
        return Ok("ok\n");
    }
    let detail = "The objects have not been read yet; ask again in a moment.";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail))
}

/// How the system is doing: uptime, versions, programs, storage, processes.
#[utoipa::path(get, path = "/api/v1/health", tag = "Health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(gateway): State<Gateway>) -> Response {
    fresh(gateway.world.health().await)
}
