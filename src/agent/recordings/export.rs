//! `export.mp4`: a span as one file. What was laid out for a download is kept for a while, because players and download
//! managers ask for the same file in many ranges.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::body::{Content, respond};
use super::{NO_CACHE, Recordings, SpanQuery, blocking_with, now};
use crate::agent::problem::Problem;
use crate::archive::export::{Export, ExportError, ExportReader, SubSpan};
use crate::archive::index::RecordingPath;
use crate::media::frame::UtcMicros;

/// How long a layout is kept after it was made. It holds leases on files.
const KEPT: Duration = Duration::from_mins(1);
/// How many layouts are kept.
const MOST: usize = 16;

type Key = (RecordingPath, UtcMicros, UtcMicros);

/// The layouts that were made lately.
#[derive(Debug, Default)]
pub struct Prepared {
    exports: Mutex<Vec<(Key, Arc<Export>)>>,
}

impl Prepared {
    fn get(&self, key: &Key) -> Option<Arc<Export>> {
        let exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
        exports.iter().find(|(known, _)| known == key).map(|(_, export)| export.clone())
    }

    fn keep(self: &Arc<Self>, key: Key, export: &Arc<Export>) {
        let mut exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
        if exports.len() == MOST {
            exports.remove(0);
        }
        exports.push((key, export.clone()));
        drop(exports);
        let (prepared, export) = (self.clone(), Arc::downgrade(export));
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut exports = prepared.exports.lock().unwrap_or_else(PoisonError::into_inner);
            exports.retain(|(_, kept)| !std::ptr::eq(Arc::as_ptr(kept), export.as_ptr()));
        });
    }
}

/// `export.mp4?from=&to=`.
pub async fn export(
    State(recordings): State<Recordings>,
    Path((namespace, recording)): Path<(String, String)>,
    Query(query): Query<SpanQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (from, to) = query.both(now())?;
    let index = recordings.find(&namespace, &recording).await?;
    let key = (index.path().clone(), from, to);
    let export = if let Some(export) = recordings.exports.get(&key) {
        export
    } else {
        let made = blocking_with(move || Export::prepare(&index, from, to), |error| explain(&recording, error)).await?;
        let made = Arc::new(made);
        // Without an end in the query every request is for another span.
        if query.to.is_some() {
            recordings.exports.keep(key, &made);
        }
        made
    };
    let content = Content {
        length: export.len(),
        tag: export.tag().to_owned(),
        kind: "video/mp4",
        cache: NO_CACHE,
        save_as: Some(file_name(&export)),
    };
    Ok(respond(&headers, &content, |start, end| {
        let mut reader = ExportReader::new(export, start, end);
        Box::new(move |most| reader.next_chunk(most).map_err(std::io::Error::other))
    }))
}

/// `front-door_2026-11-21_010000Z_600s.mp4`: sorts by time, and no file system refuses it.
fn file_name(export: &Export) -> String {
    let begin = export.from.timestamp().strftime("%Y-%m-%d_%H%M%SZ");
    let seconds = export.duration_micros.div_ceil(1_000_000);
    format!("{}_{begin}_{seconds}s.mp4", export.path().name)
}

#[derive(Debug, serde::Serialize)]
struct SpanAnswer {
    from: String,
    to: String,
}

fn explain(recording: &str, error: ExportError) -> Problem {
    let message = error.to_string();
    match error {
        ExportError::Nothing { .. } => {
            Problem::not_found(format!("Recording `{recording}` holds nothing of that span; its coverage says why."))
        }
        ExportError::BadSpan => {
            Problem::bad_request("A span must be longer than nothing and not longer than 24 hours.")
        }
        ExportError::ConfigurationChanged { spans } => {
            let answer = |span: &SubSpan| SpanAnswer {
                from: format!("{:.6}", span.from.timestamp()),
                to: format!("{:.6}", span.to.timestamp()),
            };
            let spans: Vec<SpanAnswer> = spans.iter().map(answer).collect();
            let detail =
                "The camera's configuration (codec, size) changed within the span; export the `spans` one by one.";
            Problem::new(StatusCode::CONFLICT, "configuration-changed", "Configuration changed", detail)
                .with("spans", spans)
        }
        ExportError::Damaged { .. } => {
            tracing::warn!(recording, error = %message, "an export failed");
            Problem::internal(message)
        }
        ExportError::Archive(error) => Problem::from(error),
    }
}
