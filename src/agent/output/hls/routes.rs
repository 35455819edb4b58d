//! HLS over HTTP: playlists (with blocking reload), initialisation segments, segments and parts. Must not build playlists: a
//! window has them ready.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use tower_http::compression::CompressionLayer;

use super::window::{Found, Name, Reload, Window};
use super::{HlsStream, Rendition};
use crate::agent::problem::Problem;
use crate::agent::registry::Registry;
use crate::media::hls::CONTENT_TYPE;
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

/// A name never means anything else, so this could be for ever; the segments of a live stream are not worth the cache.
const SEGMENT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=600, immutable");
const VIDEO_MP4: HeaderValue = HeaderValue::from_static("video/mp4");
/// What clients are told to wait, seconds, while there is nothing yet.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// `/live/{ns}/{stream}/…`. The entry, `index.m3u8`, is the media playlist itself: every player takes it, and it saves a round
/// trip; `main.m3u8` is a multivariant playlist around it, for players that want to know codecs and bit rate beforehand. Of a
/// stream with renditions both are the multivariant playlist, and each rendition is a folder.
pub fn routes() -> Router<Arc<Registry>> {
    let playlists = Router::new()
        .route("/live/{ns}/{stream}/index.m3u8", get(entry))
        .route("/live/{ns}/{stream}/main.m3u8", get(multivariant_playlist))
        .route("/live/{ns}/{stream}/{rendition}/index.m3u8", get(rendition_playlist))
        .layer(CompressionLayer::new().gzip(true));
    playlists
        .route("/live/{ns}/{stream}/{file}", get(file))
        .route("/live/{ns}/{stream}/{rendition}/{file}", get(rendition_file))
}

/// A stream, or the problem that there is none.
fn find_stream(registry: &Registry, namespace: String, name: String) -> Result<Arc<HlsStream>, Problem> {
    let key = ObjectKey { namespace, name };
    registry.hls.get(&key).ok_or_else(|| no_stream(&key))
}

/// A rendition of it, or the problem that there is none.
fn find_rendition(stream: &HlsStream, name: &str) -> Result<Arc<Rendition>, Problem> {
    stream.rendition(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = stream.renditions().iter().map(|rendition| rendition.name.as_str()).collect();
        Problem::not_found(format!("The stream has no rendition `{name}`; it has: {}.", names.join(", ")))
    })
}

fn no_stream(key: &ObjectKey) -> Problem {
    Problem::not_found(format!("No stream {key} with HLS runs here."))
}

/// 503 with the reason why nothing is there.
fn not_yet((reason, message): (Reason, String)) -> Response {
    let mut response = Problem::unavailable(reason, message).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

fn playlist_response(playlist: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, playlist.into()).into_response()
}

/// The delivery directives (bis §6.2.5). Unknown parameters are for others.
#[derive(Debug, Default, Deserialize)]
struct Directives {
    #[serde(rename = "_HLS_msn")]
    number: Option<u64>,
    #[serde(rename = "_HLS_part")]
    part: Option<usize>,
}

type Asked = Result<Query<Directives>, axum::extract::rejection::QueryRejection>;

async fn entry(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
    directives: Asked,
) -> Result<Response, Problem> {
    let stream = find_stream(&registry, namespace, name)?;
    match stream.rendition("").cloned() {
        Some(only) => media_playlist(&only, directives).await,
        None => Ok(respond_multivariant(&stream)),
    }
}

async fn rendition_playlist(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name, rendition)): Path<(String, String, String)>,
    directives: Asked,
) -> Result<Response, Problem> {
    let stream = find_stream(&registry, namespace, name)?;
    media_playlist(&*find_rendition(&stream, &rendition)?, directives).await
}

async fn media_playlist(rendition: &Rendition, directives: Asked) -> Result<Response, Problem> {
    let Query(directives) =
        directives.map_err(|_| Problem::bad_request("_HLS_msn and _HLS_part must be whole numbers."))?;
    let window = rendition.window();
    // Only a playlist that says CAN-BLOCK-RELOAD takes directives; a server must ignore those it does not offer.
    let blocking = window.timing().is_some_and(|timing| timing.part_target.is_some());
    let window = match directives {
        Directives { number: Some(number), part } if blocking => match await_reload(rendition, number, part).await? {
            Some(window) => window,
            None => return Ok(not_yet(rendition.waiting())),
        },
        Directives { number: None, part: Some(_) } => {
            return Err(Problem::bad_request("_HLS_part without _HLS_msn: give both."));
        }
        Directives { .. } => window,
    };
    Ok(match rendition.playlist(&window) {
        Some(playlist) => playlist_response(playlist),
        None => not_yet(rendition.waiting()),
    })
}

