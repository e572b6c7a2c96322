//! What is counted of rules beyond the requests that they send somewhere.

use std::time::Duration;

use ledger::Money;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use wire::usage::Usage;

use super::{Keeper, RouteHandles, kept};

/// Upper bounds in seconds of what a classifier takes: its deadline is at most ten.
const SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0];

/// Counters of mirrors, hedges, classifiers and the exchange of counts.
#[derive(Clone, Debug)]
pub(crate) struct RuleMetrics {
    mirrors: IntCounterVec,
    mirrored_tokens: IntCounterVec,
    hedges: IntCounterVec,
    hedged_cost: IntCounterVec,
    classifications: IntCounterVec,
    classification_seconds: HistogramVec,
    /// Other routers that told their counts when they were asked last.
    pub(crate) peers: IntGauge,
}

impl RuleMetrics {
    pub(super) fn new(keeper: &Keeper) -> Result<Self, prometheus::Error> {
        let help =
            "Copies of requests for a mirror, by what became of them: answered, failed, late, or dropped unsent.";
        let mirrors = IntCounterVec::new(Opts::new("mirrors_total", help), &["policy", "pool", "outcome"])?;
        let help = "Tokens of mirrored requests, which tokens_total leaves out.";
        let mirrored_tokens =
            IntCounterVec::new(Opts::new("mirrored_tokens_total", help), &["policy", "pool", "kind"])?;
        let help = "Requests whose first target was slow, by what came of asking a second one: won, lost, failed, left, or refused by the budget of retries.";
        let hedges = IntCounterVec::new(Opts::new("hedges_total", help), &["policy", "pool", "outcome"])?;
        let help = "What attempts that were cancelled for a faster one were expected to cost, in billionths of a dollar; their targets may charge less.";
        let hedged_cost = IntCounterVec::new(Opts::new("hedged_nanodollars_total", help), &["policy", "pool"])?;
        let help = "Requests that a classifier was asked about, by what it said: said, or why the points decided.";
        let classifications = IntCounterVec::new(Opts::new("classifications_total", help), &["policy", "outcome"])?;
        let help = "Time that requests waited for their classifier.";
        let opts = HistogramOpts::new("classification_seconds", help).buckets(SECONDS.to_vec());
        let classification_seconds = HistogramVec::new(opts, &["policy"])?;
        let help = "Other routers that told what they have counted today when they were asked last.";
        let peers = IntGauge::new("volume_peers", help)?;
        Ok(Self {
            mirrors: kept(keeper, mirrors)?,
            mirrored_tokens: kept(keeper, mirrored_tokens)?,
            hedges: kept(keeper, hedges)?,
            hedged_cost: kept(keeper, hedged_cost)?,
            classifications: kept(keeper, classifications)?,
            classification_seconds: kept(keeper, classification_seconds)?,
            peers: kept(keeper, peers)?,
        })
    }

    /// Counts what became of a copy.
    pub(crate) fn count_mirror(&self, route: &RouteHandles, outcome: &'static str) {
        self.mirrors.with_label_values(&[route.policy.as_str(), &route.pool, outcome]).inc();
    }

    /// Counts the tokens of a copy.
    pub(crate) fn count_mirrored(&self, route: &RouteHandles, usage: &Usage) {
        for (kind, tokens) in [("prompt", usage.prompt), ("cached", usage.cached), ("completion", usage.completion)] {
            if let Some(tokens) = tokens {
                self.mirrored_tokens.with_label_values(&[route.policy.as_str(), &route.pool, kind]).inc_by(tokens);
            }
        }
    }

    /// Counts what came of asking this target beside a slow one.
    pub(crate) fn count_hedge(&self, route: &RouteHandles, outcome: &'static str) {
        self.hedges.with_label_values(&[route.policy.as_str(), &route.pool, outcome]).inc();
    }

    /// Counts what an attempt was expected to cost that was cancelled at this target.
    pub(crate) fn count_hedged_cost(&self, route: &RouteHandles, cost: Money) {
        let cost = u64::try_from(cost.as_nanos()).unwrap_or(0);
        self.hedged_cost.with_label_values(&[route.policy.as_str(), &route.pool]).inc_by(cost);
    }

    /// Counts a question to the classifier of a policy.
    pub(crate) fn count_classification(&self, policy: &str, outcome: &'static str, took: Duration) {
        self.classifications.with_label_values(&[policy, outcome]).inc();
        self.classification_seconds.with_label_values(&[policy]).observe(took.as_secs_f64());
    }
}
