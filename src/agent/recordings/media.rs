//! Media files as they are on the disk: those of the hours, and clips.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::body::{Content, read_file, read_file_behind, respond};
use super::{NO_CACHE, Recordings, blocking};
use crate::agent::problem::Problem;
use crate::archive::clip_part::Head;
use crate::archive::index::{FileName, Hour};
use crate::archive::layout::{clip_file, parse_clip_file};

/// A file that is closed never changes again.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A media file of an hour. While it is written, as much of it as is whole.
pub async fn file(
    State(recordings): State<Recordings>,
    Path((namespace, recording, date, hour, file)): Path<(String, String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let index = recordings.find(&namespace, &recording).await?;
    let name = Hour::from_folders(&date, &hour).and_then(|hour| FileName::from_file(hour, &file));
    let not_found = move || Problem::not_found(format!("Recording `{recording}` has no file {date}/{hour}/{file}."));
    let Ok(name) = name else { return Err(not_found()) };
    let found = blocking(move || match index.file(name)? {
        Some(entry) => Ok(Some((index.open_media(name)?, entry))),
        None => Ok(None),
    })
    .await?;
    let Some((file, entry)) = found else { return Err(not_found()) };
    let content = Content {
        length: entry.bytes,
        tag: format!("{}-{}-{}", entry.run, entry.first_sequence, entry.bytes),
        kind: "video/mp4",
        cache: if entry.closed { IMMUTABLE } else { NO_CACHE },
        save_as: None,
    };
    Ok(respond(&headers, &content, |start, end| read_file(file, start, end)))
}

/// A clip, or a further part of one (`clip-2.mp4`). While it is recorded, as much of it as is whole.
pub async fn clip(
    State(recordings): State<Recordings>,
    Path((namespace, recording, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Ok(part) = parse_clip_file(&file) else {
        return Err(Problem::not_found(format!(
            "A recording has no `{file}`; there are playlist.m3u8?from=&to=, export.mp4?from=&to= and, of a clip, clip.mp4."
        )));
    };
    let index = recordings.find(&namespace, &recording).await?;
    let name = recording.clone();
    let found = blocking(move || {
        let file = index.open_clip(part)?;
        let head = Head::read(&file);
        // Asked of a file that is open: it says so before it is made, and no more once it is whole.
        let live = index.clip_live_bytes(part);
        if live == Some(0) {
            return Err(crate::archive::ArchiveError::NotFound {
                what: format!("a picture yet in {}", clip_file(part)),
            });
        }
        // What is sent of a clip that is being recorded must stay what it was, although it may be finished meanwhile.
        let live = live.filter(|_| head.as_ref().is_some_and(|head| !head.finished));
        let head = head.filter(|_| live.is_some()).map(|head| head.bytes);
        let metadata = file.metadata().map_err(|error| {
            crate::archive::ArchiveError::io(format!("look at {} of {name}", clip_file(part)), error)
        })?;
        Ok((file, head, live.unwrap_or(metadata.len()), metadata.modified().ok()))
    })
    .await?;
    let (file, head, length, modified) = found;
    let age = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let suffix = if part > 1 { format!("-{part}") } else { String::new() };
    let content = Content {
        length,
        tag: format!("{}-{length}", age.as_micros()),
        kind: "video/mp4",
        cache: if head.is_some() { NO_CACHE } else { HeaderValue::from_static("private, no-cache") },
        save_as: Some(format!("{recording}{suffix}.mp4")),
    };
    Ok(respond(&headers, &content, |start, end| read_file_behind(head.unwrap_or_default(), file, start, end)))
}
