//! What is counted of targets that fail.

use prometheus::IntCounterVec;

use super::{Keeper, Metrics, RouteHandles, counters};

/// Counters of what a target did not do.
#[derive(Clone, Debug)]
pub(super) struct FailureMetrics {
    fallbacks: IntCounterVec,
    timeouts: IntCounterVec,
    unreached: IntCounterVec,
}

impl FailureMetrics {
    pub(super) fn new(keeper: &Keeper) -> Result<Self, prometheus::Error> {
        let of = |name: &str, help: &str, why: &str| counters(keeper, name, help, &["policy", "pool", why]);
        let help = "Requests that went on to their policy's next target, by the one that failed and why.";
        let fallbacks = of("fallbacks_total", help, "reason")?;
        let help = "Attempts and answers that were too slow, by the timeout that they missed.";
        let timeouts = of("timeouts_total", help, "timeout")?;
        let help = "Connections to targets that are no pools that were not made, by why.";
        let unreached = of("unreached_total", help, "reason")?;
        Ok(Self { fallbacks, timeouts, unreached })
    }
}

impl Metrics {
    /// Counts a request that went on to the next target.
    pub(crate) fn count_fallback(&self, route: &RouteHandles, reason: &'static str) {
        count(&self.failures.fallbacks, route, reason);
    }

    /// Counts a timeout that was missed.
    pub(crate) fn count_timeout(&self, route: &RouteHandles, timeout: &'static str) {
        count(&self.failures.timeouts, route, timeout);
    }

    /// Counts a connection that was not made.
    pub(crate) fn count_unreached(&self, route: &RouteHandles, why: &'static str) {
        count(&self.failures.unreached, route, why);
    }
}

fn count(counter: &IntCounterVec, route: &RouteHandles, why: &'static str) {
    counter.with_label_values(&[route.policy.as_str(), &route.pool, why]).inc();
}
