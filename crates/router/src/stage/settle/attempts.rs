//! What became of each attempt to have a request answered, up to the one that did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::Money;
use router_core::{Endpoint, NoDial};

use super::Record;

/// An attempt that gave no answer that the client could have.
#[derive(Debug)]
pub(super) struct Tried {
    /// Place of the target in its policy.
    pub(super) target: usize,
    /// Where it was sent; `None` where it was not.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// What was answered, if anything was.
    pub(super) status: Option<u16>,
    /// Why that was not good enough: what a client would be told, or the reason that the policy has for it.
    pub(super) reason: &'static str,
    /// How long it took; `None` where nothing was sent.
    pub(super) took: Option<Duration>,
    /// What one that was cancelled was expected to cost, where that is known and more than nothing.
    pub(super) expected: Option<Money>,
}

/// All attempts of one request. One that is answered at once, as nearly all are, costs no memory.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Those that failed, in their order.
    pub(super) failed: Vec<Tried>,
    /// The one that is under way, and since when.
    pub(super) under_way: Option<(Arc<Endpoint>, Instant)>,
    /// Where the last one was sent.
    pub(super) last: Option<Arc<Endpoint>>,
}

impl Record {
    /// No connection to the chosen target was made, for this reason.
    pub(crate) fn unreached(&self, why: NoDial) {
        if let Some(route) = self.handles() {
            self.worker.metrics.count_unreached(route, why.word());
        }
    }
}

impl Attempts {
    pub(super) fn begin(&mut self, endpoint: &Arc<Endpoint>) {
        self.under_way = Some((Arc::clone(endpoint), Instant::now()));
        self.last = Some(Arc::clone(endpoint));
    }

    /// The one under way has failed; or, where none is, a target that could not be sent to.
    pub(super) fn fail(&mut self, target: usize, reason: &'static str, status: Option<u16>) {
        let (endpoint, began) = self.under_way.take().unzip();
        let took = began.map(|began| began.elapsed());
        self.failed.push(Tried { target, endpoint, status, reason, took, expected: None });
    }
}
