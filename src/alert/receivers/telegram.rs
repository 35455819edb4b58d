//! A message of a Telegram bot: `sendPhoto` of the Bot API with the latest picture, or `sendMessage` where there is none or the
//! text is too long for a caption.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::{Access, Receive, SendError, detail, named};
use crate::alert::message::Message;
use crate::api::alert_receiver::Telegram;

const API: &str = "https://api.telegram.org";
/// Longest text of a message, in UTF-16 code units after entities (Bot API, `sendMessage`).
const MAX_TEXT: usize = 4096;
/// Longest caption of a photo, in the same (Bot API, `sendPhoto`).
const MAX_CAPTION: usize = 1024;
/// Largest photo in bytes (Bot API, sending files).
const MAX_PHOTO: usize = 10 << 20;

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The first so many units of a text, whole characters.
fn cut(text: &str, most: usize) -> String {
    let mut left = most;
    text.chars()
        .take_while(|character| {
            let length = character.len_utf16();
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        })
        .collect()
}

impl Telegram {
    async fn call(&self, request: reqwest::RequestBuilder, token: &str) -> Result<(), SendError> {
        let response = request.send().await?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if status.is_success() && answer["ok"] == true {
            return Ok(());
        }
        Err(SendError::Refused {
            status: status.as_u16(),
            detail: answer["description"].as_str().and_then(|said| detail(said, token)),
            retry_after: answer["parameters"]["retry_after"].as_i64(),
        })
    }
}

impl Receive for Telegram {
    fn type_(&self) -> &'static str {
        "telegram"
    }

    fn secrets(&self) -> Vec<(String, String)> {
        vec![named(&self.bot_token_secret_ref)]
    }

    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let token = access.secret(&self.bot_token_secret_ref).await?;
            let base = self.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
            let url = |method: &str| {
                reqwest::Url::parse(&format!("{base}/bot{token}/{method}")).map_err(|_| SendError::NotAUrl)
            };
            let picture = message.picture.as_ref().filter(|picture| picture.jpeg.len() <= MAX_PHOTO);
            if let Some(picture) = picture.filter(|_| units(&message.body) <= MAX_CAPTION) {
                let length = picture.jpeg.len() as u64;
                let photo = Part::stream_with_length(picture.jpeg.clone(), length).file_name("camera.jpg");
                let photo = photo.mime_str("image/jpeg")?;
                let form = Form::new().text("chat_id", self.chat_id.clone()).text("caption", message.body.clone());
                let request = access.http.post(url("sendPhoto")?).multipart(form.part("photo", photo));
                match self.call(request, &token).await {
                    // A picture that Telegram does not like (400) is no reason to tell nothing.
                    Err(SendError::Refused { status: 400, .. }) => {}
                    sent => return sent,
                }
            }
            let text = cut(&message.body, MAX_TEXT);
            let request = access.http.post(url("sendMessage")?).json(&json!({"chat_id": self.chat_id, "text": text}));
            self.call(request, &token).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_whole_characters_by_telegrams_count() {
        assert_eq!(units("a🔴"), 3);
        assert_eq!(cut("a🔴b", 2), "a");
        assert_eq!(cut("a🔴b", 3), "a🔴");
        assert_eq!(cut("a🔴b", 9), "a🔴b");
    }
}
