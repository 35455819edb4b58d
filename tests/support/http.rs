//! A blocking HTTP client over the one that the program itself uses.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{ClientBuilder, RequestBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

/// The runtime that the blocking calls run on.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// What a client of a test's own begins with.
pub fn builder() -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1))
}

/// The client of all tests.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    // Certificates are judged by the tests of certificates, with clients of their own.
    CLIENT.get_or_init(|| builder().tls_danger_accept_invalid_certs(true).build().unwrap())
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Any request; `Err` where there is no whole answer.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    runtime().block_on(request_async(method, url, headers))
}

/// [`request`] for those who make many at once.
pub async fn request_async(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    send(client().request(method.parse().unwrap(), url), headers).await
}

/// POST of JSON; `Err` where there is no whole answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: String) -> Result<Answer, String> {
    let request = client().post(url).header("content-type", "application/json").body(body);
    runtime().block_on(send(request, headers))
}

async fn send(mut request: RequestBuilder, headers: &[(&str, &str)]) -> Result<Answer, String> {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.map_err(|error| error.to_string())?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    Ok(Answer { status, headers, body })
}

/// GET; `Err` where there is no whole answer.
pub fn get(url: &str) -> Result<Answer, String> {
    request("GET", url, &[])
}
