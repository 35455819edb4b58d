//! What an agent answers while it ends. What it served until now is not unknown, only no longer here: players give up at 404, and
//! ask again at 503. Must not know what is served.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;

use crate::agent::problem::Problem;
use crate::plan::report::Reason;

/// Seconds until whoever asks again finds the agent that takes over.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Once `ending` is cancelled, 404 becomes 503.
pub async fn elsewhere(State(ending): State<CancellationToken>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    // It may have been asked before the end began.
    if response.status() != StatusCode::NOT_FOUND || !ending.is_cancelled() {
        return response;
    }
    let problem = Problem::unavailable(Reason::ShuttingDown, "this agent ends; ask again for the one that takes over");
    let mut response = problem.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_gone_while_it_ends_is_elsewhere() {
        let ending = CancellationToken::new();
        let routes = Router::new().route("/there", get(async || "there"));
        let routes = routes.layer(from_fn_with_state(ending.clone(), elsewhere));
        let ask = async |path: &str| {
            let response = routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER))
        };
        assert_eq!((ask("/there").await, ask("/gone").await), ((200, false), (404, false)));
        ending.cancel();
        assert_eq!((ask("/there").await, ask("/gone").await), ((200, false), (503, true)));
    }
}
