//! An incoming webhook of Slack, or of what takes the same.

use serde_json::json;

use super::{ReadSecret, SendError, accepted, secret};
use crate::alert::engine::Delivery;
use crate::alert::text;
use crate::api::alert_route::Slack;

pub(super) async fn send(
    http: &reqwest::Client,
    slack: &Slack,
    delivery: &Delivery,
    read: ReadSecret<'_>,
) -> Result<(), SendError> {
    let url = reqwest::Url::parse(&secret(read, &slack.url_secret_ref)?).map_err(|_| SendError::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SendError::NotAUrl);
    }
    // The three characters that Slack's text gives a meaning.
    let text = text::body(delivery).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    accepted(&http.post(url).json(&json!({"text": text})).send().await?)
}
