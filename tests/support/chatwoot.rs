//! A strict Chatwoot: one account with one inbox of the kind API, its contacts, conversations and messages. It checks what its
//! application API asks for and answers what is wrong as the real one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::multipart::{self, Part};
use super::{free_port, http, wait};

/// Number of the account.
pub const ACCOUNT: i64 = 3;
/// Number of the inbox.
pub const INBOX: i64 = 7;

/// A message that was taken.
#[derive(Debug, Clone)]
pub struct Written {
    /// In which conversation.
    pub conversation: i64,
    /// Its text.
    pub content: String,
    /// What is attached to it: its type, and whether it is a whole JPEG image.
    pub attachments: Vec<(String, bool)>,
}

#[derive(Default)]
struct Inner {
    /// Identifier of each contact, by its id.
    contacts: BTreeMap<i64, String>,
    /// Contact and status of each conversation, by its id.
    conversations: BTreeMap<i64, (i64, String)>,
    written: Vec<Written>,
    refused: Vec<String>,
}

/// The server.
pub struct Chatwoot {
    /// Where it is.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone)]
struct Account {
    token: String,
    inner: Arc<Mutex<Inner>>,
}

fn source_id(contact: i64) -> String {
    format!("source-{contact}")
}

fn contact(id: i64, identifier: &str) -> Value {
    let inbox =
        json!({"source_id": source_id(id), "inbox": {"id": INBOX, "name": "alerts", "channel_type": "Channel::Api"}});
    json!({"id": id, "name": identifier, "identifier": identifier, "email": null, "contact_inboxes": [inbox]})
}

fn conversation(id: i64, contact: i64, status: &str) -> Value {
    json!({"id": id, "inbox_id": INBOX, "account_id": ACCOUNT, "status": status, "meta": {"sender": {"id": contact}}})
}

type Answered = Result<Value, (u16, Value)>;

async fn answer(State(account): State<Account>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match account.judge(&method, &uri, &headers, &body) {
        Ok(value) => axum::Json(value).into_response(),
        Err((status, value)) => {
            account.inner.lock().unwrap().refused.push(format!("{status} {method} {} {value}", uri.path()));
            (StatusCode::from_u16(status).unwrap(), axum::Json(value)).into_response()
        }
    }
}

impl Account {
    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Answered {
        let missing = || (404, json!({"error": "Resource could not be found"}));
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if headers.get("api_access_token").and_then(|token| token.to_str().ok()) != Some(self.token.as_str()) {
            return Err((401, json!({"error": "Invalid Access Token"})));
        }
        let rest = uri.path().strip_prefix(&format!("/api/v1/accounts/{ACCOUNT}/")).ok_or_else(missing)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let json_body = || {
            let parsed = kind.starts_with("application/json").then(|| serde_json::from_slice::<Value>(body).ok());
            parsed.flatten().ok_or((422, json!({"message": "Param is missing or the value is empty"})))
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| missing());
        let mut inner = self.inner.lock().unwrap();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["contacts", "search"]) => {
                let query = uri.query().and_then(|query| query.strip_prefix("q="));
                let query = query.ok_or((422, json!({"error": "Specify search string with parameter q"})))?;
                let found = inner.contacts.iter().filter(|(_, identifier)| identifier.contains(query));
                let found: Vec<Value> = found.map(|(id, identifier)| contact(*id, identifier)).collect();
                Ok(json!({"meta": {"count": found.len(), "current_page": 1}, "payload": found}))
            }
            ("POST", ["contacts"]) => {
                let new = json_body()?;
                let identifier = new["identifier"].as_str().unwrap_or_default().to_owned();
                if inner.contacts.values().any(|known| *known == identifier) {
                    let message = "Identifier has already been taken";
                    return Err((422, json!({"message": message, "attributes": ["identifier"]})));
                }
                if new["inbox_id"] != INBOX {
                    return Err(missing());
                }
                let id = 100 + inner.contacts.len() as i64;
                inner.contacts.insert(id, identifier.clone());
                let own = json!({"inbox": {"id": INBOX}, "source_id": source_id(id)});
                Ok(json!({"payload": {"contact": contact(id, &identifier), "contact_inbox": own}}))
            }
            ("GET", ["contacts", id, "conversations"]) => {
                let id = number(id)?;
                inner.contacts.get(&id).ok_or_else(missing)?;
                let own = inner.conversations.iter().filter(|(_, (contact, _))| *contact == id);
                let own: Vec<Value> = own.map(|(id, (contact, status))| conversation(*id, *contact, status)).collect();
                Ok(json!({"payload": own}))
            }
            ("POST", ["conversations"]) => {
                let new = json_body()?;
                let id = new["contact_id"].as_i64().filter(|id| inner.contacts.contains_key(id)).ok_or_else(missing)?;
                if new["inbox_id"] != INBOX || new["source_id"] != source_id(id).as_str() {
                    return Err(missing());
                }
                let number = 500 + inner.conversations.len() as i64;
                inner.conversations.insert(number, (id, "open".into()));
                Ok(conversation(number, id, "open"))
            }
            ("POST", ["conversations", id, "messages"]) => {
                let id = number(id)?;
                inner.conversations.get(&id).ok_or_else(missing)?;
                let parts = multipart::parse(kind, body).ok_or((422, json!({"error": "no form"})))?;
                let value = |name: &str| parts.iter().find(|part| part.name == name).map(Part::text);
                let allowed = ["content", "message_type", "private", "attachments[]"];
                assert!(parts.iter().all(|part| allowed.contains(&part.name.as_str())), "{parts:?}");
                if value("message_type").as_deref() != Some("incoming") || value("private").as_deref() != Some("false")
                {
                    return Err((422, json!({"error": "this test wants to be told as by the contact"})));
                }
                let content = value("content").filter(|text| !text.is_empty() && text.chars().count() <= 150_000);
                let content = content.ok_or((422, json!({"error": "Content is too long or empty"})))?;
                let attachments = parts.iter().filter(|part| part.name == "attachments[]");
                let attachments = attachments.map(|part| (part.content_type.clone(), part.is_jpeg())).collect();
                inner.written.push(Written { conversation: id, content, attachments });
                Ok(json!({"id": inner.written.len(), "conversation_id": id, "message_type": 0}))
            }
            _ => Err(missing()),
        }
    }
}

impl Chatwoot {
    /// A server with this access token.
    pub fn start(token: &str) -> Self {
        let inner: Arc<Mutex<Inner>> = Arc::default();
        // Somebody else is there already, and is found by the same letters.
        inner.lock().unwrap().contacts.insert(99, "camera-operator-of-another-shop".into());
        let account = Account { token: token.to_owned(), inner: inner.clone() };
        let router = Router::new().fallback(answer).with_state(account);
        let port = free_port();
        let listener = http::runtime().block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).unwrap();
        http::runtime().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://127.0.0.1:{port}"), inner }
    }

    /// What was taken, in its order.
    pub fn written(&self) -> Vec<Written> {
        self.inner.lock().unwrap().written.clone()
    }

    /// What was refused.
    pub fn refused(&self) -> Vec<String> {
        self.inner.lock().unwrap().refused.clone()
    }

    /// Somebody closes every conversation.
    pub fn resolve_all(&self) {
        for (_, status) in self.inner.lock().unwrap().conversations.values_mut() {
            *status = "resolved".into();
        }
    }

    /// Waits until so many were taken.
    pub fn await_written(&self, count: usize) -> Vec<Written> {
        wait(&format!("{count} messages in Chatwoot; refused: {:?}", self.refused()), || {
            Some(self.written()).filter(|written| written.len() >= count)
        })
    }
}
