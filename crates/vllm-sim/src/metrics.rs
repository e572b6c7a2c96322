//! The metrics page: vLLM's names, labels and buckets.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::core::{Counts, Finish, Progress};

/// Content type of the page, as vLLM sends it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=1.0.0; charset=utf-8";

const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const TOKEN_GAP: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const STEP: &[f64] = &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const ANSWERS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const PREEMPTIONS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
const SLEEP: &[f64] = &[0.01, 0.1, 1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const HTTP: &[f64] = &[0.1, 0.5, 1.0];
const HTTP_FINE: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
];

/// What the engine serves, as far as the page tells it.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    pub(crate) model: &'a str,
    /// Tokens of the longest prompt and answer together.
    pub(crate) longest: u32,
    pub(crate) blocks: u32,
    pub(crate) block_size: u32,
    pub(crate) prefix_caching: bool,
    /// Adapters that run at a time; absent when there are none.
    pub(crate) adapters: Option<u32>,
    /// Whether the routes of development mode are there.
    pub(crate) dev_mode: bool,
    /// Seconds since 1970 at the start.
    pub(crate) started: f64,
}

/// What is read when the page is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Now {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    /// Of those that wait, the ones that wait for something else than room.
    pub(crate) deferred: usize,
    pub(crate) usage: f64,
    pub(crate) counts: Counts,
    pub(crate) running_adapters: String,
    pub(crate) waiting_adapters: String,
    /// Since the start.
    pub(crate) uptime: Duration,
}

/// A limit of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueLimit {
    Requests,
    Tokens,
}

/// What a request asked for, when all of its sequences have ended or one has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) n: u32,
    pub(crate) max_tokens: u32,
}

/// The figures of one engine.
pub(crate) struct Metrics {
    registry: Registry,
    started: f64,
    running: IntGauge,
    waiting: IntGauge,
    waiting_by_reason: IntGaugeVec,
    sleep_state: IntGaugeVec,
    cache_usage: Gauge,
    queried: IntCounter,
    hits: IntCounter,
    preemptions: IntCounter,
    prompt_tokens: IntCounter,
    prompt_by_source: IntCounterVec,
    cached_tokens: IntCounter,
    cached_by_source: IntCounterVec,
    generation_tokens: IntCounter,
    finished: IntCounterVec,
    rejected: IntCounterVec,
    adapters: Option<(GaugeVec, u32)>,
    spans: Spans,
    http: IntCounterVec,
    http_seconds: HistogramVec,
    http_fine: Histogram,
    pub(crate) sleeping: Option<(HistogramVec, IntGaugeVec)>,
}

/// Histograms of steps and sequences.
struct Spans {
    step_tokens: Histogram,
    request_prompt: Histogram,
    request_generation: Histogram,
    most_generation: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    first_token: Histogram,
    token_gap: Histogram,
    per_token: Histogram,
    whole: Histogram,
    queued: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    request_preemptions: Histogram,
    computed: Histogram,
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

