//! Retention on demand: what would be deleted, and doing it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::Recordings;
use crate::agent::problem::Problem;
use crate::agent::retention::Retention;
use crate::archive::index::RecordingPath;
use crate::archive::retention_run::RetentionOutcome;
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

#[derive(Debug, Deserialize)]
pub struct RunQuery {
    /// A person has seen the preview.
    #[serde(default)]
    confirm: bool,
}

impl Recordings {
    /// The keeper of an archive, and the recording that is meant, if it is only one.
    async fn keeper(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Result<(Arc<Retention>, Option<RecordingPath>), Problem> {
        let closed = |archive: &ObjectKey| {
            let detail = format!("The archive `{}` is not open; its condition says why.", archive.name);
            Problem::unavailable(Reason::ArchiveUnavailable, detail)
        };
        let key = ObjectKey::new(namespace, name);
        match kind {
            "archives" => {
                let keeper = self.registry.retention.get(&key);
                keeper.map(|keeper| (keeper, None)).ok_or_else(|| {
                    Problem::not_found(format!(
                        "Namespace `{namespace}` has no open archive `{name}`; its condition says why."
                    ))
                })
            }
            "recordings" => {
                let declared = self.registry.declared.get();
                let archive =
                    declared.iter().find(|recording| recording.key == key).map(|recording| &recording.archive);
                if let Some(archive) = archive {
                    let path = RecordingPath { namespace: namespace.to_owned(), name: name.to_owned() };
                    let keeper = self.registry.retention.get(archive).ok_or_else(|| closed(archive))?;
                    return Ok((keeper, Some(path)));
                }
                // Nobody declares it, but an archive may still hold it.
                let index = self.find(namespace, name).await?;
                let keepers = self.registry.retention.all();
                let keeper =
                    keepers.into_iter().find(|(key, keeper)| key.namespace == namespace && keeper.holds(index.path()));
                keeper
                    .map(|(_, keeper)| (keeper, Some(index.path().clone())))
                    .ok_or_else(|| Problem::not_found(format!("No open archive holds a recording `{name}`.")))
            }
            _ => Err(Problem::not_found(format!("There is no retention of {kind}; write archives or recordings."))),
        }
    }
}

/// What a run would delete now, and why.
pub async fn preview(
    State(recordings): State<Recordings>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(query): Query<RunQuery>,
) -> Result<Json<RetentionOutcome>, Problem> {
    let (keeper, only) = recordings.keeper(&namespace, &kind, &name).await?;
    Ok(Json(keeper.preview(only, query.confirm).await?))
}

/// Deletes what the preview lists; `?confirm=true` also what was held back.
pub async fn run(
    State(recordings): State<Recordings>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(query): Query<RunQuery>,
) -> Result<Json<RetentionOutcome>, Problem> {
    let (keeper, only) = recordings.keeper(&namespace, &kind, &name).await?;
    Ok(Json(keeper.run(only, query.confirm).await?))
}

/// [`preview`] of a whole archive.
pub async fn preview_archive(
    recordings: State<Recordings>,
    Path((namespace, name)): Path<(String, String)>,
    query: Query<RunQuery>,
) -> Result<Json<RetentionOutcome>, Problem> {
    preview(recordings, Path((namespace, "archives".into(), name)), query).await
}

/// [`run`] of a whole archive.
pub async fn run_archive(
    recordings: State<Recordings>,
    Path((namespace, name)): Path<(String, String)>,
    query: Query<RunQuery>,
) -> Result<Json<RetentionOutcome>, Problem> {
    run(recordings, Path((namespace, "archives".into(), name)), query).await
}
