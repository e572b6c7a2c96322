//! What the router counts. Labels come from closed sets: surfaces, codes, and the policies and pools that exist.

mod failures;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use router_core::{Policy, Target, To};

use self::failures::FailureMetrics;
use self::rules::RuleMetrics;
use crate::surface::Surface;

/// Upper bounds in seconds, from an answer out of a cache to one of many minutes.
const SECONDS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Upper bounds in seconds, from a small model on a fast GPU to a large one on a processor.
const GAPS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 1.0];

/// All metrics of one router, and the registry that serves them. Cheap to clone; clones count into the same figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Serves what is counted here.
    pub registry: Registry,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds the documentation to it"))]
    pub(crate) kept: Arc<[Desc]>,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    seconds: HistogramVec,
    first_token: HistogramVec,
    token_gap: HistogramVec,
    tokens: IntCounterVec,
    retries: IntCounterVec,
    cut: IntCounterVec,
    ejections: IntCounterVec,
    failures: FailureMetrics,
    pub(crate) retries_refused: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) shed_connections: IntCounter,
    closes: IntCounterVec,
    pub(crate) tls_reloads: IntCounter,
    pub(crate) tls_refused: IntCounter,
    pub(crate) tls_expires: IntGauge,
    pub(crate) requests_under_way: IntGauge,
    pub(crate) held_bytes: IntGauge,
    pub(crate) upstream_connects: IntCounter,
    pub(crate) stale_connections: IntCounter,
    /// Counts spans that no collector took.
    pub lost_spans: IntCounter,
    pub(crate) table_changes: IntCounter,
    pub(crate) table_changed: Gauge,
    pub(crate) table_from_cache: IntGauge,
    pub(crate) table_kept: IntGauge,
    pub(crate) broken_objects: IntGaugeVec,
    broken_object: IntGaugeVec,
    pub(crate) watch_errors: IntCounterVec,
    pub(crate) rules: RuleMetrics,
}

/// Handles for the requests that one target of one policy answers.
#[derive(Debug)]
pub(crate) struct RouteHandles {
    /// Namespace and name of the policy, as a label.
    pub(crate) policy: String,
    /// Namespace and name of the pool, as a label.
    pub(crate) pool: String,
    pub(crate) retries: IntCounter,
    pub(crate) cut: IntCounter,
    pub(crate) ejections: IntCounter,
    pub(crate) first_token: Histogram,
    pub(crate) token_gap: Histogram,
    pub(crate) prompt_tokens: IntCounter,
    pub(crate) cached_tokens: IntCounter,
    pub(crate) completion_tokens: IntCounter,
    /// Made when a surface is first used: most policies use one or two of many.
    surfaces: [OnceLock<SurfaceHandles>; Surface::ENGINE.len()],
    requests: IntCounterVec,
    seconds: HistogramVec,
}

#[derive(Debug)]
struct SurfaceHandles {
    ok: IntCounter,
    seconds: Histogram,
}