    fn gauges(&self, name: &str, help: &str, label: &str, values: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauges = self.add(IntGaugeVec::new(self.opts(name, help), &[label])?)?;
        values.iter().for_each(|value| gauges.with_label_values(&[*value]).set(0));
        Ok(gauges)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::with_opts(self.opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, label: &str, values: &[&str]) -> prometheus::Result<IntCounterVec> {
        let counters = self.add(IntCounterVec::new(self.opts(name, help), &[label])?)?;
        values.iter().for_each(|value| counters.with_label_values(&[*value]).reset());
        Ok(counters)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let mut opts = HistogramOpts::from(self.opts(name, help));
        opts.buckets = buckets.to_vec();
        self.add(Histogram::with_opts(opts)?)
    }

    /// Counters of parts that the simulator lacks. They stay at 0.
    fn idle(&self) -> prometheus::Result<()> {
        for (name, help) in [
            ("estimated_flops_per_gpu_total", "Always 0: no GPU computes."),
            ("estimated_read_bytes_per_gpu_total", "Always 0: no GPU reads."),
            ("estimated_write_bytes_per_gpu_total", "Always 0: no GPU writes."),
            ("external_prefix_cache_queries_total", "Always 0: no cache is shared."),
            ("external_prefix_cache_hits_total", "Always 0: no cache is shared."),
            ("mm_cache_queries_total", "Always 0: prompts are text."),
            ("mm_cache_hits_total", "Always 0: prompts are text."),
        ] {
            self.counter(name, help)?;
        }
        Ok(())
    }

    fn cache_config(&self, about: &About<'_>) -> prometheus::Result<()> {
        let tokens = u64::from(about.blocks) * u64::from(about.block_size);
        let concurrency = f64::from(about.blocks) * f64::from(about.block_size) / f64::from(about.longest.max(1));
        let mut opts = Opts::new("vllm:cache_config_info", "How the cache is made, in the labels.");
        for (label, value) in [
            ("engine", "0".to_owned()),
            ("block_size", about.block_size.to_string()),
            ("cache_dtype", "auto".to_owned()),
            ("enable_prefix_caching", if about.prefix_caching { "True" } else { "False" }.to_owned()),
            ("kv_cache_max_concurrency", format!("{concurrency:?}")),
            ("kv_cache_size_tokens", tokens.to_string()),
            ("num_gpu_blocks", about.blocks.to_string()),
        ] {
            opts = opts.const_label(label, value);
        }
        self.add(IntGauge::with_opts(opts)?)?.set(1);
        Ok(())
    }
}

impl Spans {
    fn new(book: &Book<'_>, longest: u32) -> prometheus::Result<Self> {
        let lengths = lengths(longest);
        Ok(Self {
            step_tokens: book.histogram("iteration_tokens_total", "Tokens of a step.", STEP)?,
            request_prompt: book.histogram("request_prompt_tokens", "Tokens of a prompt.", &lengths)?,
            request_generation: book.histogram("request_generation_tokens", "Tokens of an answer.", &lengths)?,
            most_generation: book.histogram(
                "request_max_num_generation_tokens",
                "Tokens of a request's longest answer.",
                &lengths,
            )?,
            params_n: book.histogram("request_params_n", "Answers asked for.", ANSWERS)?,
            params_max_tokens: book.histogram("request_params_max_tokens", "Tokens asked for at most.", &lengths)?,
            first_token: book.histogram(
                "time_to_first_token_seconds",
                "Seconds from arrival to the first token.",
                FIRST_TOKEN,
            )?,
            token_gap: book.histogram(
                "inter_token_latency_seconds",
                "Seconds from one token to the next.",
                TOKEN_GAP,
            )?,
            per_token: book.histogram(
                "request_time_per_output_token_seconds",
                "Seconds of an answer for each token after its first.",
                TOKEN_GAP,
            )?,
            whole: book.histogram("e2e_request_latency_seconds", "Seconds from arrival to the end.", REQUEST)?,
            queued: book.histogram("request_queue_time_seconds", "Seconds from arrival to a slot.", REQUEST)?,
            inference: book.histogram("request_inference_time_seconds", "Seconds in a slot.", REQUEST)?,
            prefill: book.histogram(
                "request_prefill_time_seconds",
                "Seconds from a slot to the first token.",
                REQUEST,
            )?,
            decode: book.histogram(
                "request_decode_time_seconds",
                "Seconds from the first token to the last.",
                REQUEST,
            )?,
            request_preemptions: book.histogram(
                "request_num_preemptions",
                "How often a sequence was preempted.",
                PREEMPTIONS,
            )?,
            computed: book.histogram(
                "request_prefill_kv_computed_tokens",
                "Tokens of a prompt that were not in the cache.",
                &lengths,
            )?,
        })
    }
}

const REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];
const SOURCES: [&str; 3] = ["local_compute", "local_cache_hit", "external_kv_transfer"];
const TIERS: [&str; 5] = ["device", "host", "p2p", "disk", "external_unspecified"];
const STATES: [&str; 3] = ["awake", "weights_offloaded", "discard_all"];

