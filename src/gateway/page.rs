//! The page at `/`: what was built from `web/` and put into the binary. A program that was built without it says so.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::Problem;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

const MISSING: &str = include_str!("page_missing.html");

/// Whether the page is in this binary.
pub fn is_built() -> bool {
    Files::get("index.html").is_some()
}

/// Answers whatever has no route of its own.
pub(super) async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let name = if path.is_empty() { "index.html" } else { path };
    match Files::get(name) {
        Some(file) => answer(name, &file, request.headers()),
        None if path.is_empty() => ([(header::CACHE_CONTROL, "no-store")], Html(MISSING)).into_response(),
        None => Problem::not_found(format!("There is nothing at /{path}; /docs lists what there is.")).into_response(),
    }
}

fn answer(name: &str, file: &EmbeddedFile, asked: &HeaderMap) -> Response {
    let mut half = [0; 16];
    half.copy_from_slice(&file.metadata.sha256_hash()[..16]);
    let tag = format!("\"{:032x}\"", u128::from_be_bytes(half));
    // Vite puts a hash of the content into the names under `assets/`.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    let unchanged = asked.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value.to_str().is_ok_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
    });
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if unchanged {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    if let Ok(kind) = HeaderValue::from_str(&content_type(kind.as_ref())) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    (headers, file.data.clone()).into_response()
}

fn content_type(kind: &str) -> String {
    let is_text = kind.starts_with("text/") || kind.ends_with("javascript") || kind.ends_with("json");
    if is_text { format!("{kind}; charset=utf-8") } else { kind.to_owned() }
}
