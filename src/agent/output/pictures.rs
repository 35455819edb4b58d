//! Pictures over HTTP: Motion JPEG (`multipart/x-mixed-replace`) and the latest picture of a stream's camera. Must not decode
//! anything: that is `mjpeg` and `snapshot`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::fmt::rfc2822;

use super::mjpeg::{Picture, Viewer};
use super::snapshot::{Snapshot, SnapshotError, last_picture, snapshot};
use crate::agent::problem::Problem;
use crate::agent::registry::Registry;
use crate::plan::unit::ObjectKey;

/// Header with the capture time of a picture: RFC 3339, UTC, milliseconds.
pub const CAPTURE_TIME: HeaderName = HeaderName::from_static("x-capture-time");
/// Between two parts (RFC 2046 §5.1.1).
const BOUNDARY: &str = "camera-operator-picture";

/// The routes of this output.
pub fn routes() -> Router<Arc<Registry>> {
    Router::new()
        .route("/live/{ns}/{stream}/stream.mjpeg", get(motion))
        .route("/live/{ns}/{stream}/snapshot.jpg", get(still))
}

/// What the operator fetches.
pub fn sidecar_routes() -> Router<Arc<Registry>> {
    Router::new().route("/v1/cameras/{ns}/{name}/last-picture.jpg", get(last))
}

/// The last picture of a camera, however old: what an alert about the camera shows.
async fn last(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(respond(last_picture(&registry, &ObjectKey { namespace, name }).await?))
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        Self::unavailable(error.reason(), error.to_string())
    }
}

/// A picture as an HTTP response that nobody caches.
pub fn respond(picture: Snapshot) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(captured) = HeaderValue::from_str(&picture.captured.to_string()) {
        headers.insert(CAPTURE_TIME, captured);
    }
    // HTTP dates are RFC 9110 §5.6.7.
    if let Ok(date) = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&picture.captured.timestamp())
        && let Ok(date) = HeaderValue::from_str(&date)
    {
        headers.insert(header::LAST_MODIFIED, date);
    }
    (headers, picture.jpeg).into_response()
}

async fn still(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let stream = ObjectKey { namespace, name };
    let camera = registry
        .stream_cameras
        .get(&stream)
        .ok_or_else(|| Problem::not_found(format!("no stream {stream} runs here")))?;
    Ok(respond(snapshot(&registry, &camera).await?))
}

async fn motion(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let key = ObjectKey { namespace, name };
    let stream = registry
        .mjpeg
        .get(&key)
        .ok_or_else(|| Problem::not_found(format!("no stream {key} with output mjpeg runs here")))?;
    // A part is read only when the client has taken the one before; meanwhile newer pictures replace each other.
    let opening = stream::iter([std::io::Result::Ok(Bytes::from(format!("--{BOUNDARY}\r\n")))]);
    let parts = stream::unfold(stream.watch(), |mut viewer: Viewer| async move {
        let picture = viewer.next().await?;
        Some((std::io::Result::Ok(part(&picture)), viewer))
    });
    let headers = [
        (header::CONTENT_TYPE, format!("multipart/x-mixed-replace; boundary={BOUNDARY}")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(opening.chain(parts))).into_response())
}

/// One part and the boundary after it: a browser shows a picture only when it sees where the next part begins.
fn part(picture: &Picture) -> Bytes {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Capture-Time: {}\r\n\r\n",
        picture.jpeg.len(),
        picture.captured
    );
    // One piece, so that a client never has a head without its picture; the copy costs less than two writes.
    let mut part = Vec::with_capacity(head.len() + picture.jpeg.len() + BOUNDARY.len() + 6);
    part.extend_from_slice(head.as_bytes());
    part.extend_from_slice(&picture.jpeg);
    part.extend_from_slice(b"\r\n--");
    part.extend_from_slice(BOUNDARY.as_bytes());
    part.extend_from_slice(b"\r\n");
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::UtcMicros;

    #[test]
    fn a_picture_tells_its_capture_time() {
        let captured = UtcMicros(1_763_689_020_500_000);
        let response = respond(Snapshot { jpeg: Bytes::from_static(b"\xff\xd8"), captured });
        assert_eq!(response.headers()["x-capture-time"], "2025-11-21T01:37:00.500Z");
        assert_eq!(response.headers()["last-modified"], "Fri, 21 Nov 2025 01:37:00 GMT");
    }
}