impl Metrics {
    pub(crate) fn new(about: &About<'_>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let book = Book { registry: &registry, model: about.model };
        book.idle()?;
        book.cache_config(about)?;
        let rejected = Opts::new("vllm:admission_rejections_total", "Requests refused by a limit of the queue.")
            .const_label("model_name", about.model);
        let rejected = book.add(IntCounterVec::new(rejected, &["reason"])?)?;
        for reason in [QueueLimit::Requests, QueueLimit::Tokens] {
            rejected.with_label_values(&[reason.word()]).reset();
        }
        let adapters = Opts::new("vllm:lora_requests_info", "Adapters in use, in the labels; seconds since 1970.");
        let adapter_labels = ["max_lora", "running_lora_adapters", "waiting_lora_adapters"];
        let http = Opts::new("http_requests_total", "Requests by route, method and class of status.");
        let seconds = HistogramOpts::new("http_request_duration_seconds", "Seconds of requests, by route and method.");
        let fine = HistogramOpts::new("http_request_duration_highr_seconds", "Seconds of requests.");
        let metrics = Self {
            started: about.started,
            running: book.gauge("num_requests_running", "Sequences that run.")?,
            waiting: book.gauge("num_requests_waiting", "Sequences that wait.")?,
            waiting_by_reason: book.gauges(
                "num_requests_waiting_by_reason",
                "Sequences that wait, by what they wait for.",
                "reason",
                &["capacity", "deferred"],
            )?,
            sleep_state: book.gauges(
                "engine_sleep_state",
                "1 for the state that the engine is in.",
                "sleep_state",
                &STATES,
            )?,
            cache_usage: book
                .add(Gauge::with_opts(book.opts("kv_cache_usage_perc", "Part of the cache in use, from 0 to 1."))?)?,
            queried: book.counter("prefix_cache_queries_total", "Tokens looked up in the prefix cache.")?,
            hits: book.counter("prefix_cache_hits_total", "Tokens found in the prefix cache.")?,
            preemptions: book.counter("num_preemptions_total", "Preemptions.")?,
            prompt_tokens: book.counter("prompt_tokens_total", "Tokens of prompts that were read.")?,
            prompt_by_source: book.counters(
                "prompt_tokens_by_source_total",
                "Tokens of prompts, by where they were had.",
                "source",
                &SOURCES,
            )?,
            cached_tokens: book.counter("prompt_tokens_cached_total", "Tokens of prompts found in the cache.")?,
            cached_by_source: book.counters(
                "prompt_tokens_cached_by_source_total",
                "Tokens of prompts found in the cache, by its tier.",
                "source",
                &TIERS,
            )?,
            generation_tokens: book.counter("generation_tokens_total", "Tokens of answers.")?,
            finished: book.counters(
                "request_success_total",
                "Sequences that ended, by why.",
                "finished_reason",
                &REASONS,
            )?,
            rejected,
            adapters: match about.adapters {
                Some(most) => Some((book.add(GaugeVec::new(adapters, &adapter_labels)?)?, most)),
                None => None,
            },
            spans: Spans::new(&book, about.longest)?,
            http: book.add(IntCounterVec::new(http, &["handler", "method", "status"])?)?,
            http_seconds: book.add(HistogramVec::new(seconds.buckets(HTTP.to_vec()), &["handler", "method"])?)?,
            http_fine: book.add(Histogram::with_opts(fine.buckets(HTTP_FINE.to_vec()))?)?,
            sleeping: if about.dev_mode { Some(sleeping(&book)?) } else { None },
            registry: registry.clone(),
        };
        metrics.sleep_state("awake");
        Ok(metrics)
    }

    /// Says which state the engine is in; none of the named ones when it is only paused.
    pub(crate) fn sleep_state(&self, state: &str) {
        for known in STATES {
            self.sleep_state.with_label_values(&[known]).set(i64::from(known == state));
        }
    }

    /// Counts a sequence that was cut off.
    pub(crate) fn finish(&self, why: Finish) {
        self.finished.with_label_values(&[why.word()]).inc();
    }

    /// Counts a request that a limit of the queue refused.
    pub(crate) fn reject(&self, limit: QueueLimit) {
        self.rejected.with_label_values(&[limit.word()]).inc();
    }

    /// Counts what a request asked for, once for each of its sequences.
    pub(crate) fn asked(&self, asked: Asked) {
        self.spans.params_n.observe(f64::from(asked.n));
        self.spans.params_max_tokens.observe(f64::from(asked.max_tokens));
    }

    /// Counts an answer to an HTTP request.
    pub(crate) fn http(&self, route: &str, method: &str, status: u16, took: Duration) {
        let class = match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.http.with_label_values(&[route, method, class]).inc();
        self.http_seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
        self.http_fine.observe(took.as_secs_f64());
    }

    /// Counts a step of so many tokens.
    pub(crate) fn step(&self, tokens: u64) {
        self.spans.step_tokens.observe(f64::from(u32::try_from(tokens).unwrap_or(u32::MAX)));
    }

