//! A message of a Telegram bot: `sendMessage` of the Bot API.

use serde_json::{Value, json};

use super::{ReadSecret, SendError, secret};
use crate::alert::engine::Delivery;
use crate::alert::text;
use crate::api::alert_route::Telegram;

const API: &str = "https://api.telegram.org";
/// Longest text of a message, in characters (Bot API, `sendMessage`).
const MAX_TEXT: usize = 4096;

pub(super) async fn send(
    http: &reqwest::Client,
    telegram: &Telegram,
    delivery: &Delivery,
    read: ReadSecret<'_>,
) -> Result<(), SendError> {
    let token = secret(read, &telegram.bot_token_secret_ref)?;
    let base = telegram.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
    let url = reqwest::Url::parse(&format!("{base}/bot{token}/sendMessage")).map_err(|_| SendError::NotAUrl)?;
    let text: String = text::body(delivery).chars().take(MAX_TEXT).collect();
    let response = http.post(url).json(&json!({"chat_id": telegram.chat_id, "text": text})).send().await?;
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_default();
    if status.is_success() && answer["ok"] == true {
        return Ok(());
    }
    let detail = answer["description"].as_str().map(|detail| detail.replace(token.as_str(), "…"));
    Err(SendError::Refused {
        status: status.as_u16(),
        detail: detail.map(|detail| detail.chars().take(200).collect()),
        retry_after: answer["parameters"]["retry_after"].as_i64(),
    })
}
