//! One request under way at one endpoint.

use std::sync::Arc;

use crate::health::Trial;
use crate::load::Share;
use crate::pick::{Picked, pick};
use crate::{EjectionRules, Endpoint, Moment, Standing, Want, Work};

/// How an attempt ended, as far as it says something about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint did its part, even if its answer was a refusal.
    Well,
    /// The endpoint is fully occupied. That is no fault, and ejecting it would only press the others.
    Full,
    /// The endpoint could not be reached, broke off, fell silent or said that it failed.
    Failed,
    /// The endpoint said that it stops and takes nothing more.
    Stopping,
}

/// A request under way: it counts as load of its endpoint until it is dropped. A drop without a verdict says nothing about
/// the endpoint: the client left.
#[derive(Debug)]
pub struct Attempt {
    endpoint: Arc<Endpoint>,
    share: Share,
    trial: Option<Trial>,
    /// It was sent although the endpoint is ejected.
    anyway: bool,
    judged: bool,
}

impl Attempt {
    /// Picks an endpoint for `want`, leaving out those in `tried`, and counts the request there; `None` when none is left.
    #[must_use]
    pub fn begin(endpoints: &[Arc<Endpoint>], tried: &[Arc<Endpoint>], want: &Want) -> Option<Self> {
        loop {
            let picked = pick(endpoints, tried, want)?;
            // Whoever comes second for a trial picks again, and then sees that it is taken.
            if let Some(attempt) = Self::at(&picked, want.work, want.now) {
                return Some(attempt);
            }
        }
    }

    /// Counts the request at an endpoint that has none beside it; `None` while that is left alone for its failures.
    #[must_use]
    pub fn alone(endpoint: &Arc<Endpoint>, work: Work, now: Moment) -> Option<Self> {
        let picked = match endpoint.health.standing(now) {
            Standing::Serving => Picked::Serving(endpoint),
            Standing::Due => Picked::Trial(endpoint),
            Standing::Ejected(_) | Standing::OnTrial(_) => return None,
        };
        Self::at(&picked, work, now)
    }

    fn at(picked: &Picked<'_>, work: Work, now: Moment) -> Option<Self> {
        let (trial, anyway) = match picked {
            Picked::Serving(_) => (None, false),
            Picked::Anyway(_) => (None, true),
            Picked::Trial(endpoint) => (Some(endpoint.health.claim(now)?), false),
        };
        let endpoint = Arc::clone(picked.endpoint());
        let share = endpoint.load.enter(work);
        Some(Self { endpoint, share, trial, anyway, judged: false })
    }

    /// The endpoint that carries it.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// So many bytes of a streamed answer have passed on.
    pub fn streamed(&mut self, bytes: usize) {
        self.endpoint.load.streamed(&mut self.share, bytes);
    }

    /// The answer has begun well. A trial ends with this, because the answer's end can be minutes away.
    pub fn answers(&mut self) {
        if self.trial.is_some() || self.anyway {
            self.endpoint.health.succeeded(self.trial.as_ref(), self.anyway);
            (self.trial, self.anyway) = (None, false);
        }
    }

    /// The attempt is over; whether this ejects the endpoint. Only the first verdict counts.
    pub fn judge(&mut self, verdict: Verdict, now: Moment, rules: &EjectionRules) -> bool {
        if std::mem::replace(&mut self.judged, true) {
            return false;
        }
        let (trial, anyway) = (self.trial.take(), std::mem::take(&mut self.anyway));
        let health = &self.endpoint.health;
        match verdict {
            Verdict::Well => {
                health.succeeded(trial.as_ref(), anyway);
                false
            }
            Verdict::Full => {
                // It answers, so a trial has shown what it was to show.
                if trial.is_some() || anyway {
                    health.succeeded(trial.as_ref(), anyway);
                }
                false
            }
            Verdict::Failed => health.failed(trial.as_ref(), false, now, rules),
            Verdict::Stopping => health.failed(trial.as_ref(), true, now, rules),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(trial) = &self.trial {
            self.endpoint.health.give_back(trial);
        }
        self.endpoint.load.leave(&self.share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::{endpoints, want};

    #[test]
    fn counts_until_dropped() {
        let all = endpoints(1);
        let work = Work { prompt: 5, output: 20 };
        let enter = || Attempt::begin(&all, &[], &Want { work, ..want(0) }).unwrap();
        let (mut one, two) = (enter(), enter());
        assert_eq!((all[0].load.in_flight(), all[0].load.tokens()), (2, 50));
        one.streamed(1 << 20);
        assert_eq!(all[0].load.tokens(), 30);
        drop(one);
        drop(two);
        assert_eq!((all[0].load.in_flight(), all[0].load.tokens()), (0, 0));
    }

    #[test]
    fn one_that_stands_alone_is_left_alone_until_its_trial() {
        let rules = EjectionRules::default();
        let endpoint = Arc::new(Endpoint::named("a.example", Moment(0)));
        let begin = |now: u64| Attempt::alone(&endpoint, Work { prompt: 1, output: 1 }, Moment(now));
        assert!(begin(0).unwrap().judge(Verdict::Stopping, Moment(0), &rules));
        assert!(begin(4_999).is_none());
        let trial = begin(5_000).unwrap();
        assert!(begin(5_000).is_none(), "one trial at a time");
        drop(trial);
        let mut trial = begin(5_001).unwrap();
        assert!(!trial.judge(Verdict::Well, Moment(5_001), &rules));
        assert!(begin(5_002).is_some() && begin(5_002).is_some());
    }

    #[test]
    fn verdicts_eject_and_bring_back() {
        let rules = EjectionRules::default();
        let all = endpoints(2);
        let ejected = |at: usize| all[at].health.standing(Moment(0)) != Standing::Serving;
        let begin =
            |tried: &[Arc<Endpoint>], now: u64| Attempt::begin(&all, tried, &Want { now: Moment(now), ..want(0) });
        for verdict in [Verdict::Well, Verdict::Full] {
            for _ in 0..20 {
                assert!(!begin(&all[1..], 0).unwrap().judge(verdict, Moment(0), &rules));
            }
        }
        assert!(begin(&all[1..], 0).unwrap().judge(Verdict::Stopping, Moment(0), &rules));
        assert!(ejected(0) && !ejected(1));
        // One whose client left gives its trial back, and one that only began well ends it.
        let due = all[0].health.standing(Moment(5_000));
        assert_eq!(due, Standing::Due);
        drop(begin(&all[1..], 5_000).unwrap());
        assert_eq!(all[0].health.standing(Moment(5_000)), Standing::Due);
        let mut trial = begin(&all[1..], 5_000).unwrap();
        assert!(begin(&all[1..], 5_000).is_some_and(|other| other.anyway), "no second trial, but the only one left");
        trial.answers();
        assert!(!ejected(0));
        // What comes after that is a failure like any other.
        assert!(!trial.judge(Verdict::Failed, Moment(5_000), &rules));
        assert!(!trial.judge(Verdict::Stopping, Moment(5_000), &rules), "the first verdict counts");
    }
}
