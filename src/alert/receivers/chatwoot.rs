//! A message in a conversation of Chatwoot (its application API): the contact is looked for and made where there is none, the
//! same with an open conversation of it, and the message comes with the latest picture. Whatever of that was done when a
//! delivery fails is found again by the next attempt.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Access, Receive, SendError, detail, named};
use crate::alert::message::Message;
use crate::api::alert_receiver::Chatwoot;

const CONTACT: &str = "camera-operator";
/// Longest text of a message, in characters (Chatwoot's own bound is 150,000).
const MAX_TEXT: usize = 20_000;

/// Talks to one account.
struct Account<'a> {
    chatwoot: &'a Chatwoot,
    http: &'a reqwest::Client,
    token: String,
}

/// A contact, and how it is known in the inbox.
struct Contact {
    id: i64,
    source_id: Option<String>,
}

impl Account<'_> {
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, SendError> {
        let base = self.chatwoot.base_url.trim_end_matches('/');
        let url = format!("{base}/api/v1/accounts/{}/{path}", self.chatwoot.account_id);
        let url = reqwest::Url::parse(&url).map_err(|_| SendError::NotAUrl)?;
        Ok(self.http.request(method, url).header("api_access_token", &self.token))
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, SendError> {
        let response = request.send().await?;
        let status = response.status();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let answer: Value = response.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let said = ["message", "error", "description"].iter().find_map(|field| answer[field].as_str());
        Err(SendError::Refused {
            status: status.as_u16(),
            detail: said.and_then(|said| detail(said, &self.token)),
            retry_after,
        })
    }

    fn identifier(&self) -> &str {
        self.chatwoot.contact_identifier.as_deref().unwrap_or(CONTACT)
    }

    /// The `source_id` of a contact in our inbox, out of its `contact_inboxes`.
    fn source_id(&self, contact: &Value) -> Option<String> {
        let inboxes = contact["contact_inboxes"].as_array()?;
        let ours = inboxes.iter().find(|one| one["inbox"]["id"].as_i64() == Some(self.chatwoot.inbox_id))?;
        ours["source_id"].as_str().map(str::to_owned)
    }

    async fn contact(&self) -> Result<Contact, SendError> {
        let search = self.request(Method::GET, "contacts/search")?.query(&[("q", self.identifier())]);
        let found = self.call(search).await?;
        // The search also finds what only holds these letters.
        let found = found["payload"].as_array().and_then(|all| {
            all.iter().find(|contact| contact["identifier"].as_str() == Some(self.identifier())).cloned()
        });
        if let Some(contact) = found
            && let Some(id) = contact["id"].as_i64()
        {
            return Ok(Contact { id, source_id: self.source_id(&contact) });
        }
        let new =
            json!({"inbox_id": self.chatwoot.inbox_id, "name": self.identifier(), "identifier": self.identifier()});
        let made = self.call(self.request(Method::POST, "contacts")?.json(&new)).await?;
        let payload = &made["payload"];
        let id = payload["contact"]["id"].as_i64().ok_or_else(|| odd("a contact without an id"))?;
        let source_id = payload["contact_inbox"]["source_id"].as_str().map(str::to_owned);
        Ok(Contact { id, source_id: source_id.or_else(|| self.source_id(&payload["contact"])) })
    }

    async fn conversation(&self, contact: &Contact) -> Result<i64, SendError> {
        let path = format!("contacts/{}/conversations", contact.id);
        let found = self.call(self.request(Method::GET, &path)?).await?;
        let is_open = |one: &&Value| {
            one["inbox_id"].as_i64() == Some(self.chatwoot.inbox_id) && one["status"].as_str() != Some("resolved")
        };
        let open =
            found["payload"].as_array().and_then(|all| all.iter().find(is_open)).and_then(|one| one["id"].as_i64());
        if let Some(open) = open {
            return Ok(open);
        }
        let mut new = json!({"inbox_id": self.chatwoot.inbox_id, "contact_id": contact.id, "status": "open"});
        if let Some(source_id) = &contact.source_id {
            new["source_id"] = source_id.as_str().into();
        }
        let made = self.call(self.request(Method::POST, "conversations")?.json(&new)).await?;
        made["id"].as_i64().ok_or_else(|| odd("a conversation without an id"))
    }

    async fn write(&self, conversation: i64, message: &Message) -> Result<(), SendError> {
        let text: String = message.body.chars().take(MAX_TEXT).collect();
        let mut form = Form::new().text("content", text).text("message_type", "incoming").text("private", "false");
        if let Some(picture) = &message.picture {
            let length = picture.jpeg.len() as u64;
            let part = Part::stream_with_length(picture.jpeg.clone(), length).file_name("camera.jpg");
            form = form.part("attachments[]", part.mime_str("image/jpeg")?);
        }
        let path = format!("conversations/{conversation}/messages");
        self.call(self.request(Method::POST, &path)?.multipart(form)).await.map(|_| ())
    }
}

fn odd(what: &str) -> SendError {
    SendError::Invalid(format!("it answered with {what}: look whether baseUrl leads to Chatwoot"))
}

impl Receive for Chatwoot {
    fn type_(&self) -> &'static str {
        "chatwoot"
    }

    fn secrets(&self) -> Vec<(String, String)> {
        vec![named(&self.token_secret_ref)]
    }

    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let token = access.secret(&self.token_secret_ref).await?;
            let account = Account { chatwoot: self, http: access.http, token };
            let contact = account.contact().await?;
            let conversation = account.conversation(&contact).await?;
            account.write(conversation, message).await
        }
        .boxed()
    }
}
