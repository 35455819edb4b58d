//! Receivers of alerts: an HTTP server that takes what is posted to it, remembers it, and can be taken away and brought back.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{free_port, http, wait};

/// One request.
#[derive(Debug, Clone)]
pub struct Posted {
    /// When it was here.
    pub at: jiff::Timestamp,
    /// Path of the URL.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as it came.
    pub body: Bytes,
}

impl Posted {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// The server.
pub struct Hook {
    /// Where it listens.
    pub port: u16,
    address: String,
    seen: Arc<Mutex<Vec<Posted>>>,
    holds: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

/// What was taken, and whether answers are held back.
type Shared = (Arc<Mutex<Vec<Posted>>>, watch::Receiver<bool>);

async fn take(
    State((seen, mut holds)): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let at = jiff::Timestamp::now();
    let is_json = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if method != Method::POST || !is_json || serde_json::from_slice::<Value>(&body).is_err() {
        return (StatusCode::BAD_REQUEST, json!({"ok": false, "description": "Bad Request: no JSON"}).to_string());
    }
    seen.lock().unwrap().push(Posted { at, path: uri.path().to_owned(), headers, body });
    let _ = holds.wait_for(|holds| !holds).await;
    (StatusCode::OK, json!({"ok": true, "result": {}}).to_string())
}

impl Hook {
    /// A server that is there.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// The same at another address of this machine.
    pub fn start_at(address: &str) -> Self {
        let mut hook = Self {
            address: address.to_owned(),
            port: free_port(),
            seen: Arc::default(),
            holds: watch::channel(false).0,
            running: None,
        };
        hook.back();
        hook
    }

    /// Brings it back on its port.
    pub fn back(&mut self) {
        let router = Router::new().fallback(take).with_state((self.seen.clone(), self.holds.subscribe()));
        let listener =
            http::runtime().block_on(tokio::net::TcpListener::bind((self.address.as_str(), self.port))).unwrap();
        self.running = Some(http::runtime().spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// Takes it away: connections are refused.
    pub fn away(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.abort();
        let _ = http::runtime().block_on(running);
    }

    /// Takes what comes from now on, and does not say so before it is allowed to.
    pub fn hold_answers(&self, holds: bool) {
        self.holds.send_replace(holds);
    }

    /// What was taken at a path, in its order.
    pub fn at(&self, path: &str) -> Vec<Posted> {
        self.seen.lock().unwrap().iter().filter(|posted| posted.path == path).cloned().collect()
    }

    /// Waits until so many were taken at a path, and returns them.
    pub fn await_at(&self, path: &str, count: usize) -> Vec<Posted> {
        wait(&format!("{count} messages at {path}"), || Some(self.at(path)).filter(|all| all.len() >= count))
    }
}