    /// Counts what a step did for one sequence.
    pub(crate) fn progress(&self, progress: &Progress, now: Duration) {
        let Progress { story, made, .. } = progress;
        let since = |then: Duration| now.saturating_sub(then).as_secs_f64();
        match progress.gap {
            None => {
                self.spans.first_token.observe(since(story.arrived));
                self.prompt_tokens.inc_by(u64::from(story.prompt));
                let computed = story.prompt - story.cached;
                self.prompt_by_source.with_label_values(&["local_compute"]).inc_by(u64::from(computed));
                self.prompt_by_source.with_label_values(&["local_cache_hit"]).inc_by(u64::from(story.cached));
                self.cached_tokens.inc_by(u64::from(story.cached));
                self.cached_by_source.with_label_values(&["device"]).inc_by(u64::from(story.cached));
            }
            Some(gap) => self.spans.token_gap.observe(gap.as_secs_f64()),
        }
        if *made > 0 {
            self.generation_tokens.inc();
        }
        let Some(why) = progress.finish else { return };
        self.finish(why);
        let span = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
        let decode = span(story.first, story.last);
        self.spans.whole.observe(since(story.arrived));
        self.spans.queued.observe(span(story.arrived, story.began));
        self.spans.prefill.observe(span(story.began, story.first));
        self.spans.inference.observe(span(story.began, story.last));
        self.spans.decode.observe(decode);
        self.spans.per_token.observe(if *made > 1 { decode / f64::from(made - 1) } else { 0.0 });
        self.spans.request_prompt.observe(f64::from(story.prompt));
        self.spans.request_generation.observe(f64::from(*made));
        self.spans.most_generation.observe(f64::from(*made));
        self.spans.request_preemptions.observe(f64::from(story.preempted));
        self.spans.computed.observe(f64::from(story.prompt - story.cached));
    }

    /// The page in Prometheus' text format.
    pub(crate) fn page(&self, now: &Now) -> prometheus::Result<String> {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.set(whole(now.running));
        self.waiting.set(whole(now.waiting));
        self.waiting_by_reason.with_label_values(&["deferred"]).set(whole(now.deferred));
        self.waiting_by_reason.with_label_values(&["capacity"]).set(whole(now.waiting - now.deferred));
        self.cache_usage.set(now.usage);
        for (counter, value) in [
            (&self.queried, now.counts.queried),
            (&self.hits, now.counts.hits),
            (&self.preemptions, now.counts.preemptions),
        ] {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        if let Some((adapters, most)) = &self.adapters {
            let most = most.to_string();
            adapters.reset();
            adapters
                .with_label_values(&[most.as_str(), &now.running_adapters, &now.waiting_adapters])
                .set(self.started + now.uptime.as_secs_f64());
        }
        let families = self.registry.gather();
        let mut page = String::new();
        prometheus::TextEncoder::new().encode_utf8(&families, &mut page)?;
        for family in &families {
            push_created(&mut page, family, self.started);
        }
        Ok(page)
    }
}

impl QueueLimit {
    /// The word on the wire, which is vLLM's argument as well.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Requests => "max_num_queued_reqs",
            Self::Tokens => "max_num_queued_tokens",
        }
    }
}

fn sleeping(book: &Book<'_>) -> prometheus::Result<(HistogramVec, IntGaugeVec)> {
    let name = "vllm:sleep_mode_operation_duration_seconds";
    let opts = HistogramOpts::new(name, "Seconds of an operation of sleep mode.").buckets(SLEEP.to_vec());
    let seconds = book.add(HistogramVec::new(opts, &["operation"])?)?;
    let opts = Opts::new("vllm:sleep_mode_operations_in_flight", "Operations of sleep mode that go on.");
    let going_on = book.add(IntGaugeVec::new(opts, &["operation"])?)?;
    Ok((seconds, going_on))
}

/// Buckets for numbers of tokens up to `longest`: 1, 2, 5, 10, 20, 50 and so on.
fn lengths(longest: u32) -> Vec<f64> {
    let decades = (0..).map(|power| 10_u32.saturating_pow(power));
    let all = decades.flat_map(|decade| [1, 2, 5].map(|digit| decade.saturating_mul(digit)));
    all.take_while(|edge| *edge <= longest && *edge < u32::MAX).map(f64::from).collect()
}

/// vLLM tells beside every counter and histogram since when it counts.
fn push_created(page: &mut String, family: &MetricFamily, started: f64) {
    if !matches!(family.get_field_type(), MetricType::COUNTER | MetricType::HISTOGRAM) {
        return;
    }
    let whole = family.name();
    let counter = family.get_field_type() == MetricType::COUNTER;
    let name = if counter { whole.strip_suffix("_total").unwrap_or(whole) } else { whole };
    // Writing to a string cannot fail.
    let _ = writeln!(page, "# HELP {name}_created {}\n# TYPE {name}_created gauge", family.help());
    for metric in family.get_metric() {
        let labels: Vec<String> =
            metric.get_label().iter().map(|label| format!("{}=\"{}\"", label.name(), escaped(label.value()))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(page, "{name}_created{labels} {started}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_buckets_up_to_the_longest() {
        assert_eq!(lengths(2048), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(lengths(5), [1.0, 2.0, 5.0]);
        assert!(lengths(u32::MAX).len() < 40);
    }
}
