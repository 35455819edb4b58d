//! What the operator counts of itself, in Prometheus' text format. Must not label anything by the name of an object: there is
//! no bound to those.

use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the operator. Cloning it is cheap; all copies count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// How long looking at one object took.
    reconcile_duration: HistogramVec,
    /// How often it failed, and why.
    reconcile_errors: IntCounterVec,
    /// How many objects are due and wait for a worker.
    queue_depth: IntGaugeVec,
    /// Objects by state.
    objects: IntGaugeVec,
    /// Requests to the API server.
    api_requests: IntCounterVec,
    /// 1 while this process leads.
    leader: IntGauge,
    /// How long ago each watch last showed that it is alive.
    watch_last_event: GaugeVec,
    /// Agents that cannot be asked.
    agents_unavailable: Gauge,
}

impl Metrics {
    /// # Errors
    /// When two metrics have the same name: never, once it works at all.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauges = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let metrics = Self {
            registry: Registry::new(),
            reconcile_duration: HistogramVec::new(
                HistogramOpts::new(
                    "camera_operator_reconcile_duration_seconds",
                    "How long it took to bring the children and the status of one object in line with it.",
                )
                .buckets(buckets),
                &["kind"],
            )?,
            reconcile_errors: counters(
                "camera_operator_reconcile_errors_total",
                "How often that failed, by what was wrong.",
                &["kind", "error"],
            )?,
            queue_depth: gauges(
                "camera_operator_queue_depth",
                "Objects that are due and wait for a worker.",
                &["kind"],
            )?,
            objects: gauges(
                "camera_operator_objects",
                "Objects by state: Ready, NotReady, Unknown, or Malformed where an object cannot be read at all.",
                &["kind", "state"],
            )?,
            api_requests: counters(
                "camera_operator_api_requests_total",
                "Requests to the Kubernetes API; code is the HTTP status, or error where there was no answer.",
                &["verb", "resource", "code"],
            )?,
            leader: IntGauge::new("camera_operator_leader", "1 while this process leads, else 0.")?,
            watch_last_event: GaugeVec::new(
                Opts::new(
                    "camera_operator_watch_last_event_seconds",
                    "Seconds since a watch last showed that it is alive: an event, a list, or its being opened again.",
                ),
                &["kind"],
            )?,
            agents_unavailable: Gauge::new(
                "camera_operator_agents_unavailable",
                "Agents that run and yet do not answer the operator.",
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.reconcile_duration.clone()))?;
        registry.register(Box::new(metrics.reconcile_errors.clone()))?;
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        registry.register(Box::new(metrics.objects.clone()))?;
        registry.register(Box::new(metrics.api_requests.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.watch_last_event.clone()))?;
        registry.register(Box::new(metrics.agents_unavailable.clone()))?;
        Ok(metrics)
    }

    /// Where others register what they count.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// One object was looked at.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        self.reconcile_duration.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// Looking at one object failed; `error` is a name out of a fixed set.
    pub fn reconcile_failed(&self, kind: &str, error: &str) {
        self.reconcile_errors.with_label_values(&[kind, error]).inc();
    }

    /// A request was answered (`code`), or not.
    pub fn requested(&self, verb: &str, resource: &str, code: &str) {
        self.api_requests.with_label_values(&[verb, resource, code]).inc();
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How many objects of a kind wait for a worker.
    pub fn queued(&self, kind: &str, depth: usize) {
        self.queue_depth.with_label_values(&[kind]).set(depth as i64);
    }

    /// How many objects of a kind are in a state.
    pub fn objects(&self, kind: &str, state: &str, count: usize) {
        self.objects.with_label_values(&[kind, state]).set(count as i64);
    }

    /// How long ago the watch of a kind showed that it is alive.
    pub fn watched(&self, kind: &str, age: Duration) {
        self.watch_last_event.with_label_values(&[kind]).set(age.as_secs_f64());
    }

    /// How many agents do not answer.
    pub fn agents_unavailable(&self, count: usize) {
        self.agents_unavailable.set(count as f64);
    }

    /// The text format.
    ///
    /// # Errors
    /// When a label is no UTF-8: never.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_served() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled("Camera", Duration::from_millis(3));
        metrics.reconcile_failed("Camera", "Api");
        metrics.requested("patch", "deployments", "200");
        metrics.leads(true);
        metrics.queued("Camera", 2);
        metrics.objects("Camera", "Ready", 7);
        metrics.watched("cameras", Duration::from_secs(3));
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            r#"camera_operator_reconcile_duration_seconds_count{kind="Camera"} 1"#,
            r#"camera_operator_reconcile_errors_total{error="Api",kind="Camera"} 1"#,
            r#"camera_operator_api_requests_total{code="200",resource="deployments",verb="patch"} 1"#,
            "camera_operator_leader 1",
            r#"camera_operator_queue_depth{kind="Camera"} 2"#,
            r#"camera_operator_objects{kind="Camera",state="Ready"} 7"#,
            r#"camera_operator_watch_last_event_seconds{kind="cameras"} 3"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
