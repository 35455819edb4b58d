//! An incoming webhook of Slack, or of what takes the same.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;

use super::{Access, Receive, SendError, accepted, named};
use crate::alert::message::Message;
use crate::api::alert_receiver::Slack;

impl Receive for Slack {
    fn type_(&self) -> &'static str {
        "slack"
    }

    fn secrets(&self) -> Vec<(String, String)> {
        vec![named(&self.url_secret_ref)]
    }

    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let url =
                reqwest::Url::parse(&access.secret(&self.url_secret_ref).await?).map_err(|_| SendError::NotAUrl)?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(SendError::NotAUrl);
            }
            // The three characters that Slack's text gives a meaning.
            let text = message.body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            accepted(&access.http.post(url).json(&json!({"text": text})).send().await?)
        }
        .boxed()
    }
}
