//! The description of the HTTP interface (`OpenAPI` 3.1), made from the code, and the page that shows it. Media routes are
//! handed to the gateway ready made, so they are described in [`super::openapi_media`].

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use super::openapi_media::MediaDocument;
use super::problem::Problem;
use super::{Gateway, described};
use crate::api::crds;

/// An object as Kubernetes shapes it; the schemas `Camera`, `Stream`, `Archive`, `Recording` and `AlertRoute` say what `spec` and
/// `status` hold.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "describes what is sent; objects are handed on as they are")]
pub struct Resource {
    /// `camera-operator.dev/v1alpha1`.
    #[schema(example = "camera-operator.dev/v1alpha1")]
    api_version: String,
    /// `Camera`, `Stream`, `Archive`, `Recording` or `AlertRoute`.
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
    let mut document = serde_json::to_value(document).unwrap_or_default();
    add_kinds(&mut document["components"]["schemas"]);
    document
}

/// Adds the schemas of our kinds, which are those of the custom resource definitions.
fn add_kinds(schemas: &mut Value) {
    let mut any = Vec::new();
    for definition in crds::all() {
        let kind = &definition.spec.names.kind;
        schemas[kind.as_str()] = crds::schema(&definition);
        any.push(json!({"$ref": format!("#/components/schemas/{kind}")}));
    }
    schemas["Resource"]["anyOf"] = any.into();
}

/// Prints the description of the HTTP interface as `/openapi.json` has it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Writes it into this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs `camera-operator openapi`.
///
/// # Errors
/// When the file cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = text();
    let Some(file) = &arguments.file else {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The description as it stands in `docs/openapi.json`.
fn text() -> String {
    format!("{:#}\n", document())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_description_is_what_the_code_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let checked_in = std::fs::read_to_string(file).unwrap_or_default();
        assert!(checked_in == text(), "docs/openapi.json is stale: run `make generate` and commit the result");
    }

    /// Every `$ref` leads somewhere, and every parameter of a path is described.
    #[test]
    fn the_description_is_whole() {
        let document = document();
        let mut pending = vec![&document];
        while let Some(value) = pending.pop() {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            pending.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
            pending.extend(value.as_array().into_iter().flatten());
        }
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let described: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
                for name in path.split(['{', '}']).skip(1).step_by(2) {
                    let found = described.iter().any(|one| one["name"] == name && one["in"] == "path");
                    assert!(found, "{method} {path}: {name}");
                }
                assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
                assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
            }
        }
    }
}
