//! The description of the media routes: live, recorded, retention, coverage. The routes themselves come from the agent; a
//! test holds that every path here is one of theirs. Nothing here runs.

use utoipa::OpenApi;

use super::problem::Problem;
use crate::agent::recordings::CoverageAnswer;
use crate::archive::retention_run::RetentionOutcome;

/// Describes the media routes.
#[derive(OpenApi)]
#[openapi(paths(
    live_playlist,
    live_rendition,
    live_mjpeg,
    live_snapshot,
    hour_playlist,
    hour_file,
    span_playlist,
    export,
    clip,
    coverage,
    retention_preview,
    retention_run,
))]
pub(super) struct MediaDocument;

#[utoipa::path(
    get, path = "/live/{ns}/{stream}/index.m3u8", tag = "Live",
    summary = "A stream as HLS (RFC 8216); low latency where the stream asks for it. Of a stream with renditions, the multivariant playlist of them. Any origin may read it.",
    params(
        ("ns" = String, Path, description = "Namespace"), ("stream" = String, Path, description = "Name of the stream"),
        ("_HLS_msn" = Option<u64>, Query, description = "Low latency: wait for this media sequence number"),
        ("_HLS_part" = Option<u64>, Query, description = "Low latency: and for this part of it"),
    ),
    responses(
        (status = 200, description = "Playlist", content_type = "application/vnd.apple.mpegurl"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No video yet; the reason says why", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn live_playlist() {}

#[utoipa::path(
    get, path = "/live/{ns}/{stream}/{rendition}/index.m3u8", tag = "Live",
    summary = "A rendition of a stream as HLS: what index.m3u8 of a stream with output.hls.renditions lists.",
    params(
        ("ns" = String, Path, description = "Namespace"), ("stream" = String, Path, description = "Name of the stream"),
        ("rendition" = String, Path, description = "Name of the rendition", example = "720p"),
        ("_HLS_msn" = Option<u64>, Query, description = "Low latency: wait for this media sequence number"),
        ("_HLS_part" = Option<u64>, Query, description = "Low latency: and for this part of it"),
    ),
    responses(
        (status = 200, description = "Playlist", content_type = "application/vnd.apple.mpegurl"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No video yet; the reason says why", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn live_rendition() {}

#[utoipa::path(
    get, path = "/live/{ns}/{stream}/stream.mjpeg", tag = "Live",
    summary = "A stream as Motion JPEG, for an img element. Any origin may read it.",
    params(("ns" = String, Path, description = "Namespace"), ("stream" = String, Path, description = "Name of the stream")),
    responses(
        (status = 200, description = "Pictures, one after the other", content_type = "multipart/x-mixed-replace"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn live_mjpeg() {}

#[utoipa::path(
    get, path = "/live/{ns}/{stream}/snapshot.jpg", tag = "Live",
    summary = "The latest picture of a stream",
    params(("ns" = String, Path, description = "Namespace"), ("stream" = String, Path, description = "Name of the stream")),
    responses(
        (status = 200, description = "A JPEG image", content_type = "image/jpeg"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No picture now", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn live_snapshot() {}

#[utoipa::path(
    get, path = "/recordings/{ns}/{recording}/{date}/{hour}/playlist.m3u8", tag = "Recordings",
    summary = "One recorded UTC hour as HLS",
    params(
        ("ns" = String, Path, description = "Namespace"), ("recording" = String, Path, description = "Name of the recording"),
        ("date" = String, Path, description = "UTC date", example = "2026-11-21"),
        ("hour" = String, Path, description = "UTC hour, two digits", example = "01"),
    ),
    responses(
        (status = 200, description = "Playlist", content_type = "application/vnd.apple.mpegurl"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn hour_playlist() {}

#[utoipa::path(
    get, path = "/recordings/{ns}/{recording}/{date}/{hour}/{file}", tag = "Recordings",
    summary = "A recorded media file, as the playlists name it; ranges work",
    params(
        ("ns" = String, Path, description = "Namespace"), ("recording" = String, Path, description = "Name of the recording"),
        ("date" = String, Path, description = "UTC date", example = "2026-11-21"),
        ("hour" = String, Path, description = "UTC hour, two digits", example = "01"),
        ("file" = String, Path, description = "Name of the file", example = "37.mp4"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "video/mp4"),
        (status = 206, description = "The range that was asked for", content_type = "video/mp4"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn hour_file() {}

#[utoipa::path(
    get, path = "/recordings/{ns}/{recording}/playlist.m3u8", tag = "Recordings",
    summary = "Any time span as HLS",
    params(
        ("ns" = String, Path, description = "Namespace"), ("recording" = String, Path, description = "Name of the recording"),
        ("from" = String, Query, description = "Begin, RFC 3339", example = "2026-11-21T01:00:00Z"),
        ("to" = Option<String>, Query, description = "End, RFC 3339; without it the playlist grows with the recording", example = "2026-11-21T02:00:00Z"),
    ),
    responses(
        (status = 200, description = "Playlist", content_type = "application/vnd.apple.mpegurl"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn span_playlist() {}

#[utoipa::path(
    get, path = "/recordings/{ns}/{recording}/export.mp4", tag = "Recordings",
    summary = "Any time span as one MP4 file; ranges work",
    params(
        ("ns" = String, Path, description = "Namespace"), ("recording" = String, Path, description = "Name of the recording"),
        ("from" = String, Query, description = "Begin, RFC 3339", example = "2026-11-21T01:00:00Z"),
        ("to" = Option<String>, Query, description = "End, RFC 3339; now by default", example = "2026-11-21T01:10:00Z"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "video/mp4"),
        (status = 206, description = "The range that was asked for", content_type = "video/mp4"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The camera's configuration changed within the span; `spans` lists the parts", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn export() {}

#[utoipa::path(
    get, path = "/recordings/{ns}/{recording}/{clip}", tag = "Recordings",
    summary = "A clip's file; ranges work",
    params(
        ("ns" = String, Path, description = "Namespace"), ("recording" = String, Path, description = "Name of the recording"),
        ("clip" = String, Path, description = "clip.mp4, or a later part where the camera's configuration changed", example = "clip.mp4"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "video/mp4"),
        (status = 206, description = "The range that was asked for", content_type = "video/mp4"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn clip() {}

#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/recordings/{name}/coverage", tag = "Recordings",
    summary = "The share of a time span for which there is video, and every gap with its reason",
    params(
        ("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Name of the recording"),
        ("from" = Option<String>, Query, description = "Begin, RFC 3339; a day before the end by default", example = "2026-11-21T01:00:00Z"),
        ("to" = Option<String>, Query, description = "End, RFC 3339; now by default", example = "2026-11-21T02:00:00Z"),
    ),
    responses(
        (status = 200, description = "Ratio and gaps", body = CoverageAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn coverage() {}

#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/{kind}/{name}/retention/preview", tag = "Recordings",
    summary = "What retention would delete now, and why",
    params(
        ("ns" = String, Path, description = "Namespace"), ("kind" = String, Path, description = "recordings or archives"),
        ("name" = String, Path, description = "Name of the object"),
        ("confirm" = Option<bool>, Query, description = "Also what is held back until a person has seen it"),
    ),
    responses(
        (status = 200, description = "Files and reasons", body = RetentionOutcome),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn retention_preview() {}

#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/{kind}/{name}/retention/run", tag = "Recordings",
    summary = "Deletes what the preview lists",
    params(
        ("ns" = String, Path, description = "Namespace"), ("kind" = String, Path, description = "recordings or archives"),
        ("name" = String, Path, description = "Name of the object"),
        ("confirm" = Option<bool>, Query, description = "Also what is held back until a person has seen it"),
    ),
    responses(
        (status = 200, description = "What was deleted", body = RetentionOutcome),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
#[allow(dead_code, reason = "carries the description")]
fn retention_run() {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use tower::ServiceExt as _;

    use super::*;
    use crate::agent::sidecar::media_routes;
    use crate::agent::supervisor::Agent;
    use crate::local::secrets::ManifestSecrets;

    #[tokio::test]
    async fn every_described_path_is_routed() {
        let agent = Arc::new(Agent::new(Arc::new(ManifestSecrets::default())));
        let routes = media_routes(&agent);
        let document = serde_json::to_value(MediaDocument::openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let method = if item["post"].is_object() { "POST" } else { "GET" };
            let mut uri = path.replace("{kind}", "recordings").replace("{clip}", "clip.mp4").replace("{hour}", "01");
            for (name, value) in [("{date}", "2026-11-21"), ("{file}", "37.mp4")] {
                uri = uri.replace(name, value);
            }
            uri = uri.replace(['{', '}'], "");
            let request = Request::builder().method(method).uri(&uri).body(Body::empty()).unwrap();
            let response = routes.clone().oneshot(request).await.unwrap();
            // A handler says what is missing; a path without a route gets a bare 404.
            assert_ne!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {uri}");
            let kind = response.headers().get(header::CONTENT_TYPE);
            assert!(kind.is_some_and(|kind| kind == "application/problem+json"), "{method} {uri}: {response:?}");
        }
    }
}
