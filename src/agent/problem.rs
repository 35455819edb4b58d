//! Errors over HTTP as RFC 9457 `application/problem+json`: one shape for the agent's own paths and for the gateway, which
//! re-exports it. Must hold nothing secret: every text goes to the caller as it is.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::plan::report::Reason;

/// What every problem type begins with: a `tag` URI (RFC 4151), which RFC 9457 §3.1.1 recommends where there is no page to
/// look up.
pub const TYPE_PREFIX: &str = "tag:camera-operator.dev,2026:problem/";

/// An error body of RFC 9457 §3.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable URI of the kind of problem: [`TYPE_PREFIX`] and a slug such as `not-found`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The kind of problem in a few words; the same for every occurrence.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What is wrong with this request and what to do instead.
    pub detail: String,
    /// The numeric code of the documented table (101 camera unreachable, …), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Further members of the body, such as `spans`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub extensions: Box<Map<String, Value>>,
}

impl Problem {
    /// A problem of the kind `slug`.
    pub fn new(status: StatusCode, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            type_: format!("{TYPE_PREFIX}{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: None,
            extensions: Box::default(),
        }
    }

    /// 404: nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    /// 409: the request is right, but the state of the object forbids it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// 503: not now, for this reason; carries the reason's code and its name as the member `reason`.
    pub fn unavailable(reason: Reason, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail).with_reason(reason)
    }

    /// 500: our fault, or the machine's.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// Adds a condition reason as the member `reason`, and its code.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.code = reason.code();
        self.with("reason", reason)
    }

    /// Adds a member of the body; one that cannot be written as JSON is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.extensions.insert(name.to_owned(), value);
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (status, headers, body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_beside_the_standard_ones() -> Result<(), serde_json::Error> {
        let problem = Problem::unavailable(Reason::Stalled, "No new picture for 12 s.").with("since", 12);
        let json = serde_json::to_value(&problem)?;
        assert_eq!(
            json,
            serde_json::json!({
                "type": "tag:camera-operator.dev,2026:problem/unavailable",
                "title": "Not available now",
                "status": 503,
                "detail": "No new picture for 12 s.",
                "code": 101,
                "reason": "Stalled",
                "since": 12,
            })
        );
        assert_eq!(serde_json::from_value::<Problem>(json)?, problem);
        Ok(())
    }

    #[test]
    fn the_response_names_the_media_type_of_the_standard() {
        let response = Problem::not_found("There is no recording `x`.").into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
