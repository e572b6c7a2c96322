//! The operator's own metrics. Labels have few values, all known here: never a name, an address or a text.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::error::Class;

/// Kinds that are reconciled, as values of the label `kind`.
pub(crate) const POOL: &str = "InferencePool";
pub(crate) const ROUTE: &str = "RoutePolicy";

/// Counters and times, shared by all tasks.
#[derive(Clone)]
pub(crate) struct Metrics {
    reconciles: IntCounterVec,
    failures: IntCounterVec,
    durations: HistogramVec,
    writes: IntCounterVec,
    scrapes: IntCounterVec,
    asked: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(format!("quartermaster_operator_{name}"), help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let durations = HistogramVec::new(
            HistogramOpts::new("quartermaster_operator_reconcile_duration_seconds", "How long a reconcile took.")
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            &["kind"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let metrics = Self {
            reconciles: counter("reconciles_total", "Reconciles, by kind.", &["kind"])?,
            failures: counter("reconcile_failures_total", "Reconciles that failed, by class.", &["kind", "class"])?,
            durations,
            writes: counter("writes_total", "Objects written or deleted, by kind.", &["object"])?,
            scrapes: counter("scrapes_total", "Questions to replicas for their load, by outcome.", &["outcome"])?,
            asked: counter("metrics_api_requests_total", "Requests to the metrics API, by status code.", &["code"])?,
        };
        for kind in [POOL, ROUTE] {
            metrics.reconciles.with_label_values(&[kind]);
            for class in Class::ALL {
                metrics.failures.with_label_values(&[kind, class.as_str()]);
            }
        }
        Ok(metrics)
    }

    pub(crate) fn reconciled(&self, kind: &str, took: Duration) {
        self.reconciles.with_label_values(&[kind]).inc();
        self.durations.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, kind: &str, class: Class) {
        self.failures.with_label_values(&[kind, class.as_str()]).inc();
    }

    /// A write that the API server accepted; `object` is the kind, or the kind and `/status`.
    pub(crate) fn wrote(&self, object: &str) {
        self.writes.with_label_values(&[object]).inc();
    }

    pub(crate) fn scraped(&self, outcome: &str) {
        self.scrapes.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn asked(&self, code: u16) {
        self.asked.with_label_values(&[&code.to_string()]).inc();
    }
}
