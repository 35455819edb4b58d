//! Stands before an agent's HTTP interface and lets through whom the plan in force allows.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{Area, Refusal, Verifier};
use crate::agent::problem::Problem;

/// Whom to let through now.
#[derive(Debug, Clone, Default)]
enum Rules {
    /// Everybody, as in `run`.
    #[default]
    Open,
    /// Nobody yet: a pod that has not read its plan.
    Closed,
    /// Those whose tokens say so.
    Tokens(Arc<Verifier>),
}

/// The gate; the plan sets its rules.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Rules>,
}

impl Gate {
    fn set(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.set(Rules::Open);
    }

    /// Lets nobody through to more than probes and metrics, until a plan says who may.
    pub fn close(&self) {
        self.set(Rules::Closed);
    }

    /// Lets those through whose tokens this verifies.
    pub fn verify_by(&self, verifier: Verifier) {
        self.set(Rules::Tokens(Arc::new(verifier)));
    }

    /// Whether a request may pass.
    fn check(&self, request: &Request) -> Result<(), Problem> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        let area = Area::of(request.uri().path());
        let verifier = match rules {
            Rules::Open => return Ok(()),
            _ if area == Area::Open => return Ok(()),
            Rules::Closed => return Err(no_plan()),
            Rules::Tokens(verifier) => verifier,
        };
        // A browser asks beforehand without any token, and learns nothing but that it may ask.
        let asks_beforehand = request.method() == Method::OPTIONS;
        if area == Area::Media && (asks_beforehand || verifier.trusts_loopback() && is_loopback(request)) {
            return Ok(());
        }
        verifier.verify(bearer(request), area).map_err(|refusal| problem(&refusal))
    }
}

/// For [`axum::middleware::from_fn_with_state`].
pub async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let media = Area::of(request.uri().path()) == Area::Media;
    match gate.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            let mut response = problem.into_response();
            if unauthorized {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            if media {
                // So that a page can tell a refusal from an agent that is not there.
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            response
        }
    }
}

/// Whether the caller is on loopback. In a pod with a network of its own that is `kubectl port-forward`, which its own RBAC
/// guards.
fn is_loopback(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn problem(refusal: &Refusal) -> Problem {
    if refusal.is_known_caller() {
        return Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", refusal.to_string());
    }
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authenticated", refusal.to_string())
}

fn no_plan() -> Problem {
    let detail = "This agent has not read its plan yet, so it does not know who may ask; try again in a moment.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
}
