//! Bytes of known length as an HTTP response: ranges (RFC 9110 §14), validators, and a body that reads the disk off the runtime
//! and only as fast as the client takes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::problem::Problem;

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// A client that takes nothing for so long is gone: what it holds (an export's files) is let go.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is sent.
#[derive(Debug, Clone)]
pub struct Content {
    /// Bytes in all.
    pub length: u64,
    /// Strong validator, without quotes.
    pub tag: String,
    /// `Content-Type`.
    pub kind: &'static str,
    /// `Cache-Control`.
    pub cache: HeaderValue,
    /// `Content-Disposition`: the name under which it is saved; `None`: shown where it is.
    pub save_as: Option<String>,
}

/// Reads a stretch, chunk by chunk; an empty chunk is the end.
pub type Read = Box<dyn FnMut(usize) -> io::Result<Bytes> + Send>;

/// Answers a request for `content`; `open` gives a reader of the bytes `start..end`.
pub fn respond(headers: &HeaderMap, content: &Content, open: impl FnOnce(u64, u64) -> Read) -> Response {
    let tag = format!("\"{}\"", content.tag);
    let given = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut response = if given(header::IF_NONE_MATCH).is_some_and(|list| matches(list, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A range of something else than what is there now is no use: the whole is sent (§13.1.5).
        let current = given(header::IF_RANGE).is_none_or(|validator| validator == tag);
        let range = given(header::RANGE).filter(|_| current).map_or(Range::Whole, |text| parse(text, content.length));
        let (status, start, end) = match range {
            Range::Whole => (StatusCode::OK, 0, content.length),
            Range::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
            Range::Unsatisfiable => {
                let detail = format!("There are {} bytes; the range begins behind them.", content.length);
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let mut response = Problem::new(status, "range", "Range not satisfiable", detail).into_response();
                insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", content.length));
                return response;
            }
        };
        let mut response = (status, Body::from_stream(stream(open(start, end)))).into_response();
        let headers = response.headers_mut();
        insert(headers, header::CONTENT_LENGTH, &(end - start).to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            insert(headers, header::CONTENT_RANGE, &format!("bytes {start}-{}/{}", end - 1, content.length));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.kind));
        if let Some(name) = &content.save_as {
            insert(headers, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
        }
        response
    };
    let headers = response.headers_mut();
    insert(headers, header::ETAG, &tag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, content.cache.clone());
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `If-None-Match` (§13.1.2): any of a list, compared weakly.
fn matches(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// First byte, and one past the last.
    Part(u64, u64),
    Unsatisfiable,
}

/// One range of bytes (§14.1.2). Several at once, other units and what cannot be read are ignored, as the standard allows.
fn parse(text: &str, length: u64) -> Range {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Range::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(length)),
        (Ok(start), _) if last.is_empty() => (start, length),
        (_, Ok(suffix)) if first.is_empty() => (length.saturating_sub(suffix), length),
        _ => return Range::Whole,
    };
    if start < end { Range::Part(start, end) } else { Range::Unsatisfiable }
}

fn stream(mut read: Read) -> ReceiverStream<io::Result<Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, sender.reserve()).await else { return };
            let task = tokio::task::spawn_blocking(move || {
                let chunk = read(CHUNK);
                (read, chunk)
            });
            let Ok((back, chunk)) = task.await else { return };
            read = back;
            match chunk {
                Ok(bytes) if bytes.is_empty() => return,
                Ok(bytes) => permit.send(Ok(bytes)),
                Err(error) => {
                    // The connection is cut, so that the client sees that something is missing.
                    tracing::warn!(%error, "a recording cannot be read while it is sent");
                    permit.send(Err(error));
                    return;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Reads the bytes `start..end` of a file whose first bytes are `head`, whatever stands there by now.
pub fn read_file_behind(head: Bytes, file: File, start: u64, end: u64) -> Read {
    let mut at = start;
    let mut read = read_file(file, start, end);
    Box::new(move |most| {
        let chunk = read(most)?;
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        at += chunk.len() as u64;
        let Some(known) = head.get(from..).filter(|known| !known.is_empty()) else { return Ok(chunk) };
        let known = &known[..known.len().min(chunk.len())];
        Ok([known, &chunk[known.len()..]].concat().into())
    })
}

/// Reads the bytes `start..end` of a file.
pub fn read_file(file: File, start: u64, end: u64) -> Read {
    let mut at = start;
    Box::new(move |most| {
        let want = usize::try_from(end.saturating_sub(at)).unwrap_or(most).min(most);
        let mut chunk = vec![0; want];
        file.read_exact_at(&mut chunk, at)?;
        at += want as u64;
        Ok(chunk.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=10-", Range::Part(10, 100)),
            ("bytes=-10", Range::Part(90, 100)),
            ("bytes=-1000", Range::Part(0, 100)),
            ("bytes=90-1000", Range::Part(90, 100)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-4", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=x-", Range::Whole),
        ] {
            assert_eq!(parse(text, 100), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Range::Unsatisfiable);
    }

    fn content() -> Content {
        Content {
            length: 10,
            tag: "t".into(),
            kind: "video/mp4",
            cache: HeaderValue::from_static("no-cache"),
            save_as: None,
        }
    }

    async fn ask(name: header::HeaderName, value: &str) -> (StatusCode, HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("header"));
        let response = respond(&headers, &content(), |start, end| {
            let mut left = Some(Bytes::from_static(b"0123456789").slice(start as usize..end as usize));
            Box::new(move |_| Ok(left.take().unwrap_or_default()))
        });
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, 1000).await.expect("body"))
    }

    #[test]
    fn what_was_there_first_is_sent_whatever_stands_there_by_now() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), b"XXXX456789").expect("written");
        let read = |start, end, most: usize| {
            let mut read =
                read_file_behind(Bytes::from_static(b"0123"), File::open(file.path()).expect("open"), start, end);
            std::iter::from_fn(|| Some(read(most).expect("read")).filter(|chunk| !chunk.is_empty()))
                .collect::<Vec<_>>()
                .concat()
        };
        assert_eq!(read(0, 10, 100), b"0123456789");
        assert_eq!(read(0, 10, 3), b"0123456789");
        assert_eq!(read(2, 7, 2), b"23456");
        assert_eq!(read(6, 8, 2), b"67");
    }

    #[tokio::test]
    async fn parts_and_validators() {
        let (status, headers, body) = ask(header::RANGE, "bytes=2-4").await;
        assert_eq!((status, &body[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
        assert_eq!(headers[header::CONTENT_RANGE], "bytes 2-4/10");
        let (status, headers, _) = ask(header::RANGE, "bytes=10-").await;
        assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(headers[header::CONTENT_RANGE], "bytes */10");
        let (status, _, body) = ask(header::IF_NONE_MATCH, "W/\"t\"").await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    }
}
