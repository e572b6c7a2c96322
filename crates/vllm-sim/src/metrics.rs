//! The metrics page: vLLM's names, labels and buckets for the figures that routers, autoscalers and dashboards read.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Content type of the page, as vLLM sends it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=1.0.0; charset=utf-8";

const FIRST_TOKEN_BUCKETS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const TOKEN_GAP_BUCKETS: [f64; 19] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_BUCKETS: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];

/// Why a sequence ended, as `vllm:request_success_total` words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It came to its own end.
    Stop,
    /// It reached its limit.
    Length,
    /// It was cut off.
    Abort,
}

impl Finish {
    /// The word on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
        }
    }
}

/// The figures of one engine.
pub(crate) struct Metrics {
    registry: Registry,
    /// Sequences that hold a slot.
    pub(crate) running: IntGauge,
    /// Sequences that wait for one.
    pub(crate) waiting: IntGauge,
    waiting_by_reason: IntGaugeVec,
    cache_usage: Gauge,
    /// Tokens of all running sequences, prompt and answer.
    held: AtomicI64,
    /// Tokens that the cache could hold.
    capacity: f64,
    pub(crate) prompt_tokens: IntCounter,
    pub(crate) generation_tokens: IntCounter,
    finished: IntCounterVec,
    /// Seconds from a sequence's arrival to its first token.
    pub(crate) first_token: Histogram,
    /// Seconds between two writes of tokens.
    pub(crate) token_gap: Histogram,
    /// Seconds from a sequence's arrival to its end.
    pub(crate) whole: Histogram,
    /// Seconds from a sequence's arrival to its slot.
    pub(crate) queued: Histogram,
}

/// Puts the labels of vLLM's one engine on every series, and registers them.
struct Book<'a> {
    registry: &'a Registry,
    model: &'a str,
}

impl Book<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("vllm:{name}"), help).const_label("engine", "0").const_label("model_name", self.model)
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::with_opts(self.opts(name, help))?)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::with_opts(self.opts(name, help))?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let mut opts = HistogramOpts::from(self.opts(name, help));
        opts.buckets = buckets.to_vec();
        self.add(Histogram::with_opts(opts)?)
    }
}

impl Metrics {
    /// Figures of an engine that serves `model` and could hold `capacity` tokens.
    pub(crate) fn new(model: &str, capacity: u64) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let book = Book { registry: &registry, model };
        let by_reason = book.opts("num_requests_waiting_by_reason", "Sequences that wait, by what they wait for.");
        let finished = book.opts("request_success_total", "Sequences that ended, by why.");
        let metrics = Self {
            running: book.gauge("num_requests_running", "Sequences that run.")?,
            waiting: book.gauge("num_requests_waiting", "Sequences that wait for a slot.")?,
            waiting_by_reason: book.add(IntGaugeVec::new(by_reason, &["reason"])?)?,
            cache_usage: book
                .add(Gauge::with_opts(book.opts("kv_cache_usage_perc", "Part of the cache in use, from 0 to 1."))?)?,
            held: AtomicI64::new(0),
            capacity: f64::from(u32::try_from(capacity).unwrap_or(u32::MAX)).max(1.0),
            prompt_tokens: book.counter("prompt_tokens_total", "Tokens of prompts that were read.")?,
            generation_tokens: book.counter("generation_tokens_total", "Tokens of answers.")?,
            finished: book.add(IntCounterVec::new(finished, &["finished_reason"])?)?,
            first_token: book.histogram(
                "time_to_first_token_seconds",
                "Seconds from arrival to the first token.",
                &FIRST_TOKEN_BUCKETS,
            )?,
            token_gap: book.histogram(
                "inter_token_latency_seconds",
                "Seconds from one token to the next.",
                &TOKEN_GAP_BUCKETS,
            )?,
            whole: book.histogram(
                "e2e_request_latency_seconds",
                "Seconds from arrival to the end.",
                &REQUEST_BUCKETS,
            )?,
            queued: book.histogram(
                "request_queue_time_seconds",
                "Seconds from arrival to a slot.",
                &REQUEST_BUCKETS,
            )?,
            registry: registry.clone(),
        };
        for reason in ["stop", "length", "abort", "error", "repetition"] {
            metrics.finished.with_label_values(&[reason]).reset();
        }
        metrics.waiting_by_reason.with_label_values(&["deferred"]).set(0);
        Ok(metrics)
    }

    /// Counts the end of a sequence.
    pub(crate) fn finish(&self, why: Finish) {
        self.finished.with_label_values(&[why.word()]).inc();
    }

    /// Counts tokens that came into the cache, or left it when negative.
    pub(crate) fn hold(&self, tokens: i64) {
        self.held.fetch_add(tokens, Ordering::Relaxed);
    }

    /// The page in Prometheus' text format.
    pub(crate) fn page(&self) -> prometheus::Result<String> {
        self.waiting_by_reason.with_label_values(&["capacity"]).set(self.waiting.get());
        let held = u32::try_from(self.held.load(Ordering::Relaxed)).map_or(0.0, f64::from);
        self.cache_usage.set((held / self.capacity).min(1.0));
        let mut page = String::new();
        prometheus::TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page)?;
        Ok(page)
    }
}
