//! Objects with their status, as Kubernetes shapes them, and what may be done to them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::Gateway;
use super::openapi::Resource;
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

/// Which object a path names.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ObjectPath {
    /// Namespace; `default` where a manifest names none
    ns: String,
    /// cameras, streams, archives, recordings or alertroutes
    kind: String,
    /// Name of the object
    name: String,
}

impl ObjectPath {
    fn reference(self) -> Result<ObjectRef, UnknownKind> {
        Ok(ObjectRef { kind: parse_kind(&self.kind)?, key: ObjectKey { namespace: self.ns, name: self.name } })
    }
}

/// There is no such kind or object
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[allow(dead_code, reason = "describes what is sent")]
struct NotFound(Problem);

/// How an action is answered.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what is sent")]
enum ActionAnswer {
    /// The object as it is now
    #[response(status = 200)]
    Done(Resource),
    /// Asked by a page of another origin
    #[response(status = 403, content_type = "application/problem+json")]
    CrossOrigin(Problem),
    /// There is no such kind or object
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The object's kind or state forbids it
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
}

/// The objects of one kind in all namespaces.
#[utoipa::path(
    get, path = "/api/v1/{kind}", tag = "Objects",
    params(("kind" = String, Path, description = "cameras, streams, archives, recordings or alertroutes")),
    responses((status = 200, body = ObjectList), NotFound),
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
        ("kind" = String, Path, description = "cameras, streams, archives, recordings or alertroutes"),
    ),
    responses((status = 200, body = ObjectList), NotFound),
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
    params(ObjectPath), responses((status = 200, body = Resource), NotFound),
)]
pub(super) async fn get(State(gateway): State<Gateway>, Path(path): Path<ObjectPath>) -> Result<Response, Problem> {
    let reference = path.reference()?;
    let object = gateway.world.get(&reference).ok_or(WorldError::NotFound(reference))?;
    Ok(fresh(object))
}

async fn act(gateway: &Gateway, path: ObjectPath, action: Action) -> Result<Response, Problem> {
    let reference = path.reference()?;
    tracing::info!(object = %reference, "{} is asked for over HTTP", action.verb());
    Ok(fresh(gateway.world.act(&reference, action).await?))
}

/// Starts an object: sets `spec.suspend` to false.
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/{kind}/{name}/start",
    tag = "Actions",
    params(ObjectPath),
    responses(ActionAnswer)
)]
pub(super) async fn start(State(gateway): State<Gateway>, Path(path): Path<ObjectPath>) -> Result<Response, Problem> {
    act(&gateway, path, Action::Start).await
}

/// Stops an object: sets `spec.suspend` to true; a clip ends and its file is completed.
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/{kind}/{name}/stop",
    tag = "Actions",
    params(ObjectPath),
    responses(ActionAnswer)
)]
pub(super) async fn stop(State(gateway): State<Gateway>, Path(path): Path<ObjectPath>) -> Result<Response, Problem> {
    act(&gateway, path, Action::Stop).await
}

/// Ends what runs for an object and begins it again; its spec stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/{kind}/{name}/restart",
    tag = "Actions",
    params(ObjectPath),
    responses(ActionAnswer)
)]
pub(super) async fn restart(State(gateway): State<Gateway>, Path(path): Path<ObjectPath>) -> Result<Response, Problem> {
    act(&gateway, path, Action::Restart).await
}

/// The newest log lines of an object, redacted, oldest first.
#[utoipa::path(
    get, path = "/api/v1/namespaces/{ns}/{kind}/{name}/logs", tag = "Objects",
    params(ObjectPath), responses((status = 200, body = LogLines), NotFound),
)]
pub(super) async fn logs(State(gateway): State<Gateway>, Path(path): Path<ObjectPath>) -> Result<Response, Problem> {
    let items = gateway.world.logs(&path.reference()?).await?;
    Ok(fresh(LogLines { items }))
}
