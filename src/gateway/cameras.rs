//! What only cameras have: a still picture and a connection test.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::Gateway;
use super::objects::fresh;
use super::problem::Problem;
use super::world::CameraTest;
use crate::plan::unit::ObjectKey;

/// Header with the capture time of a picture, RFC 3339, UTC.
pub const CAPTURE_TIME: HeaderName = HeaderName::from_static("x-capture-time");

/// The latest picture of a camera, decoded from the connection that is there.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/cameras/{name}/snapshot.jpg", tag = "Cameras",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("name" = String, Path, description = "Name of the camera"),
    ),
    responses(
        (status = 200, description = "A JPEG image; the header `X-Capture-Time` says when it was captured", content_type = "image/jpeg"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No picture now; the reason says why", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn snapshot(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let picture = gateway.world.picture(&ObjectKey { namespace, name }).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(captured) = HeaderValue::from_str(&format!("{:.3}", picture.captured)) {
        headers.insert(CAPTURE_TIME, captured);
    }
    Ok((headers, picture.jpeg).into_response())
}

/// Tests the connection to a camera. A camera that is connected is not connected a second time: its frames are watched.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/cameras/{name}/test", tag = "Cameras",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("name" = String, Path, description = "Name of the camera"),
    ),
    responses(
        (status = 200, description = "What was found, good or bad", body = CameraTest),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn test(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(fresh(gateway.world.test(&ObjectKey { namespace, name }).await?))
}
