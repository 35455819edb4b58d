//! What only alert routes have: a test message, and the webhook for Prometheus' Alertmanager. The answers are those of
//! [`crate::alert::handle`]; who may ask is decided there, too.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Gateway;
use super::objects::fresh;
use super::problem::Problem;
use super::world::WorldError;
use crate::alert::handle::{DeskError, Handle, TestResult};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTest {
    /// Whether every receiver took the message.
    pub ok: bool,
    /// One for each receiver, in the order of the manifest.
    pub receivers: Vec<TestResult>,
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::NotFound(key) => WorldError::NotFound(ObjectRef { kind: ObjectKind::AlertRoute, key }).into(),
            DeskError::NoSource(_) => Self::conflict(error.to_string()),
            DeskError::Unauthorized => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", error.to_string())
            }
            DeskError::Refused(_) => Self::bad_request(error.to_string()),
            DeskError::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", error.to_string())
            }
        }
    }
}

/// Sends a test message to the receivers of a route.
pub async fn answer_test(desk: Option<&Handle>, route: ObjectKey) -> Result<Response, Problem> {
    let desk = desk.ok_or(DeskError::Unavailable)?;
    tracing::info!(%route, "a test of its receivers is asked for over HTTP");
    let receivers = desk.test(&route).await?;
    Ok(fresh(RouteTest { ok: receivers.iter().all(|one| one.delivered), receivers }))
}

/// Takes in a message of Alertmanager.
pub async fn answer_alertmanager(
    desk: Option<&Handle>,
    route: ObjectKey,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Problem> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    match desk.ok_or(DeskError::Unavailable)?.take_in(&route, bearer, body).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => {
            let is_unauthorized = error == DeskError::Unauthorized;
            let mut response = Problem::from(error).into_response();
            if is_unauthorized {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Ok(response)
        }
    }
}

/// Sends a test message to each receiver of a route, whatever its cooldown and quiet hours, and says what came of it.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/alertroutes/{name}/test", tag = "Alerts",
    params(
        ("ns" = String, Path, description = "Namespace; `default` where a manifest names none"),
        ("name" = String, Path, description = "Name of the alert route"),
    ),
    responses(
        (status = 200, description = "What came of it, good or bad", body = RouteTest),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn test(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    answer_test(gateway.alerts.as_ref(), ObjectKey { namespace, name }).await
}

/// Takes in alerts of Prometheus: the address of a webhook receiver of Alertmanager, with the token of the route's
/// `spec.alertmanager` as bearer token. What is known here already is not told twice.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/alertroutes/{name}/alertmanager", tag = "Alerts",
    params(
        ("ns" = String, Path, description = "Namespace; `default` where a manifest names none"),
        ("name" = String, Path, description = "Name of the alert route"),
    ),
    request_body(content = String, description = "Alertmanager's webhook message, version 4", content_type = "application/json"),
    responses(
        (status = 204, description = "Taken in, and remembered over a restart"),
        (status = 400, description = "No such message", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Not the route's token", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The route takes nothing from Alertmanager", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not now; Alertmanager tries again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn alertmanager(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    answer_alertmanager(gateway.alerts.as_ref(), ObjectKey { namespace, name }, &headers, &body).await
}
