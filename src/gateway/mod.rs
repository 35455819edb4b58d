//! HTTP for people and apps: objects and their status, actions, events, health, metrics, the description of all that, and
//! the page. Speaks to the world through the small trait [`world::World`]; media comes as a router that is handed in. Must
//! not know whether it stands before files or before a cluster.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub mod alerts;
pub mod cameras;
pub mod events;
pub mod guard;
pub mod health;
pub mod metrics;
pub mod objects;
pub mod openapi;
mod openapi_media;
pub mod page;
pub mod problem;
#[cfg(test)]
mod tests;
pub mod world;

use self::guard::HostPolicy;
use self::metrics::HttpMetrics;
use self::world::World;
use crate::alert::handle::Handle;

/// What a gateway is made of.
pub struct Options {
    /// What it stands before.
    pub world: Arc<dyn World>,
    /// Routes of live and recorded media, and of retention and coverage: everything that does not go through the world.
    pub media: Router,
    /// Prometheus text of the data plane, made at each scrape; the gateway adds its own metrics to it.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Who delivers alerts, where somebody does.
    pub alerts: Option<Handle>,
    /// Under which names it may be addressed.
    pub hosts: HostPolicy,
    /// Cancelled when the program ends: streams of events then end.
    pub shutdown: CancellationToken,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) world: Arc<dyn World>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) data_plane_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) alerts: Option<Handle>,
    pub(crate) shutdown: CancellationToken,
}

/// The routes that are described by the code itself.
fn described() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(objects::list_all))
        .routes(routes!(objects::list))
        .routes(routes!(objects::get))
        .routes(routes!(objects::start))
        .routes(routes!(objects::stop))
        .routes(routes!(objects::restart))
        .routes(routes!(objects::logs))
        .routes(routes!(events::all))
        .routes(routes!(events::of_namespace))
        .routes(routes!(cameras::snapshot))
        .routes(routes!(cameras::test))
        .routes(routes!(alerts::test))
        .routes(routes!(alerts::alertmanager))
        .routes(routes!(health::health))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// Everything over HTTP.
///
/// # Errors
/// When the gateway's metrics cannot be made, which is a mistake of the program.
pub fn router(options: Options) -> Result<Router, prometheus::Error> {
    let Options { world, media, metrics: data_plane_metrics, alerts, hosts, shutdown } = options;
    let registry = prometheus::Registry::new();
    let http = HttpMetrics::register(&registry)?;
    metrics::register_objects(&registry, world.clone())?;
    let gateway = Gateway { world, registry, data_plane_metrics, alerts, shutdown };
    let (described, _) = described().split_for_parts();
    let pages = described
        .merge(openapi::routes())
        .fallback(page::serve)
        // Media is compressed already; only text is worth it.
        .layer(CompressionLayer::new())
        .with_state(gateway);
    // One layer for all of it: each further one is cloned and boxed for every request.
    Ok(pages.merge(media).layer(from_fn_with_state(Arc::new(Entrance { hosts, http }), enter)))
}

/// What every request goes through.
struct Entrance {
    hosts: HostPolicy,
    http: HttpMetrics,
}

/// Middleware: counts, refuses what other sites' pages must not do, makes errors problems, and adds the headers of all responses.
async fn enter(State(entrance): State<Arc<Entrance>>, request: Request, next: Next) -> Response {
    let observed = entrance.http.begin(&request);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = match guard::refusal(&entrance.hosts, &method, &uri, request.headers()) {
        Some(problem) => problem.into_response(),
        None => problem::as_problem(&method, uri.path(), next.run(request).await),
    };
    guard::add_security_headers(response.headers_mut());
    observed.end(response.status());
    response
}