/// The window that holds what was asked for; `None` when it did not come within three target durations (bis §6.2.5.2).
async fn await_reload(rendition: &Rendition, number: u64, part: Option<usize>) -> Result<Option<Arc<Window>>, Problem> {
    let mut changes = rendition.subscribe();
    let patience = patience(&changes.borrow());
    let ready = changes.wait_for(|window| window.reload(number, part) != Reload::Wait);
    match tokio::time::timeout(patience, ready).await {
        Ok(Ok(window)) if window.reload(number, part) == Reload::Ready => Ok(Some(window.clone())),
        Ok(Ok(_)) => Err(Problem::bad_request(format!(
            "_HLS_msn={number} is too far in the future: fetch the playlist without it."
        ))),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn patience(window: &Window) -> Duration {
    Duration::from_secs(3 * window.timing().map_or(4, |timing| timing.target))
}

async fn multivariant_playlist(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(respond_multivariant(&*find_stream(&registry, namespace, name)?))
}

fn respond_multivariant(stream: &HlsStream) -> Response {
    match stream.multivariant() {
        Some(playlist) => playlist_response(playlist),
        None => not_yet(stream.waiting()),
    }
}

async fn file(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stream = find_stream(&registry, namespace, name)?;
    media(&*find_rendition(&stream, "")?, &file, &headers).await
}

async fn rendition_file(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name, rendition, file)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stream = find_stream(&registry, namespace, name)?;
    media(&*find_rendition(&stream, &rendition)?, &file, &headers).await
}

async fn media(rendition: &Rendition, file: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let gone = || Problem::not_found(format!("`{file}` is not, or no longer, part of this stream."));
    let name = Name::parse(file).ok_or_else(gone)?;
    let mut changes = rendition.subscribe();
    let mut found = changes.borrow_and_update().find(name);
    if matches!(found, Some(Found::Soon)) {
        // Hinted, so wait until it is there or will never be.
        let patience = patience(&changes.borrow());
        let made = changes.wait_for(|window| !matches!(window.find(name), Some(Found::Soon)));
        match tokio::time::timeout(patience, made).await {
            Ok(Ok(window)) => found = window.find(name),
            Ok(Err(_)) | Err(_) => return Ok(not_yet(rendition.waiting())),
        }
    }
    let chunks: Vec<Bytes> = match found.ok_or_else(gone)? {
        Found::Header(bytes) => vec![bytes],
        Found::Segment(segment) => segment.parts.iter().flat_map(|part| part.fragment.chunks().cloned()).collect(),
        Found::Part(part) => part.fragment.chunks().cloned().collect(),
        Found::Soon => return Ok(not_yet(rendition.waiting())),
    };
    Ok(media_response(chunks, headers.get(header::RANGE)))
}

/// Which bytes a `Range` asks for (RFC 9110 §14.1.2): `Ok(None)` = all, because there is none or it is not one that has to be
/// heeded; `Err` = outside of what there is.
fn parse_range(range: &str, length: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (first, last) = match (first, number(first), last, number(last)) {
        ("", _, _, Some(suffix)) => (length.saturating_sub(suffix), if suffix == 0 { 0 } else { length }),
        (_, Some(first), "", _) => (first, length),
        (_, Some(first), _, Some(last)) if first <= last => (first, length.min(last.saturating_add(1))),
        _ => return Ok(None),
    };
    if first < last { Ok(Some((first, last))) } else { Err(()) }
}

/// The bytes from `first` to before `end` of a sequence of chunks, still shared.
fn slice(chunks: Vec<Bytes>, first: u64, end: u64) -> Vec<Bytes> {
    let mut at = 0;
    let mut sliced = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let length = chunk.len() as u64;
        let (from, to) = (first.saturating_sub(at).min(length), end.saturating_sub(at).min(length));
        if from < to {
            sliced.push(chunk.slice(from as usize..to as usize));
        }
        at += length;
    }
    sliced
}

fn media_response(chunks: Vec<Bytes>, range: Option<&HeaderValue>) -> Response {
    let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let text = |value: String| HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""));
    let (status, chunks, length) =
        match range.and_then(|range| range.to_str().ok()).map(|range| parse_range(range, length)) {
            None | Some(Ok(None)) => (StatusCode::OK, chunks, length),
            Some(Ok(Some((first, end)))) => {
                headers.insert(header::CONTENT_RANGE, text(format!("bytes {first}-{}/{length}", end - 1)));
                (StatusCode::PARTIAL_CONTENT, slice(chunks, first, end), end - first)
            }
            Some(Err(())) => {
                headers.insert(header::CONTENT_RANGE, text(format!("bytes */{length}")));
                return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
            }
        };
    headers.insert(header::CONTENT_TYPE, VIDEO_MP4);
    headers.insert(header::CACHE_CONTROL, SEGMENT_CACHE);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let body = Body::from_stream(futures::stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>)));
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_the_book() {
        assert_eq!(parse_range("bytes=0-0", 10), Ok(Some((0, 1))));
        assert_eq!(parse_range("bytes=2-", 10), Ok(Some((2, 10))));
        assert_eq!(parse_range("bytes=2-99", 10), Ok(Some((2, 10))));
        assert_eq!(parse_range("bytes=-3", 10), Ok(Some((7, 10))));
        assert_eq!(parse_range("bytes=-30", 10), Ok(Some((0, 10))));
        assert_eq!(parse_range("bytes=10-", 10), Err(()));
        assert_eq!(parse_range("bytes=-0", 10), Err(()));
        for ignored in ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-"] {
            assert_eq!(parse_range(ignored, 10), Ok(None), "{ignored}");
        }
    }

    #[test]
    fn a_slice_goes_across_chunks() {
        let chunks = vec![Bytes::from_static(b"abc"), Bytes::from_static(b""), Bytes::from_static(b"defg")];
        for first in 0..7 {
            for end in first + 1..=7 {
                let sliced = slice(chunks.clone(), first, end).concat();
                assert_eq!(sliced, b"abcdefg"[first as usize..end as usize]);
            }
        }
    }
}
