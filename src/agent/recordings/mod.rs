//! Recordings over HTTP: playlists, media files, exports, clips, coverage, retention. Reads archives through their index; must
//! not know how files are written.
//!
//! A recording is served for as long as an open archive of its namespace holds it, whether or not an object still declares it.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::{get, post};
use serde::Deserialize;
use tower_http::cors::{Any, CorsLayer};

use super::problem::Problem;
use super::registry::Registry;
use crate::archive::index::RecordingPath;
use crate::archive::{Archive, ArchiveError, RecordingIndex};
use crate::media::frame::UtcMicros;
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

mod body;
mod export;
mod media;
mod playlists;
mod retention;
#[cfg(test)]
mod tests;

pub use playlists::{CoverageAnswer, GapAnswer};

/// The routes, as the gateway and the sidecar serve them.
pub fn routes(registry: Arc<Registry>) -> Router {
    let media = Router::new()
        .route("/recordings/{ns}/{recording}/{date}/{hour}/playlist.m3u8", get(playlists::hour))
        .route("/recordings/{ns}/{recording}/{date}/{hour}/{file}", get(media::file))
        .route("/recordings/{ns}/{recording}/playlist.m3u8", get(playlists::span))
        .route("/recordings/{ns}/{recording}/export.mp4", get(export::export))
        .route("/recordings/{ns}/{recording}/{clip}", get(media::clip))
        .layer(cors());
    let api = Router::new()
        .route("/api/v1/namespaces/{ns}/recordings/{name}/coverage", get(playlists::coverage))
        .route("/api/v1/namespaces/{ns}/{kind}/{name}/retention/preview", get(retention::preview))
        .route("/api/v1/namespaces/{ns}/{kind}/{name}/retention/run", post(retention::run));
    media.merge(api).with_state(Recordings { registry, exports: Arc::default() })
}

/// What a control plane and the retention job ask of an archive's recorder: `/v1/archives/{ns}/{name}/retention/…`.
pub fn sidecar_routes(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/v1/archives/{ns}/{name}/retention/preview", get(retention::preview_archive))
        .route("/v1/archives/{ns}/{name}/retention/run", post(retention::run_archive))
        .with_state(Recordings { registry, exports: Arc::default() })
}

/// Players of any origin may read media.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH])
        .expose_headers([
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::ETAG,
            HeaderName::from_static("date"),
        ])
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Recordings {
    registry: Arc<Registry>,
    exports: Arc<export::Prepared>,
}

impl Recordings {
    /// The index of a recording: of the archive that the plan names, else of whichever open archive of the namespace holds it.
    async fn find(&self, namespace: &str, name: &str) -> Result<Arc<RecordingIndex>, Problem> {
        let declared = self.registry.declared.get();
        let key = ObjectKey::new(namespace, name);
        let declared =
            declared.iter().find(|recording| recording.key == key).map(|recording| recording.archive.clone());
        let mut archives: Vec<(ObjectKey, Arc<Archive>)> = self.registry.archives.all();
        archives.retain(|(key, _)| key.namespace == namespace);
        archives.sort_by_key(|(key, _)| Some(key) != declared.as_ref());
        let closed = declared.as_ref().is_some_and(|key| self.registry.archives.get(key).is_none());
        let not_found =
            || Problem::not_found(format!("Namespace `{namespace}` has no recording `{name}` with any files."));
        let Ok(path) = RecordingPath::new(namespace, name) else { return Err(not_found()) };
        let found = blocking(move || {
            for (_, archive) in archives {
                match archive.recording(&path) {
                    Err(ArchiveError::NotFound { .. }) => {}
                    found => return found.map(Some),
                }
            }
            Ok(None)
        })
        .await?;
        match found {
            Some(index) => Ok(index),
            None if closed => Err(Problem::unavailable(
                Reason::ArchiveUnavailable,
                format!("The archive of recording `{name}` is not open; its condition says why."),
            )),
            None => Err(not_found()),
        }
    }
}

/// Runs what blocks on the disk off the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, Problem> {
    blocking_with(work, Problem::from).await
}

/// As [`blocking`], for errors of any kind.
async fn blocking_with<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
    explain: impl FnOnce(E) -> Problem,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(explain),
        Err(_) => {
            Err(Problem::internal("The request failed by a programming error; the program's log has the details."))
        }
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let detail = error.to_string();
        match error {
            ArchiveError::NotFound { .. } => Self::not_found(format!("T{}.", detail.trim_start_matches('t'))),
            ArchiveError::InUse { .. } | ArchiveError::OwnedByAnother { .. } => Self::conflict(detail),
            ArchiveError::Locked { .. } => Self::unavailable(Reason::ArchiveLocked, "Another process has the archive."),
            ArchiveError::Full { .. } => Self::unavailable(Reason::ArchiveFull, "The archive's volume is full."),
            // The message names folders of this machine: for the log only.
            ArchiveError::Damaged { .. } | ArchiveError::Io { .. } => {
                tracing::warn!(error = %detail, "an archive cannot be read");
                Self::internal("The archive cannot be read; the program's log says why.")
            }
        }
    }
}

/// A span of time in a query.
#[derive(Debug, Clone, Deserialize)]
struct SpanQuery {
    from: Option<String>,
    to: Option<String>,
}

impl SpanQuery {
    fn from(&self) -> Result<Option<UtcMicros>, Problem> {
        self.from.as_deref().map(|text| instant("from", text)).transpose()
    }

    fn to(&self) -> Result<Option<UtcMicros>, Problem> {
        self.to.as_deref().map(|text| instant("to", text)).transpose()
    }

    /// Both ends; `to` may be left out for now.
    fn both(&self, now: UtcMicros) -> Result<(UtcMicros, UtcMicros), Problem> {
        let from = self.from()?.ok_or_else(|| {
            Problem::bad_request("Say which span: ?from=2026-11-21T01:00:00Z&to=2026-11-21T01:10:00Z (RFC 3339).")
        })?;
        let to = self.to()?.unwrap_or(now);
        ordered(from, to)
    }
}

fn ordered(from: UtcMicros, to: UtcMicros) -> Result<(UtcMicros, UtcMicros), Problem> {
    if from < to { Ok((from, to)) } else { Err(Problem::bad_request("`to` must be later than `from`.")) }
}

/// Reads an RFC 3339 time; a `+` of an offset that was not escaped arrives as a space.
fn instant(name: &str, text: &str) -> Result<UtcMicros, Problem> {
    let parsed = text.parse().or_else(|_| text.trim().replace(' ', "+").parse::<jiff::Timestamp>());
    parsed.map(UtcMicros::from_timestamp).map_err(|_| {
        Problem::bad_request(format!("`{name}` is not a time; write RFC 3339, as in 2026-11-21T01:00:00Z."))
    })
}

fn now() -> UtcMicros {
    UtcMicros::from_timestamp(jiff::Timestamp::now())
}

/// For what must be asked for again every time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
