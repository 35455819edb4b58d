//! A camera's frames as endless fragmented MP4 over HTTP: how a recorder in another pod reads a hub. Ends where a run or a
//! configuration ends, and where frames were lost, so that one body is always one unbroken piece; the reader comes back with
//! `after` and goes on where it was. Must not hold more than the frames of one read: a client that does not read waits alone.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::Deserialize;

use crate::agent::hub::{Event, Reach, Reader};
use crate::agent::problem::Problem;
use crate::agent::registry::Registry;
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Configuration, Frame, RunId};
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

/// The routes of this output.
pub fn routes() -> Router<Arc<Registry>> {
    Router::new().route("/v1/cameras/{ns}/{name}/live.mp4", get(live))
}

#[derive(Debug, Deserialize)]
struct After {
    after: Option<String>,
}

/// `run:sequence`, the last frame that the reader has.
fn parse_after(text: &str) -> Result<(RunId, u64), Problem> {
    text.split_once(':')
        .and_then(|(run, sequence)| Some((RunId(run.parse().ok()?), sequence.parse().ok()?)))
        .ok_or_else(|| {
            Problem::bad_request(format!(
                "after={text} is not run:sequence; write two numbers, as in after=1763688000000:42"
            ))
        })
}

async fn live(
    State(registry): State<Arc<Registry>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<After>,
) -> Result<Response, Problem> {
    let camera = ObjectKey { namespace, name };
    let hub = registry.hubs.get(&camera).ok_or_else(|| Problem::not_found(format!("no camera {camera} runs here")))?;
    let reader = match query.after.as_deref().map(parse_after).transpose()? {
        Some((run, sequence)) => hub.subscribe_after(run, sequence),
        None => hub.subscribe(Reach::Whole),
    };
    if hub.newest_gop().is_none() && !reader.has_more() {
        return Err(Problem::unavailable(Reason::CameraUnavailable, format!("camera {camera} sends no video now")));
    }
    let body = Body::from_stream(stream::unfold(Piece::new(reader), Piece::next).flat_map(stream::iter));
    Ok(([(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// One unbroken piece of a hub's frames.
struct Piece {
    reader: Reader,
    sequence_number: u32,
    header_sent: bool,
    ended: bool,
}

type Chunks = Vec<std::io::Result<Bytes>>;

impl Piece {
    const fn new(reader: Reader) -> Self {
        Self { reader, sequence_number: 0, header_sent: false, ended: false }
    }

    async fn next(mut self) -> Option<(Chunks, Self)> {
        while !self.ended {
            let events = self.reader.next().await?;
            let chunks = self.write(&events);
            if !chunks.is_empty() {
                return Some((chunks, self));
            }
        }
        None
    }

    fn write(&mut self, events: &[Event]) -> Chunks {
        let mut chunks = Vec::new();
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        for event in events {
            match event {
                Event::Frame(frame) => frames.push(frame.clone()),
                Event::Configuration { configuration, .. } if !self.header_sent => {
                    self.header_sent = true;
                    chunks.push(Ok(write_header(configuration as &Configuration, true)));
                }
                // Before the first frame a loss or an old end says nothing about what follows.
                Event::Lost(_) | Event::Ended(_) if !self.header_sent => {}
                Event::Configuration { .. } | Event::Lost(_) | Event::Ended(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        if !frames.is_empty() {
            self.sequence_number += 1;
            let options = FragmentOptions { producer_reference_time: true, ..FragmentOptions::default() };
            chunks.extend(write_fragment(self.sequence_number, &frames, true, options).into_chunks().map(Ok));
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_is_read_strictly() {
        assert_eq!(parse_after("7:42").unwrap(), (RunId(7), 42));
        for wrong in ["", "7", "7:", ":42", "a:b", "7:42:1", "-1:2"] {
            assert!(parse_after(wrong).is_err(), "{wrong}");
        }
    }
}
