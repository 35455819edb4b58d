//! `/metrics` in Prometheus' text format, and the gateway's own metrics: requests by route, and which objects are ready.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use serde_json::Value;

use super::Gateway;
use super::problem::Problem;
use super::world::World;

/// Name of the counter of requests.
pub const REQUESTS: &str = "camera_operator_http_requests_total";
/// Name of the histogram of the time until a response begins.
pub const DURATION: &str = "camera_operator_http_request_duration_seconds";
/// Name of the gauge that is 1 for an object that is ready.
pub const READY: &str = "camera_operator_object_ready";

/// Counts requests.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl HttpMetrics {
    /// Makes the metrics and adds them to `registry`.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(REQUESTS, "HTTP requests by method, route template and status."),
            &["method", "route", "status"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                DURATION,
                "Time until the response of an HTTP request begins, by method and route template.",
            ),
            &["method", "route"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { requests, duration })
    }
}

impl HttpMetrics {
    /// A request came; it is counted under its route's template, so that clients cannot make up label values.
    pub fn begin(&self, request: &Request) -> Observed<'_> {
        let known =
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        let method = known.into_iter().find(|known| known == request.method());
        Observed { metrics: self, begun: Instant::now(), method, route: request.extensions().get().cloned() }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Observed<'a> {
    metrics: &'a HttpMetrics,
    begun: Instant,
    method: Option<Method>,
    route: Option<MatchedPath>,
}

impl Observed<'_> {
    /// Its response begins.
    pub fn end(self, status: StatusCode) {
        let method = self.method.as_ref().map_or("other", Method::as_str);
        let route = self.route.as_ref().map_or("other", MatchedPath::as_str);
        self.metrics.requests.with_label_values(&[method, route, status.as_str()]).inc();
        self.metrics.duration.with_label_values(&[method, route]).observe(self.begun.elapsed().as_secs_f64());
    }
}

/// Whether an object is as one would wish: its condition `Ready` (or, for a clip, `Complete`) is true.
pub fn is_ready(object: &Value) -> bool {
    has_condition(object, "Ready") || has_condition(object, "Complete")
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
}

/// Reads the objects when it is asked, so that it can never be out of date or keep deleted objects.
struct ObjectCollector {
    world: Arc<dyn World>,
    ready: GaugeVec,
}

impl Collector for ObjectCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.ready.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.ready.reset();
        for (reference, object) in self.world.list(None, None).objects {
            let kind = format!("{:?}", reference.kind);
            let labels = [kind.as_str(), &reference.key.namespace, &reference.key.name];
            self.ready.with_label_values(&labels).set(f64::from(u8::from(is_ready(&object))));
        }
        self.ready.collect()
    }
}

/// Adds the gauge of ready objects to `registry`.
///
/// # Errors
/// When the registry has a metric of its name.
pub fn register_objects(registry: &Registry, world: Arc<dyn World>) -> Result<(), prometheus::Error> {
    let options = Opts::new(READY, "1 while an object is ready (a clip: ready or complete), else 0.");
    let ready = GaugeVec::new(options, &["kind", "namespace", "name"])?;
    registry.register(Box::new(ObjectCollector { world, ready }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Health", responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let mut text = (gateway.data_plane_metrics)();
    TextEncoder::new()
        .encode_utf8(&gateway.registry.gather(), &mut text)
        .map_err(|error| Problem::internal(format!("The metrics cannot be written: {error}.")))?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
