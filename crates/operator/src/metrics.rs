//! The operator's own metrics. Labels have few values, all known here: never a name, an address or a text.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

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
    calls: IntCounterVec,
    call_durations: HistogramVec,
    waiting: IntGaugeVec,
    waits: HistogramVec,
    under_way: IntGaugeVec,
    last_success: IntGaugeVec,
    leads: IntGauge,
}

/// Bounds of what takes milliseconds when all is well, in seconds.
const QUICK: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Metrics {
    /// Makes the metrics and registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(format!("quartermaster_operator_{name}"), help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGaugeVec::new(Opts::new(format!("quartermaster_operator_{name}"), help), &["kind"])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let times = |name: &str, help: &str, label: &str| {
            let options = HistogramOpts::new(format!("quartermaster_operator_{name}"), help).buckets(QUICK.to_vec());
            let made = HistogramVec::new(options, &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let leads = IntGauge::new("quartermaster_operator_leader", "Whether this operator is the one that writes.")?;
        registry.register(Box::new(leads.clone()))?;
        let metrics = Self {
            reconciles: counter("reconciles_total", "Reconciles, by kind.", &["kind"])?,
            failures: counter("reconcile_failures_total", "Reconciles that failed, by class.", &["kind", "class"])?,
            durations: times("reconcile_duration_seconds", "How long a reconcile took.", "kind")?,
            calls: counter("api_calls_total", "Requests to the API server, by outcome.", &["verb", "outcome"])?,
            call_durations: times("api_call_duration_seconds", "Time to the API server's answer.", "verb")?,
            waiting: gauge("queue_length", "Objects that wait for their reconcile.")?,
            waits: times("queue_wait_seconds", "How long objects waited for their reconcile.", "kind")?,
            under_way: gauge("reconciles_under_way", "Reconciles under way.")?,
            last_success: gauge("last_success_timestamp_seconds", "When a reconcile last got to its end.")?,
            leads,
            writes: counter("writes_total", "Objects written or deleted, by kind.", &["object"])?,
            scrapes: counter("scrapes_total", "Questions to replicas for their load, by outcome.", &["outcome"])?,
            asked: counter("metrics_api_requests_total", "Requests to the metrics API, by status code.", &["code"])?,
        };
        for kind in [POOL, ROUTE] {
            metrics.reconciles.with_label_values(&[kind]);
            metrics.waiting.with_label_values(&[kind]);
            metrics.under_way.with_label_values(&[kind]);
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

    /// A request to the API server that has ended. The answer to a watch is its beginning.
    pub(crate) fn called(&self, verb: &str, outcome: &str, took: Duration) {
        self.calls.with_label_values(&[verb, outcome]).inc();
        self.call_durations.with_label_values(&[verb]).observe(took.as_secs_f64());
    }

    /// So many objects wait for their reconcile.
    pub(crate) fn wait(&self, kind: &str, objects: usize) {
        self.waiting.with_label_values(&[kind]).set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// A reconcile begins, of an object that waited for it for so long.
    pub(crate) fn begins(&self, kind: &str, waited: Option<Duration>) {
        self.under_way.with_label_values(&[kind]).inc();
        if let Some(waited) = waited {
            self.waits.with_label_values(&[kind]).observe(waited.as_secs_f64());
        }
    }

    /// A reconcile that had begun has ended, or was given up.
    pub(crate) fn ends(&self, kind: &str) {
        self.under_way.with_label_values(&[kind]).dec();
    }

    /// A reconcile got to its end.
    pub(crate) fn succeeded(&self, kind: &str, at: Timestamp) {
        self.last_success.with_label_values(&[kind]).set(at.as_second());
    }

    /// This operator is the one that writes.
    pub(crate) fn leads(&self) {
        self.leads.set(1);
    }
}

#[cfg(test)]
impl Metrics {
    /// How many reconciles are under way.
    pub(crate) fn under_way_now(&self, kind: &str) -> i64 {
        self.under_way.with_label_values(&[kind]).get()
    }
}