impl Metrics {
    /// A new set in a registry of its own.
    ///
    /// # Errors
    ///
    /// When two metrics share a name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("quartermaster_router".to_owned()), None)?;
        let r = &Keeper { registry, kept: RefCell::default() };
        let timed = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let of_route = &["surface", "policy", "pool", "code"];
        let help = "Requests by what served them and the status they were answered with; refusals have no policy.";
        let requests = kept(r, IntCounterVec::new(Opts::new("requests_total", help), of_route)?)?;
        let help = "Requests that no engine answered, or not to the end, by reason.";
        let of_refusal = &["surface", "policy", "pool", "reason"];
        let refusals = kept(r, IntCounterVec::new(Opts::new("refusals_total", help), of_refusal)?)?;
        let opts = timed("request_seconds", "Time from a request's head to the end of its answer.");
        let seconds = kept(r, HistogramVec::new(opts, &["surface", "policy", "pool"])?)?;
        let opts = timed("first_token_seconds", "Time from a request's head to the first bytes of a streamed answer.");
        let first_token = kept(r, HistogramVec::new(opts, &["policy", "pool"])?)?;
        let help = "Mean time between two tokens of an answer, for each stream whose tokens were counted.";
        let opts = HistogramOpts::new("token_gap_seconds", help).buckets(GAPS.to_vec());
        let token_gap = kept(r, HistogramVec::new(opts, &["policy", "pool"])?)?;
        let help = "Tokens as engines counted them: prompt, those of it that were cached, and completion.";
        let tokens = kept(r, IntCounterVec::new(Opts::new("tokens_total", help), &["policy", "pool", "kind"])?)?;
        let help = "Attempts on a further replica because one could not be reached, broke off, or could not answer.";
        let retries = kept(r, IntCounterVec::new(Opts::new("retries_total", help), &["policy", "pool"])?)?;
        let cut = counters(r, "cut_answers_total", "Answers that an engine did not finish.", &["policy", "pool"])?;
        let help =
            "Replicas left alone for a while because they failed several times in a row, or said that they stop.";
        let ejections = kept(r, IntCounterVec::new(Opts::new("ejections_total", help), &["pool"])?)?;
        let failures = FailureMetrics::new(r)?;
        let help =
            "Attempts on a further replica that were not made because they would have been too much of the load.";
        let retries_refused = kept(r, IntCounter::new("retries_refused_total", help)?)?;
        let connections = kept(r, IntGauge::new("connections", "Client connections that are open.")?)?;
        let help = "Client connections that were closed at once because too many were open.";
        let shed_connections = kept(r, IntCounter::new("shed_connections_total", help)?)?;
        let help = "Client connections, and streams of such, that were ended for what the client did: the deadline that it missed, or how it failed.";
        let closes = kept(r, IntCounterVec::new(Opts::new("closed_connections_total", help), &["reason"])?)?;
        let tls_reloads = counter(r, "tls_reloads_total", "New certificates put to use.")?;
        let tls_refused = counter(r, "tls_refused_total", "New certificates that cannot be used; the old one stays.")?;
        let help = "When the certificate in use ends, in seconds since 1970.";
        let tls_expires = kept(r, IntGauge::new("tls_certificate_expiry_timestamp_seconds", help)?)?;
        let requests_under_way = gauge(r, "requests_under_way", "Requests that are being answered.")?;
        let held_bytes =
            gauge(r, "held_body_bytes", "Bytes of requests' bodies that are held until an engine answers.")?;
        let upstream_connects = counter(r, "upstream_connects_total", "Connections made to engines.")?;
        let help = "Kept connections that an engine had closed, seen only when one was used again.";
        let stale_connections = kept(r, IntCounter::new("stale_connections_total", help)?)?;
        let help = "Spans of traces that no collector took, or that found no place in the queue.";
        let lost_spans = kept(r, IntCounter::new("lost_spans_total", help)?)?;
        let table_changes = kept(r, IntCounter::new("table_changes_total", "New routing tables put to use.")?)?;
        let help = "When the routing table changed last, in seconds since 1970.";
        let table_changed = kept(r, Gauge::new("table_changed_timestamp_seconds", help)?)?;
        let help =
            "1 while the routing table is one that was kept from before, because the API server does not answer.";
        let table_from_cache = kept(r, IntGauge::new("table_from_cache", help)?)?;
        let help = "When the routing table that is kept for a start was last known to be true, in seconds since 1970.";
        let table_kept = kept(r, IntGauge::new("table_kept_timestamp_seconds", help)?)?;
        let broken_object = Opts::new("broken_object", "Each object that could not be read, by name.");
        let broken_object = kept(r, IntGaugeVec::new(broken_object, &["kind", "namespace", "name"])?)?;
        let help = "Objects that could not be read; their last readable state stays in use.";
        let broken_objects = kept(r, IntGaugeVec::new(Opts::new("broken_objects", help), &["kind"])?)?;
        let watch_errors = counters(r, "watch_errors_total", "Failures of watches on the API server.", &["kind"])?;
        let rules = RuleMetrics::new(r)?;
        Ok(Self {
            registry: r.registry.clone(),
            kept: r.kept.take().into(),
            requests,
            refusals,
            seconds,
            first_token,
            token_gap,
            tokens,
            retries,
            cut,
            ejections,
            failures,
            retries_refused,
            connections,
            shed_connections,
            closes,
            tls_reloads,
            tls_refused,
            tls_expires,
            requests_under_way,
            held_bytes,
            upstream_connects,
            stale_connections,
            lost_spans,
            table_changes,
            table_changed,
            table_from_cache,
            table_kept,
            broken_objects,
            broken_object,
            watch_errors,
            rules,
        })
    }

    /// Handles for one target of a policy.
    pub(crate) fn route(&self, policy: &Policy, target: &Target) -> RouteHandles {
        let pool = match &target.to {
            To::Pool { namespace, name, .. } => format!("{namespace}/{name}"),
            To::Remote(_) => target.name.to_string(),
        };
        let policy = format!("{}/{}", policy.namespace, policy.name);
        let labels = [policy.as_str(), pool.as_str()];
        let tokens = |kind| self.tokens.with_label_values(&[labels[0], labels[1], kind]);
        RouteHandles {
            retries: self.retries.with_label_values(&labels),
            cut: self.cut.with_label_values(&labels),
            ejections: self.ejections.with_label_values(&[&pool]),
            first_token: self.first_token.with_label_values(&labels),
            token_gap: self.token_gap.with_label_values(&labels),
            prompt_tokens: tokens("prompt"),
            cached_tokens: tokens("cached"),
            completion_tokens: tokens("completion"),
            surfaces: [const { OnceLock::new() }; Surface::ENGINE.len()],
            requests: self.requests.clone(),
            seconds: self.seconds.clone(),
            policy,
            pool,
        }
    }

    /// Tells which objects of this kind cannot be read, by namespace and name.
    pub(crate) fn broken(&self, kind: &'static str, objects: &BTreeSet<(String, String)>) {
        let count = i64::try_from(objects.len()).unwrap_or(i64::MAX);
        let figure = self.broken_objects.with_label_values(&[kind]);
        // Nearly always none were broken and none are.
        if figure.get() == 0 && count == 0 {
            return;
        }
        figure.set(count);
        for family in self.broken_object.collect() {
            for metric in family.get_metric() {
                let label =
                    |name: &str| metric.get_label().iter().find(|l| l.name() == name).map(|l| l.value().to_owned());
                let (Some(of), Some(namespace), Some(name)) = (label("kind"), label("namespace"), label("name")) else {
                    continue;
                };
                if of == kind && !objects.contains(&(namespace.clone(), name.clone())) {
                    // It is there, as it was just told of.
                    let _ = self.broken_object.remove_label_values(&[kind, &namespace, &name]);
                }
            }
        }
        for (namespace, name) in objects {
            self.broken_object.with_label_values(&[kind, namespace, name]).set(1);
        }
    }

    /// Counts a request that no target was chosen for: refused, or served by the router itself.
    pub(crate) fn count_own(&self, surface: Option<Surface>, status: u16) {
        self.requests.with_label_values(&[label(surface), "", "", code(status)]).inc();
    }

    /// Counts a connection that was closed because its client missed the deadline with this name.
    pub(crate) fn count_close(&self, deadline: &'static str) {
        self.closes.with_label_values(&[deadline]).inc();
    }

    /// Counts why a request was not answered, or not to the end; `route` if a target had been chosen by then.
    pub(crate) fn count_refusal(&self, surface: Option<Surface>, route: Option<&RouteHandles>, reason: &'static str) {
        let (policy, pool) = route.map_or(("", ""), |route| (&route.policy, &route.pool));
        self.refusals.with_label_values(&[label(surface), policy, pool, reason]).inc();
    }
}

