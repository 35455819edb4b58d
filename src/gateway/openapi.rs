//! The description of the HTTP interface (OpenAPI 3.1), made from the code, and the page that shows it. Media routes are
//! handed to the gateway ready made, so they are described in [`super::openapi_media`].

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::openapi_media::MediaDocument;
use super::problem::Problem;
use super::{Gateway, described};

/// An object as Kubernetes shapes it; the schemas `Camera`, `Stream`, `Archive` and `Recording` say what `spec` and
/// `status` hold.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "describes what is sent; objects are handed on as they are")]
pub struct Resource {
    /// `camera-operator.dev/v1alpha1`.
    #[schema(example = "camera-operator.dev/v1alpha1")]
    api_version: String,
    /// `Camera`, `Stream`, `Archive` or `Recording`.
    #[schema(example = "Camera")]
    kind: String,
    /// Name, namespace, uid, labels, generation, …
    #[schema(value_type = Object)]
    metadata: Value,
    /// What is wanted.
    #[schema(value_type = Object)]
    spec: Value,
    /// What is so: conditions and facts.
    #[schema(value_type = Object)]
    status: Value,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "camera-operator",
        description = "Cameras, streams, archives and recordings: their state, live and recorded media, retention and coverage. \
            Objects have the shape that Kubernetes gives them. Errors are RFC 9457 problem documents whose `type` is stable.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/")),
    tags(
        (name = "Objects", description = "Cameras, streams, archives and recordings with their status"),
        (name = "Actions", description = "What may be done to them"),
        (name = "Events", description = "Every change of state, as it happens"),
        (name = "Cameras", description = "Still picture and connection test"),
        (name = "Live", description = "Live media"),
        (name = "Recordings", description = "Recorded media, coverage and retention"),
        (name = "Health", description = "Liveness, readiness, health, metrics"),
    ),
    components(schemas(Problem, Resource, super::events::SnapshotEvent, super::events::ChangeEvent)),
)]
struct Document;

/// The whole description.
pub fn document() -> Value {
    let (_, described) = described().split_for_parts();
    let mut document = Document::openapi();
    document.merge(described);
    document.merge(MediaDocument::openapi());
    // The types are plain; an empty description would fail the test that compares it with the file.
    serde_json::to_value(document).unwrap_or_default()
}

async fn openapi() -> Json<Value> {
    Json(document())
}

fn embedded(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

/// `/openapi.json`, and `/docs`, which shows it without loading anything from elsewhere.
pub(super) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/docs", get(async || embedded("text/html; charset=utf-8", include_str!("docs/index.html"))))
        .route("/docs/docs.js", get(async || embedded("text/javascript; charset=utf-8", include_str!("docs/docs.js"))))
        .route("/docs/docs.css", get(async || embedded("text/css; charset=utf-8", include_str!("docs/docs.css"))))
}
