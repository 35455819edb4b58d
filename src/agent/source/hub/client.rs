//! Asks another agent for a camera's frames: one request, its answer, or why there is none. Must not ask again by itself.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};

use super::decoder::Begin;
use super::relay::Position;
use crate::agent::output::live_mp4::{GENERATION_HEADER, RUN_HEADER, SEQUENCE_HEADER};
use crate::agent::problem::Problem;
use crate::agent::unit::Secret;
use crate::media::frame::RunId;
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

/// How long a connection within a cluster may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take: the other agent waits a while for a first picture.
const ANSWER: Duration = Duration::from_secs(20);
/// A connection whose other end has vanished is found out sooner than the other hub forgets frames.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(3), Duration::from_secs(1), 3);
/// More of an error's body is not read.
const LARGEST_PROBLEM: usize = 64 * 1024;

/// Why nothing more comes. The texts hold no token.
#[derive(Debug)]
pub enum Failure {
    /// The answer ended in order: the run or its configuration did.
    Ended,
    /// No connection, or it broke.
    Connection(String),
    /// An answer that says why not, as the camera's agent sees it.
    Refused(Reason, String),
    /// Something else than an agent answers.
    Unreadable(String),
    /// The connection stands and nothing comes.
    Silent(Duration),
}

impl Failure {
    /// As a reason and a sentence.
    pub fn told(self, address: &Url) -> (Reason, String) {
        let unavailable = |what: String| (Reason::CameraUnavailable, format!("the camera's agent at {address} {what}"));
        match self {
            Self::Ended => unavailable("has ended the stream".into()),
            Self::Connection(error) => unavailable(format!("cannot be reached: {error}")),
            Self::Refused(reason, message) => (reason, message),
            Self::Unreadable(error) => unavailable(format!("answers in a way that cannot be read: {error}")),
            Self::Silent(limit) => unavailable(format!("has said nothing for {:.0} s", limit.as_secs_f64())),
        }
    }
}

/// See the module.
pub struct Client {
    http: reqwest::Client,
    address: Url,
    live: Url,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("live", &self.live.as_str()).finish_non_exhaustive()
    }
}

/// An answer that brings frames.
#[derive(Debug)]
pub struct Answer {
    /// What it begins with.
    pub begin: Begin,
    response: Response,
}

impl Client {
    /// For a camera of the agent whose base URL is `address`.
    ///
    /// # Errors
    /// When that is no such URL; says so in one sentence.
    pub fn new(address: &str, camera: &ObjectKey) -> Result<Self, String> {
        let wrong =
            || format!("{address} is not the address of an agent; write http://front-door-camera.shop.svc:9090");
        let address: Url = address.parse().map_err(|_| wrong())?;
        let mut live = address.clone();
        live.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend([
            "v1",
            "cameras",
            &camera.namespace,
            &camera.name,
            "live.mp4",
        ]);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE.0)
            .tcp_keepalive_interval(KEEP_ALIVE.1)
            .tcp_keepalive_retries(KEEP_ALIVE.2)
            .build()
            .map_err(|error| format!("no HTTP client can be made: {error}"))?;
        Ok(Self { http, address, live })
    }

    /// Whom it asks.
    pub const fn address(&self) -> &Url {
        &self.address
    }

    /// Asks for what follows `position`; without one for all that is there (`everything`) or for what is newest.
    pub fn request(
        &self,
        position: Option<Position>,
        everything: bool,
        token: Option<Secret>,
    ) -> impl Future<Output = Result<Answer, Failure>> + use<> {
        let mut request = self.http.get(self.live.clone());
        let after = match position {
            Some(Position { run, sequence, .. }) => Some(format!("{run}:{sequence}")),
            // No run has this name, so nothing is left out.
            None => everything.then(|| "0:0".to_owned()),
        };
        if let Some(after) = after {
            let ended = position.is_some_and(|position| position.ended).to_string();
            request = request.query(&[("after", after), ("ended", ended)]);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        async move {
            let response = tokio::time::timeout(ANSWER, request.send())
                .await
                .map_err(|_| Failure::Silent(ANSWER))?
                .map_err(|error| Failure::Connection(innermost(&error)))?;
            if response.status() != StatusCode::OK {
                return Err(refusal(response).await);
            }
            let begin = begin(response.headers())
                .ok_or_else(|| Failure::Unreadable("its headers name no run; is it camera-operator?".into()))?;
            Ok(Answer { begin, response })
        }
    }
}

impl Answer {
    /// The next bytes; `None` at the end. Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|error| Failure::Connection(innermost(&error)))
    }
}

fn begin(headers: &HeaderMap) -> Option<Begin> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    Some(Begin {
        run: RunId(text(RUN_HEADER)?.parse().ok()?),
        generation: text(GENERATION_HEADER)?.parse().ok()?,
        sequence: text(SEQUENCE_HEADER)?.parse().ok()?,
    })
}

/// Why an agent does not give the frames: the camera's own reason, where the answer names one.
async fn refusal(mut response: Response) -> Failure {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_PROBLEM {
            break;
        }
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let reason = problem
        .as_ref()
        .and_then(|problem| problem.extensions.get("reason"))
        .and_then(|reason| serde_json::from_value(reason.clone()).ok());
    let detail = problem.map_or_else(|| format!("the camera's agent answers {status}"), |problem| problem.detail);
    Failure::Refused(reason.unwrap_or(Reason::CameraUnavailable), detail)
}

/// What really happened, without the wrapping that repeats the URL.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
