//! Objects with their status, as Kubernetes shapes them, and what may be done to them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Gateway;
use super::problem::{Problem, UnknownKind, parse_kind};
use super::world::{Action, LogLine, Object, Snapshot, WorldError};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Group and version of our kinds.
pub const API_VERSION: &str = "camera-operator.dev/v1alpha1";

/// A list as Kubernetes shapes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    /// `camera-operator.dev/v1alpha1`.
    pub api_version: &'static str,
    /// `CameraList`, `StreamList`, …
    pub kind: String,
    /// Of the collection.
    pub metadata: ListMetadata,
    /// The objects, by namespace and name.
    #[schema(value_type = Vec<super::openapi::Resource>)]
    pub items: Vec<Object>,
}

/// What a list says of itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// Version of the collection; an event stream can be followed from it.
    pub resource_version: String,
}

/// The newest log lines of an object.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLines {
    /// Oldest first.
    pub items: Vec<LogLine>,
}

/// JSON that no cache may keep: it is about now.
pub(super) fn fresh(value: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(value)).into_response()
}

fn object_list(kind: ObjectKind, snapshot: Snapshot) -> ObjectList {
    ObjectList {
        api_version: API_VERSION,
        kind: format!("{kind:?}List"),
        metadata: ListMetadata { resource_version: snapshot.version.to_string() },
        items: snapshot.objects.into_iter().map(|(_, object)| object).collect(),
    }
}

fn reference(namespace: String, kind: &str, name: String) -> Result<ObjectRef, UnknownKind> {
    Ok(ObjectRef { kind: parse_kind(kind)?, key: ObjectKey { namespace, name } })
}

/// The objects of one kind in all namespaces.
#[utoipa::path(
    get, path = "/api/v1/{kind}", tag = "Objects",
    params(("kind" = String, Path, description = "cameras, streams, archives or recordings")),
    responses((status = 200, body = ObjectList), (status = 404, body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn list_all(State(gateway): State<Gateway>, Path(kind): Path<String>) -> Result<Response, Problem> {
    let kind = parse_kind(&kind)?;
    Ok(fresh(object_list(kind, gateway.world.list(Some(kind), None))))
}

/// The objects of one kind in one namespace.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/{kind}", tag = "Objects",
    params(
        ("ns" = String, Path, description = "Namespace; `default` where a manifest names none"),
        ("kind" = String, Path, description = "cameras, streams, archives or recordings"),
    ),
    responses((status = 200, body = ObjectList), (status = 404, body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    Path((namespace, kind)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let kind = parse_kind(&kind)?;
    Ok(fresh(object_list(kind, gateway.world.list(Some(kind), Some(&namespace)))))
}

/// One object with its status.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/{kind}/{name}", tag = "Objects",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("kind" = String, Path, description = "cameras, streams, archives or recordings"),
        ("name" = String, Path, description = "Name of the object"),
    ),
    responses(
        (status = 200, body = super::openapi::Resource),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let reference = reference(namespace, &kind, name)?;
    let object = gateway.world.get(&reference).ok_or(WorldError::NotFound(reference))?;
    Ok(fresh(object))
}

async fn act(gateway: &Gateway, path: (String, String, String), action: Action) -> Result<Response, Problem> {
    let (namespace, kind, name) = path;
    let reference = reference(namespace, &kind, name)?;
    tracing::info!(object = %reference, "{} is asked for over HTTP", action.verb());
    Ok(fresh(gateway.world.act(&reference, action).await?))
}

/// Starts an object: sets `spec.suspend` to false.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/{kind}/{name}/start", tag = "Actions",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("kind" = String, Path, description = "cameras, streams or recordings"),
        ("name" = String, Path, description = "Name of the object"),
    ),
    responses(
        (status = 200, description = "The object as it is now", body = super::openapi::Resource),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The object's kind or state forbids it", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn start(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    act(&gateway, path, Action::Start).await
}

/// Stops an object: sets `spec.suspend` to true; a clip ends and its file is completed.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/{kind}/{name}/stop", tag = "Actions",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("kind" = String, Path, description = "cameras, streams or recordings"),
        ("name" = String, Path, description = "Name of the object"),
    ),
    responses(
        (status = 200, description = "The object as it is now", body = super::openapi::Resource),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The object's kind or state forbids it", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stop(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    act(&gateway, path, Action::Stop).await
}

/// Ends what runs for an object and begins it again; its spec stays as it is.
#[utoipa::path(
    post, path = "/api/v1/namespaces/{ns}/{kind}/{name}/restart", tag = "Actions",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("kind" = String, Path, description = "cameras, streams or recordings"),
        ("name" = String, Path, description = "Name of the object"),
    ),
    responses(
        (status = 200, description = "The object as it is now", body = super::openapi::Resource),
        (status = 403, description = "Asked by a page of another origin", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The object does not run", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn restart(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    act(&gateway, path, Action::Restart).await
}

/// The newest log lines of an object, redacted, oldest first.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/{kind}/{name}/logs", tag = "Objects",
    params(
        ("ns" = String, Path, description = "Namespace"),
        ("kind" = String, Path, description = "cameras, streams, archives or recordings"),
        ("name" = String, Path, description = "Name of the object"),
    ),
    responses((status = 200, body = LogLines), (status = 404, body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn logs(
    State(gateway): State<Gateway>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let items = gateway.world.logs(&reference(namespace, &kind, name)?).await?;
    Ok(fresh(LogLines { items }))
}
