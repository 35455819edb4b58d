//! Errors over HTTP: what the world says as RFC 9457 problems, and every error that some layer below wrote in its own way.

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

pub use crate::agent::problem::Problem;
use crate::gateway::world::WorldError;
use crate::plan::unit::ObjectKind;

impl From<WorldError> for Problem {
    fn from(error: WorldError) -> Self {
        match error {
            WorldError::NotFound(reference) => {
                let plural = reference.kind.plural();
                let namespace = &reference.key.namespace;
                Self::not_found(format!(
                    "There is no {:?} `{}` in namespace `{namespace}`; /api/v1/namespaces/{namespace}/{plural} lists those that are.",
                    reference.kind, reference.key.name
                ))
            }
            WorldError::Conflict(message) => Self::conflict(message),
            WorldError::Unavailable { reason, message } => Self::unavailable(reason, message),
            WorldError::Failed(message) => Self::internal(message),
        }
    }
}

/// A kind that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(pub String);

impl From<UnknownKind> for Problem {
    fn from(UnknownKind(kind): UnknownKind) -> Self {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.plural()).collect();
        Self::not_found(format!("There is no kind `{kind}`; write one of {}.", known.join(", ")))
    }
}

/// The kinds that have a place in the API, in the order in which they are listed.
pub const KINDS: [ObjectKind; 5] =
    [ObjectKind::Camera, ObjectKind::Stream, ObjectKind::Archive, ObjectKind::Recording, ObjectKind::AlertRoute];

/// The kind of a path's `{kind}`.
///
/// # Errors
/// When there is no such kind.
pub fn parse_kind(plural: &str) -> Result<ObjectKind, UnknownKind> {
    KINDS.into_iter().find(|kind| kind.plural() == plural).ok_or_else(|| UnknownKind(plural.to_owned()))
}

/// Makes an error response that is no problem document one, with its status and headers kept.
pub fn as_problem(method: &Method, path: &str, response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    // A range that cannot be served (416) and the like carry their meaning in headers, which stay.
    if !(status.is_client_error() || status.is_server_error()) || is_problem {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found(format!("There is nothing at {path}; /docs lists what there is.")),
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = format!("{method} does nothing at {path}; the header Allow names what does.");
            Problem::new(status, "method-not-allowed", "Method not allowed", detail)
        }
        StatusCode::BAD_REQUEST => {
            Problem::bad_request(format!("The request for {path} cannot be understood; see /docs."))
        }
        status => {
            let title = status.canonical_reason().unwrap_or("Error");
            Problem::new(status, "http-error", title, format!("{method} {path}: {title}."))
        }
    };
    let (old, _) = response.into_parts();
    let mut response = problem.into_response();
    for (name, value) in &old.headers {
        let of_the_body =
            [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING];
        if !of_the_body.contains(name) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
