//! A strict incoming webhook of Slack: knows one address, checks what its documentation asks for, and answers what is wrong as the
//! real one does, with its code and its words.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;

use super::{free_port, http, wait};

/// Longest text of a message, in characters.
const MAX_TEXT: usize = 40_000;

#[derive(Default)]
struct Inner {
    texts: Vec<String>,
    refused: Vec<String>,
}

/// The server.
pub struct Slack {
    /// Its address, which is a secret as a whole.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone)]
struct Channel {
    path: String,
    inner: Arc<Mutex<Inner>>,
}

async fn answer(
    State(channel): State<Channel>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let mut inner = channel.inner.lock().unwrap();
    match channel.judge(&method, &uri, &headers, &body) {
        Ok(text) => {
            inner.texts.push(text);
            (StatusCode::OK, "ok")
        }
        Err((status, why)) => {
            inner.refused.push(format!("{status} {why}: {}", String::from_utf8_lossy(&body)));
            (status, why)
        }
    }
}

/// Whether a text is escaped: `&` only as one of the three entities, and no bare angle bracket.
fn is_escaped(text: &str) -> bool {
    let entities = ["amp;", "lt;", "gt;"];
    let ampersands = text.split('&').skip(1).all(|rest| entities.iter().any(|entity| rest.starts_with(entity)));
    ampersands && !text.contains(['<', '>'])
}

impl Channel {
    fn judge(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<String, (StatusCode, &'static str)> {
        if uri.path() != self.path || uri.query().is_some() {
            return Err((StatusCode::NOT_FOUND, "no_service"));
        }
        let is_json = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let parsed: Option<Value> = serde_json::from_slice(body).ok().filter(|_| is_json && method == Method::POST);
        let payload = parsed.ok_or((StatusCode::BAD_REQUEST, "invalid_payload"))?;
        let text = payload["text"].as_str().filter(|text| !text.trim().is_empty());
        let text = text.ok_or((StatusCode::BAD_REQUEST, "no_text"))?;
        if text.chars().count() > MAX_TEXT {
            return Err((StatusCode::BAD_REQUEST, "msg_too_long"));
        }
        if !is_escaped(text) {
            return Err((StatusCode::BAD_REQUEST, "invalid_payload"));
        }
        Ok(text.to_owned())
    }
}

impl Slack {
    /// A server with this path.
    pub fn start(path: &str) -> Self {
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let channel = Channel { path: path.to_owned(), inner: inner.clone() };
        let router = Router::new().fallback(answer).with_state(channel);
        let port = free_port();
        let listener = http::runtime().block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).unwrap();
        http::runtime().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://127.0.0.1:{port}{path}"), inner }
    }

    /// The texts that were taken, in their order.
    pub fn texts(&self) -> Vec<String> {
        self.inner.lock().unwrap().texts.clone()
    }

    /// What was refused.
    pub fn refused(&self) -> Vec<String> {
        self.inner.lock().unwrap().refused.clone()
    }

    /// Waits until so many were taken.
    pub fn await_texts(&self, count: usize) -> Vec<String> {
        wait(&format!("{count} texts in Slack; refused: {:?}", self.refused()), || {
            Some(self.texts()).filter(|texts| texts.len() >= count)
        })
    }
}