fn label(surface: Option<Surface>) -> &'static str {
    surface.map_or("unknown", Surface::label)
}

impl RouteHandles {
    /// Counts a request that an engine answered with this status.
    pub(crate) fn count(&self, surface: Surface, status: u16, seconds: f64) {
        let Some(handles) = surface.index().map(|at| self.of_surface(at, surface)) else { return };
        handles.seconds.observe(seconds);
        if status == 200 {
            handles.ok.inc();
        } else {
            self.requests.with_label_values(&[surface.label(), &self.policy, &self.pool, code(status)]).inc();
        }
    }
}

impl RouteHandles {
    fn of_surface(&self, at: usize, surface: Surface) -> &SurfaceHandles {
        let labels = [surface.label(), &self.policy, &self.pool];
        self.surfaces[at].get_or_init(|| SurfaceHandles {
            ok: self.requests.with_label_values(&[labels[0], labels[1], labels[2], "200"]),
            seconds: self.seconds.with_label_values(&labels),
        })
    }
}

/// A status as a label: those that engines and this router use, the rest by their class.
fn code(status: u16) -> &'static str {
    match status {
        200 => "200",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        499 => "499",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

/// Where metrics are registered, and what each one says of itself: the registry tells nothing of one that has not counted.
struct Keeper {
    registry: Registry,
    kept: RefCell<Vec<Desc>>,
}

fn counter(keeper: &Keeper, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    kept(keeper, IntCounter::new(name, help)?)
}

fn counters(keeper: &Keeper, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    kept(keeper, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(keeper: &Keeper, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    kept(keeper, IntGauge::new(name, help)?)
}

/// Registers a metric and gives it back.
fn kept<C: Collector + Clone + 'static>(keeper: &Keeper, metric: C) -> Result<C, prometheus::Error> {
    keeper.registry.register(Box::new(metric.clone()))?;
    keeper.kept.borrow_mut().extend(metric.desc().into_iter().cloned());
    Ok(metric)
}
