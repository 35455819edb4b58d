//! A strict Telegram Bot API: knows one bot and one chat, checks what the documentation of `sendMessage` and `sendPhoto` asks for,
//! and answers what is wrong as the real one does, with its code and its words.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::multipart::{self, Part};
use super::{free_port, http, wait};

/// A message that was taken.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its text or caption.
    pub text: String,
    /// Its photo.
    pub photo: Option<Vec<u8>>,
}

#[derive(Default)]
struct Inner {
    sent: Vec<Sent>,
    refused: Vec<String>,
    /// Nobody may ask before.
    flood: Option<Instant>,
    /// How many asked all the same.
    early: usize,
}

/// The server.
pub struct Telegram {
    /// Where it is.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone)]
struct Bot {
    token: String,
    chat: String,
    inner: Arc<Mutex<Inner>>,
}

fn refusal(code: u16, description: &str) -> Response {
    let body = json!({"ok": false, "error_code": code, "description": description});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

/// Parameters as JSON or as a form, as the API takes them.
fn parameters(headers: &HeaderMap, body: &Bytes) -> Option<Vec<Part>> {
    let kind = headers.get("content-type")?.to_str().ok()?;
    if kind.starts_with("multipart/form-data") {
        return multipart::parse(kind, body);
    }
    let values: Value = serde_json::from_slice(body).ok().filter(|_| kind.starts_with("application/json"))?;
    let part = |(name, value): (&String, &Value)| Part {
        name: name.clone(),
        file_name: None,
        content_type: String::new(),
        body: value.as_str().map_or_else(|| value.to_string(), str::to_owned).into_bytes(),
    };
    Some(values.as_object()?.iter().map(part).collect())
}

async fn answer(State(bot): State<Bot>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answered = bot.judge(&method, uri.path(), &headers, &body);
    answered.unwrap_or_else(|(code, description)| {
        bot.inner.lock().unwrap().refused.push(format!("{code} {description}"));
        refusal(code, &description)
    })
}

impl Bot {
    fn judge(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Result<Response, (u16, String)> {
        let bad = |description: &str| (400, format!("Bad Request: {description}"));
        let Some((token, name)) = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) else {
            return Err((404, "Not Found".into()));
        };
        if token != self.token {
            return Err((401, "Unauthorized".into()));
        }
        if method != Method::POST || !matches!(name, "sendMessage" | "sendPhoto") {
            return Err((404, "Not Found".into()));
        }
        let mut inner = self.inner.lock().unwrap();
        if let Some(until) = inner.flood {
            if Instant::now() < until {
                inner.early += 1;
            }
            inner.flood = None;
        }
        let parameters = parameters(headers, body).ok_or_else(|| bad("can't parse parameters"))?;
        let value = |name: &str| parameters.iter().find(|part| part.name == name);
        let chat = value("chat_id").map(Part::text).ok_or_else(|| bad("chat_id is empty"))?;
        if chat != self.chat {
            return Err(bad("chat not found"));
        }
        let units = |text: &str| text.encode_utf16().count();
        let sent = if name == "sendPhoto" {
            let photo = value("photo").ok_or_else(|| bad("there is no photo in the request"))?;
            if photo.file_name.is_none() {
                return Err(bad("wrong remote file identifier specified: Wrong character in the string"));
            }
            if !photo.is_jpeg() {
                return Err(bad("IMAGE_PROCESS_FAILED"));
            }
            let text = value("caption").map(Part::text).unwrap_or_default();
            if units(&text) > 1024 {
                return Err(bad("message caption is too long"));
            }
            Sent { text, photo: Some(photo.body.clone()) }
        } else {
            let text = value("text").map(Part::text).unwrap_or_default();
            if text.trim().is_empty() {
                return Err(bad("message text is empty"));
            }
            if units(&text) > 4096 {
                return Err(bad("message is too long"));
            }
            Sent { text, photo: None }
        };
        let result =
            json!({"message_id": inner.sent.len() + 1, "date": 0, "chat": {"id": self.chat, "type": "supergroup"}});
        inner.sent.push(sent);
        Ok(axum::Json(json!({"ok": true, "result": result})).into_response())
    }
}

/// Answers 429 once, and then leaves the rest to [`answer`].
async fn flooded(State(bot): State<Bot>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let wants_flood = {
        let mut inner = bot.inner.lock().unwrap();
        let is_first = inner.refused.is_empty();
        if is_first {
            inner.refused.push("429".into());
            inner.flood = Some(Instant::now() + Duration::from_secs(3));
        }
        is_first
    };
    if !wants_flood {
        return answer(State(bot), method, uri, headers, body).await;
    }
    let description = "Too Many Requests: retry after 3";
    let body = json!({"ok": false, "error_code": 429, "description": description, "parameters": {"retry_after": 3}});
    (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response()
}

impl Telegram {
    /// A server that knows this bot and this chat.
    pub fn start(token: &str, chat: &str) -> Self {
        Self::serve("127.0.0.1", token, chat, false)
    }

    /// The same at another address of this machine.
    pub fn start_at(address: &str, token: &str, chat: &str) -> Self {
        Self::serve(address, token, chat, false)
    }

    /// The same; it answers the first request with 429 and 3 s.
    pub fn flooded(token: &str, chat: &str) -> Self {
        Self::serve("127.0.0.1", token, chat, true)
    }

    fn serve(address: &str, token: &str, chat: &str, is_flooded: bool) -> Self {
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let bot = Bot { token: token.to_owned(), chat: chat.to_owned(), inner: inner.clone() };
        let router = if is_flooded { Router::new().fallback(flooded) } else { Router::new().fallback(answer) };
        let port = free_port();
        let listener = http::runtime().block_on(tokio::net::TcpListener::bind((address, port))).unwrap();
        http::runtime().spawn(async move { axum::serve(listener, router.with_state(bot)).await.unwrap() });
        Self { url: format!("http://{address}:{port}"), inner }
    }

    /// What was taken, in its order.
    pub fn sent(&self) -> Vec<Sent> {
        self.inner.lock().unwrap().sent.clone()
    }

    /// What was refused: code and description.
    pub fn refused(&self) -> Vec<String> {
        self.inner.lock().unwrap().refused.clone()
    }

    /// How many requests came before the time that 429 had asked for.
    pub fn early(&self) -> usize {
        self.inner.lock().unwrap().early
    }

    /// Waits until so many were taken.
    pub fn await_sent(&self, count: usize) -> Vec<Sent> {
        wait(&format!("{count} Telegram messages; refused: {:?}", self.refused()), || {
            Some(self.sent()).filter(|sent| sent.len() >= count)
        })
    }
}
