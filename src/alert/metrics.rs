//! What is counted of alerts, for Prometheus. Labels are names of routes and receivers, which their manifests bound; never of
//! alerts or of what they are about.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::engine::{Delivery, Outcome, Purpose};
use crate::plan::unit::ObjectKey;

/// Name of the counter of deliveries.
pub const DELIVERIES: &str = "camera_operator_alert_deliveries_total";

/// The metrics. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    deliveries: IntCounterVec,
    duration: HistogramVec,
    delay: HistogramVec,
    standing: IntGaugeVec,
    undelivered: IntGaugeVec,
    unsaved: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics and adds them to `registry`.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            deliveries: IntCounterVec::new(
                Opts::new(DELIVERIES, "Messages to receivers of alerts; outcome is Taken or Failed (code 201)."),
                &["namespace", "name", "receiver", "outcome"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new("camera_operator_alert_delivery_duration_seconds", "How long one attempt took.")
                    .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0]),
                &["receiver_type"],
            )?,
            delay: HistogramVec::new(
                HistogramOpts::new(
                    "camera_operator_alert_delay_seconds",
                    "From the change of the condition until a receiver took the message about it, alerts that began only.",
                )
                .buckets(vec![1.0, 5.0, 10.0, 30.0, 35.0, 45.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0]),
                &["receiver_type"],
            )?,
            standing: gauges("camera_operator_alerts_standing", "Alerts that stand.", &["namespace", "name"])?,
            undelivered: gauges(
                "camera_operator_alerts_undelivered",
                "Alerts that a receiver has not been told yet.",
                &["namespace", "name", "receiver"],
            )?,
            unsaved: gauges(
                "camera_operator_alert_state_unsaved",
                "1 while it cannot be written down who was told what, so that a restart would tell it again.",
                &["namespace", "name"],
            )?,
        };
        registry.register(Box::new(metrics.deliveries.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.delay.clone()))?;
        registry.register(Box::new(metrics.standing.clone()))?;
        registry.register(Box::new(metrics.undelivered.clone()))?;
        registry.register(Box::new(metrics.unsaved.clone()))?;
        Ok(metrics)
    }

    /// An attempt has ended.
    pub fn delivered(&self, delivery: &Delivery, type_: &str, outcome: &Outcome, took: Duration, now: jiff::Timestamp) {
        let name = if matches!(outcome, Outcome::Taken) { "Taken" } else { "Failed" };
        let ObjectKey { namespace, name: route } = &delivery.route;
        self.deliveries.with_label_values(&[namespace.as_str(), route, &delivery.receiver, name]).inc();
        self.duration.with_label_values(&[type_]).observe(took.as_secs_f64());
        if delivery.purpose == Purpose::Alerts && matches!(outcome, Outcome::Taken) {
            for told in delivery.alerts.iter().filter(|told| told.ended.is_none()) {
                let delay = now.duration_since(told.alert.since).as_secs_f64();
                self.delay.with_label_values(&[type_]).observe(delay.max(0.0));
            }
        }
    }

    /// How a route is.
    pub fn route(&self, route: &ObjectKey, standing: usize, is_saved: bool) {
        let labels = [route.namespace.as_str(), route.name.as_str()];
        self.standing.with_label_values(&labels).set(standing as i64);
        self.unsaved.with_label_values(&labels).set(i64::from(!is_saved));
    }

    /// How a receiver is.
    pub fn receiver(&self, route: &ObjectKey, receiver: &str, undelivered: usize) {
        let labels = [route.namespace.as_str(), route.name.as_str(), receiver];
        self.undelivered.with_label_values(&labels).set(undelivered as i64);
    }

    /// Routes are gone: their gauges go, too.
    pub fn reset_gauges(&self) {
        self.standing.reset();
        self.undelivered.reset();
        self.unsaved.reset();
    }
}
