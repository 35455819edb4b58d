//! Playlists of recorded hours and spans, and coverage.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_CACHE, Recordings, SpanQuery, blocking, now, ordered};
use crate::agent::problem::Problem;
use crate::archive::coverage::Coverage;
use crate::archive::index::{FileEntry, Hour};
use crate::archive::ledger::recording_coverage;
use crate::archive::span::{self, LEAD_IN_MICROS, PlaylistOptions};
use crate::media::frame::UtcMicros;

const DAY: i64 = 86_400_000_000;
/// A longer playlist is of no use to a player.
const LONGEST_PLAYLIST_DAYS: i64 = 7;
/// A year of hours is read from the disk at once.
const LONGEST_COVERAGE_DAYS: i64 = 366;

/// `#EXTM3U`, to be asked for again as long as it may grow.
fn playlist(text: String, ended: bool) -> Response {
    let cache = if ended { HeaderValue::from_static("private, max-age=60") } else { NO_CACHE };
    let kind = HeaderValue::from_static("application/vnd.apple.mpegurl");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text).into_response()
}

/// What is missing, as a member of a problem and as an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapAnswer {
    /// First instant without video, RFC 3339.
    from: String,
    /// First instant with video again, RFC 3339.
    to: String,
    /// Condition reason.
    reason: String,
}

/// A coverage answer: times in RFC 3339.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageAnswer {
    /// Begin of the span, RFC 3339.
    from: String,
    /// End of the span, never in the future, RFC 3339.
    to: String,
    /// Video that is held.
    covered_seconds: f64,
    /// The held share of the span, 0 to 1.
    ratio: f64,
    /// What is missing, oldest first.
    gaps: Vec<GapAnswer>,
}

fn precise(at: UtcMicros) -> String {
    format!("{:.6}", at.timestamp())
}

fn gap_answers(coverage: &Coverage) -> Vec<GapAnswer> {
    let answer = |gap: &crate::archive::index::Gap| GapAnswer {
        from: precise(gap.from),
        to: precise(gap.to),
        reason: gap.reason.clone(),
    };
    coverage.gaps.iter().map(answer).collect()
}

/// `…/coverage?from=&to=`: the last 24 hours when nothing is said; never the future.
pub async fn coverage(
    State(recordings): State<Recordings>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<SpanQuery>,
) -> Result<Json<CoverageAnswer>, Problem> {
    let now = now();
    let to = query.to()?.unwrap_or(now);
    let (from, to) = ordered(query.from()?.unwrap_or(to.plus_micros(-DAY)), to)?;
    limit(from, to, LONGEST_COVERAGE_DAYS)?;
    let index = recordings.find(&namespace, &name).await?;
    let coverage = blocking(move || recording_coverage(&index, from, to, now)).await?;
    Ok(Json(CoverageAnswer {
        from: precise(coverage.from),
        to: precise(coverage.to),
        covered_seconds: coverage.covered_micros as f64 / 1e6,
        ratio: coverage.ratio,
        gaps: gap_answers(&coverage),
    }))
}

fn limit(from: UtcMicros, to: UtcMicros, days: i64) -> Result<(), Problem> {
    if to.0.saturating_sub(from.0) > days * DAY {
        return Err(Problem::bad_request(format!("The span is too long; ask for at most {days} days at once.")));
    }
    Ok(())
}

/// The playlist of one UTC hour.
pub async fn hour(
    State(recordings): State<Recordings>,
    Path((namespace, recording, date, hour)): Path<(String, String, String, String)>,
) -> Result<Response, Problem> {
    let not_found = |recording: &str| {
        Problem::not_found(format!("Recording `{recording}` holds nothing of {date}, hour {hour} UTC."))
    };
    let Ok(parsed) = Hour::from_folders(&date, &hour) else {
        return Err(Problem::not_found("An hour is written as 2026-11-21/01 (UTC)."));
    };
    let index = recordings.find(&namespace, &recording).await?;
    let (files, live) = blocking(move || Ok((index.files(parsed)?, index.live()))).await?;
    let ended = parsed.end() <= now() && live.is_none_or(|live| live.name.hour != parsed);
    let files: Vec<FileEntry> = files.iter().map(without_open_range).filter(|file| !file.ranges.is_empty()).collect();
    if files.is_empty() {
        return Err(not_found(&recording));
    }
    Ok(playlist(crate::archive::playlist::format(parsed, &files, ended), ended))
}

/// The playlist of any span; without `to`, or with one in the future, it grows.
pub async fn span(
    State(recordings): State<Recordings>,
    Path((namespace, recording)): Path<(String, String)>,
    Query(query): Query<SpanQuery>,
) -> Result<Response, Problem> {
    let now = now();
    let open = query.to.is_none();
    let (from, to) = query.both(now)?;
    limit(from, to, LONGEST_PLAYLIST_DAYS)?;
    let index = recordings.find(&namespace, &recording).await?;
    let (files, coverage) = blocking(move || {
        let files = index.files_between(from.plus_micros(-LEAD_IN_MICROS), to)?;
        Ok((files, recording_coverage(&index, from, to, now)?))
    })
    .await?;
    let writing = files.iter().any(|file| !file.closed && file.gap_after.is_none());
    let growing = open || (to > now && writing) || (writing && coverage.to < to);
    let files: Vec<FileEntry> =
        files.iter().map(|file| if growing { without_open_range(file) } else { file.clone() }).collect();
    let pieces = span::pieces(&files, from, to);
    match span::playlist(&pieces, PlaylistOptions { from, gaps: &coverage.gaps, growing }) {
        Some(text) => Ok(playlist(text, !growing)),
        None => Err(Problem::not_found(format!("Recording `{recording}` holds nothing of that span."))
            .with("gaps", gap_answers(&coverage))),
    }
}

/// A file as a playlist that is asked for again may list it: without the newest range of a file that is written, because that
/// range still grows, and what a playlist has listed must not change (RFC 8216 §6.2.1).
fn without_open_range(file: &FileEntry) -> FileEntry {
    let mut file = file.clone();
    if !file.closed && file.gap_after.is_none() {
        file.ranges.pop();
    }
    file
}
