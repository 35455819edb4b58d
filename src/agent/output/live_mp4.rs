//! A camera's frames as endless fragmented MP4, for recorders in other pods: every frame is one fragment, so that nothing is
//! held back, with its capture time (`prft`) and the low 32 bits of its sequence number (`mfhd`). It ends with the run or the
//! configuration; the reader asks again with `?after=run:sequence` (and `&ended=true` once it knows that this run has ended) and misses nothing
//! that the hub still has. Must not slow
//! the hub, nor keep more of it alive than one batch for a client that has stopped reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::{BufMut as _, Bytes};
use futures::stream;
use serde::Deserialize;
use serde_json::json;

use crate::agent::hub::{Ending, Event, Reach, Reader};
use crate::agent::problem::Problem;
use crate::agent::registry::Registry;
use crate::agent::unit::Board;
use crate::media::fmp4::boxes::write_full_box;
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Frame, RunId};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Bytes that a client which has stopped reading may keep from being freed, besides what its socket holds.
const BATCH: usize = 1 << 20;
/// How long a request waits for the first frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// Which run the body is of.
pub const RUN_HEADER: &str = "x-camera-run";
/// Which configuration generation of the run.
pub const GENERATION_HEADER: &str = "x-camera-generation";
/// The whole sequence number of the first frame.
pub const SEQUENCE_HEADER: &str = "x-camera-sequence";
/// The scheme of the event message (`emsg`, ISO/IEC 23009-1 §5.10.3.3) that closes a body whose run has ended; its data is
/// JSON with `run`, `reason`, `message` and `at` (microseconds since 1970).
pub const ENDING_SCHEME: &str = "tag:camera-operator.dev,2026:run-ended";

/// `/v1/cameras/{ns}/{name}/live.mp4`.
pub fn routes(registry: &Arc<Registry>, board: &Arc<Board>) -> Router {
    let cameras = Cameras { registry: registry.clone(), board: board.clone() };
    Router::new().route("/v1/cameras/{ns}/{name}/live.mp4", get(live)).with_state(cameras)
}

/// Hubs, and why one has nothing to give.
#[derive(Debug, Clone)]
struct Cameras {
    registry: Arc<Registry>,
    board: Arc<Board>,
}

impl Cameras {
    /// Why no picture comes, in the camera's own words.
    fn why_not(&self, key: ObjectKey) -> Problem {
        let object = ObjectRef { kind: ObjectKind::Camera, key };
        match self.board.unit(&object) {
            Some(unit) if unit.state != UnitState::Running => Problem::unavailable(unit.reason, unit.message),
            _ => Problem::unavailable(Reason::NoVideo, format!("{object} sends no pictures now.")),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Parameters {
    after: Option<String>,
    /// The client knows that the run of `after` has ended.
    #[serde(default)]
    ended: bool,
}

/// `run:sequence`.
fn parse_after(text: &str) -> Option<(RunId, u64)> {
    let (run, sequence) = text.split_once(':')?;
    Some((RunId(run.parse().ok()?), sequence.parse().ok()?))
}

async fn live(
    State(cameras): State<Cameras>,
    Path((namespace, name)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let key = ObjectKey { namespace, name };
    let hub =
        cameras.registry.hubs.get(&key).ok_or_else(|| Problem::not_found(format!("No camera {key} runs here.")))?;
    let mut resumed = None;
    let reader = match parameters.after.as_deref() {
        None => hub.subscribe(Reach::Whole),
        Some(after) => {
            let (run, sequence) = parse_after(after).ok_or_else(|| {
                Problem::bad_request(
                    "`after` must be run:sequence of the last frame that was received, such as 1795223829123:42.",
                )
            })?;
            resumed = (!parameters.ended).then_some((run, sequence));
            hub.subscribe_after(run, sequence)
        }
    };
    drop(hub);
    let reader = reader.in_batches_of(BATCH);
    let mut body = Live { reader, resumed, events: VecDeque::new(), chunks: VecDeque::new(), begun: false };
    let first = tokio::time::timeout(FIRST_FRAME, body.first()).await;
    let Ok(Some(headers)) = first else {
        return Err(cameras.why_not(key));
    };
    let chunks = stream::unfold(body, |mut body| async move {
        let chunk = body.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), body))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

struct Live {
    reader: Reader,
    /// What the client had last, of a run whose end it has not been told.
    resumed: Option<(RunId, u64)>,
    events: VecDeque<Event>,
    chunks: VecDeque<Bytes>,
    /// The header has been written: another one cannot follow.
    begun: bool,
}

impl Live {
    async fn event(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            self.events.extend(self.reader.next().await?);
        }
        self.events.pop_front()
    }

    /// Waits for the first frame and tells what it is; or for the end of the run that the client was in, which is then all
    /// that the body holds.
    async fn first(&mut self) -> Option<HeaderMap> {
        loop {
            let (run, configuration) = match self.event().await? {
                Event::Configuration { run, configuration } => (run, configuration),
                Event::Ended(ending) => match self.resumed {
                    Some((run, sequence)) if run == ending.run => {
                        self.chunks.push_back(ending_message(&ending));
                        return Some(headers(run, 0, sequence.saturating_add(1)));
                    }
                    _ => continue,
                },
                Event::Frame(_) | Event::Lost(_) => continue,
            };
            self.begun = true;
            self.chunks.push_back(write_header(&configuration, true));
            let Event::Frame(frame) = self.event().await? else { continue };
            self.push(&frame);
            return Some(headers(run, configuration.generation, frame.sequence));
        }
    }

    fn push(&mut self, frame: &Arc<Frame>) {
        let options = FragmentOptions { producer_reference_time: true, ..FragmentOptions::default() };
        let fragment = write_fragment(frame.sequence as u32, std::slice::from_ref(frame), true, options);
        self.chunks.extend(fragment.into_chunks());
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Some(chunk);
            }
            if !self.begun {
                return None;
            }
            match self.event().await? {
                Event::Frame(frame) => self.push(&frame),
                // What was lost shows in the sequence numbers.
                Event::Lost(_) => {}
                Event::Configuration { .. } => return None,
                Event::Ended(ending) => {
                    self.begun = false;
                    self.chunks.push_back(ending_message(&ending));
                }
            }
        }
    }
}

fn headers(run: RunId, generation: u32, sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RUN_HEADER, HeaderValue::from(run.0));
    headers.insert(GENERATION_HEADER, HeaderValue::from(generation));
    headers.insert(SEQUENCE_HEADER, HeaderValue::from(sequence));
    headers
}

/// The end of a run, in band, where readers of media skip it.
fn ending_message(ending: &Ending) -> Bytes {
    let data = json!({
        "run": ending.run,
        "reason": ending.reason,
        "message": ending.message,
        "at": ending.at,
    });
    let mut out = Vec::new();
    write_full_box(&mut out, *b"emsg", 1, 0, |out| {
        out.put_u32(1000);
        out.put_u64(0);
        out.put_u32(0);
        out.put_u32(0);
        out.put_slice(ENDING_SCHEME.as_bytes());
        out.put_slice(b"\0\0");
        out.put_slice(data.to_string().as_bytes());
    });
    out.into()
}
