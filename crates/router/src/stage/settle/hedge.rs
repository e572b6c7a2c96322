//! The record of a request that goes two ways at once, and how it becomes that of one again.

use std::cell::Cell;
use std::rc::Rc;

use ledger::Money;
use router_core::{Choice, Reason, Work};

use super::attempts::Attempts;
use super::{Purpose, Record};

/// Why the attempt that was cancelled gave no answer.
const CANCELLED: &str = "cancelled";

/// What came of asking a second target beside a slow one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hedge {
    /// The first one was not slow.
    #[default]
    Not,
    /// The budget of retries had no room for it. With the place of the second target in its policy, as all that follow.
    Refused(usize),
    /// It was asked. Where the record ends with that, the client left first.
    Asked(usize),
    /// It gave the answer.
    Won(usize),
    /// The first one gave the answer, and the second was cancelled.
    Lost(usize),
    /// It could not answer.
    Failed(usize),
}

impl Hedge {
    /// The second target's place, and the word that logs and metrics have for what came of it.
    fn told(self) -> Option<(usize, &'static str)> {
        match self {
            Self::Not => None,
            Self::Refused(second) => Some((second, "refused")),
            Self::Asked(second) => Some((second, "left")),
            Self::Won(second) => Some((second, "won")),
            Self::Lost(second) => Some((second, "lost")),
            Self::Failed(second) => Some((second, "failed")),
        }
    }
}

impl Record {
    /// A second target may be asked for this request; what comes of that is told here.
    pub(crate) fn may_hedge(&mut self) -> Rc<Cell<Hedge>> {
        Rc::clone(self.hedge.get_or_insert_default())
    }

    /// Whether one of its targets was slow already, so that another was asked beside it, or would have been.
    pub(crate) fn hedged(&self) -> bool {
        self.hedge_told().is_some()
    }

    /// The record of this request's second way. Dropped, it counts and logs nothing.
    pub(crate) fn of_second_way(&self) -> Self {
        let mut way = self.of_copy();
        way.purpose = Purpose::Hedge;
        way.trace = self.trace.as_ref().map(|trace| trace.beside());
        way
    }

    /// The other way ends: by an answer with this status, which the client does not get, or else it was cancelled.
    pub(crate) fn joined(&mut self, mut other: Self, answered: Option<Option<u16>>, work: Work) {
        match answered {
            Some(status) if other.attempts.under_way.is_some() => other.attempt_failed(Reason::Unfit.name(), status),
            _ => other.cancelled(work),
        }
        self.retries += other.retries;
        self.attempts.failed.append(&mut other.attempts.failed);
    }

    /// The request goes the other way from here on: the chosen target failed for this reason, or was too slow.
    pub(crate) fn goes_by(&mut self, mut other: Self, failed: Option<Reason>, work: Work) {
        if let Some(reason) = failed {
            self.fell_back(reason);
        }
        self.cancelled(work);
        self.route = other.route.take();
        self.tier = std::mem::take(&mut other.tier);
        self.trace = other.trace.take();
        self.usage = std::mem::take(&mut other.usage);
        self.retries += other.retries;
        let Attempts { failed, under_way, last } = std::mem::take(&mut other.attempts);
        self.attempts.failed.extend(failed);
        (self.attempts.under_way, self.attempts.last) = (under_way, last.or_else(|| self.attempts.last.take()));
    }

    /// The attempt under way, if there is one, was cancelled. What it used nobody tells: of that, there is an estimate.
    fn cancelled(&mut self, work: Work) {
        if self.attempts.under_way.is_none() {
            return;
        }
        let expected = self.target().and_then(|target| target.price.expected(work));
        let expected = expected.filter(|cost| *cost > Money::ZERO);
        self.attempt_failed(CANCELLED, None);
        if let (Some(cost), Some(tried)) = (expected, self.attempts.failed.last_mut()) {
            tried.expected = Some(cost);
            if let Some(route) = self.handles() {
                self.worker.metrics.rules.count_hedged_cost(route, cost);
            }
        }
    }

    /// What log lines say.
    pub(super) fn hedge_told(&self) -> Option<&'static str> {
        self.hedge.as_ref()?.get().told().map(|(_, word)| word)
    }

    pub(super) fn count_hedge(&self) {
        let told = self.hedge.as_ref().and_then(|hedge| hedge.get().told());
        if let (Some((second, word)), Some((live, Choice { policy, .. }))) = (told, &self.route) {
            self.worker.metrics.rules.count_hedge(&live.routes[*policy][second], word);
        }
    }
}
