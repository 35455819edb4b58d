//! How the operator reaches the API server: every request is counted, every answered list and watch is a sign of life, and a
//! write goes out only while this process leads. Must not know what is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Method, Request, Response};
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use super::election::Leadership;
use super::metrics::Metrics;

/// What the User-Agent header says.
const USER_AGENT: &str = concat!("camera-operator/", env!("CARGO_PKG_VERSION"));

/// When each watched resource last showed that its watch is alive.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<HashMap<String, Instant>>>);

impl Progress {
    /// A sign of life of the watch of a resource (plural name).
    pub fn touch(&self, resource: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(resource) {
            Some(at) => *at = Instant::now(),
            None => {
                seen.insert(resource.to_owned(), Instant::now());
            }
        }
    }

    /// How long ago that was.
    pub fn age(&self, resource: &str) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(resource).map(Instant::elapsed)
    }
}

/// A write was not sent, because this process does not lead (any more).
#[derive(Debug, thiserror::Error)]
#[error("not written: this process does not lead")]
pub struct NotLeading;

/// Makes a client whose requests are counted; with `leadership`, one that writes only while it is held.
///
/// # Errors
/// When the configuration holds no usable certificates or credentials.
pub fn client(
    mut config: Config,
    metrics: &Metrics,
    progress: &Progress,
    leadership: Option<&Leadership>,
) -> kube::Result<Client> {
    // A retry inside of the client could send a write after the deadline; what fails is tried again by its caller.
    config.default_retry = false;
    if let Ok(name) = USER_AGENT.parse() {
        config.headers.push((axum::http::header::USER_AGENT, name));
    }
    let layer = ObserveLayer { metrics: metrics.clone(), progress: progress.clone(), leadership: leadership.cloned() };
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Debug, Clone)]
struct ObserveLayer {
    metrics: Metrics,
    progress: Progress,
    leadership: Option<Leadership>,
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observer: self.clone() }
    }
}

#[derive(Debug)]
struct Observe<S> {
    inner: S,
    observer: ObserveLayer,
}

impl<S, B> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::of(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        if call.writes() && self.observer.leadership.as_ref().is_some_and(|leadership| !leadership.is_held()) {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let observer = self.observer.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let code = answer.as_ref().map_or("error", |response| match response.status().as_u16() {
                200 => "200",
                201 => "201",
                400 => "400",
                401 => "401",
                403 => "403",
                404 => "404",
                409 => "409",
                410 => "410",
                422 => "422",
                429 => "429",
                500 => "500",
                503 => "503",
                504 => "504",
                _ => "other",
            });
            observer.metrics.requested(call.verb, &call.resource, code);
            // Refused or unanswered attempts count too: a server that is away is no reason to start the operator again. What
            // liveness looks for is a watch that does not even try.
            if matches!(call.verb, "list" | "watch") {
                observer.progress.touch(&call.resource);
            }
            answer
        })
    }
}

/// What a request is, in the words of the Kubernetes API.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    verb: &'static str,
    /// Plural, with the subresource behind a slash.
    resource: String,
}

impl Call {
    /// Paths are `/api/v1/…` or `/apis/<group>/<version>/…`, then `namespaces/<namespace>/<resource>/<name>/<subresource>`
    /// or without the namespace.
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let (resource, named) = match rest {
            [] => ("none".to_owned(), true),
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, subresource, ..] => (format!("{resource}/{subresource}"), true),
        };
        let watches = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
        let verb = match *method {
            Method::GET if watches => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }

    fn writes(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_the_api_names_them() {
        let call = |method: &Method, path: &str, query: &str| {
            let Call { verb, resource } = Call::of(method, path, query);
            format!("{verb} {resource}")
        };
        let group = "/apis/camera-operator.dev/v1alpha1";
        assert_eq!(call(&Method::GET, &format!("{group}/cameras"), "limit=500"), "list cameras");
        assert_eq!(call(&Method::GET, &format!("{group}/cameras"), "watch=true&timeoutSeconds=290"), "watch cameras");
        let path = format!("{group}/namespaces/shop/cameras/door/status");
        assert_eq!(call(&Method::PATCH, &path, "fieldManager=x"), "patch cameras/status");
        assert_eq!(call(&Method::GET, "/api/v1/namespaces/shop/services/door-camera", ""), "get services");
        assert_eq!(call(&Method::POST, "/apis/events.k8s.io/v1/namespaces/shop/events", ""), "create events");
        assert_eq!(call(&Method::GET, "/openid/v1/jwks", ""), "get none");
        assert_eq!(call(&Method::DELETE, "/api/v1/namespaces/shop/configmaps/a", ""), "delete configmaps");
    }

    #[tokio::test]
    async fn only_the_leader_writes() {
        let metrics = Metrics::new().unwrap();
        let observer = ObserveLayer {
            metrics: metrics.clone(),
            progress: Progress::default(),
            leadership: Some(Leadership::default()),
        };
        let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(Body::empty())) });
        let mut service = observer.layer(inner);
        let request = |method| Request::builder().method(method).uri("/api/v1/pods").body(Body::empty()).unwrap();
        assert!(service.call(request(Method::GET)).await.is_ok());
        assert!(observer.progress.age("pods").is_some());
        for method in [Method::PATCH, Method::POST, Method::DELETE, Method::PUT] {
            let refused = service.call(request(method)).await.err().unwrap();
            assert!(refused.is::<NotLeading>());
        }
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(!text.contains("verb=\"patch\""), "what was not sent is not counted: {text}");
    }
}
