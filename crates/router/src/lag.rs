//! How far a worker is behind with its work, and whether it therefore refuses new requests.
//!
//! What a router runs out of is its processor; its tasks then queue up, and everything waits as long as that queue is. So
//! the time from when a task is queued until it runs is what is measured, by a task that does nothing else, and only
//! while requests come. Nothing new is let in while the queue is too long: the processor stays busy with what was begun,
//! and no answer waits longer than the queue may be.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How often the lag is measured while requests come.
const EVERY: Duration = Duration::from_millis(2);
/// A lag that was measured longer ago than this says nothing any more.
const STALE: Duration = Duration::from_millis(200);
/// How often in a row, and for how long, the lag must be too large before anything is refused. Another process that took
/// the processor for a moment is no overload, nor are many streams whose tokens come at once.
const PATIENCE_LOOKS: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(250);
/// How long after it was too large last a worker needs no patience to refuse again.
const WARY: Duration = Duration::from_secs(1);

/// The lag of one worker.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// When the measurement under way began, and when the last one did.
    under_way: Cell<Option<Instant>>,
    begun: Cell<Option<Instant>>,
    /// What was measured last.
    last: Cell<Duration>,
    /// Since when each measurement found too much, and how many those are.
    above: Cell<Option<(Instant, u32)>>,
    /// Until when the worker is wary.
    wary: Cell<Option<Instant>>,
}

/// What to do about a request that came now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Refuse it.
    pub(crate) refuse: bool,
    /// Queue a task that calls [`Lag::ran`].
    pub(crate) measure: bool,
}

impl Lag {
    /// Judges a request that came at `now`, if a queue of `most` is the longest that may be; zero is no limit.
    pub(crate) fn asked(&self, now: Instant, most: Duration) -> Verdict {
        if most.is_zero() {
            return Verdict { refuse: false, measure: false };
        }
        let since = self.begun.get().map(|begun| now - begun);
        let measure = self.under_way.get().is_none() && since.is_none_or(|since| since >= EVERY);
        if measure {
            if since.is_none_or(|since| since >= STALE) {
                self.last.set(Duration::ZERO);
                self.above.set(None);
            }
            self.begun.set(Some(now));
            self.under_way.set(Some(now));
        }
        // One that is under way for longer than the last one took knows more.
        let waits = self.under_way.get().map_or(Duration::ZERO, |begun| now - begun);
        let refuse = self.last.get().max(waits) > most && self.is_wary(now);
        Verdict { refuse, measure }
    }

    /// What was queued for a measurement ran at `now`.
    pub(crate) fn ran(&self, now: Instant, most: Duration) {
        let Some(begun) = self.under_way.take() else { return };
        let lag = now - begun;
        self.last.set(lag);
        let above = (lag > most).then(|| self.above.get().map_or((begun, 1), |(since, looks)| (since, looks + 1)));
        self.above.set(above);
        let lasting = above.is_some_and(|(since, looks)| looks >= PATIENCE_LOOKS && now - since >= PATIENCE);
        if lasting || (above.is_some() && self.is_wary(now)) {
            self.wary.set(Some(now + WARY));
        }
    }

    fn is_wary(&self, now: Instant) -> bool {
        self.wary.get().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(10);

    /// Asks and measures: each row is when a request comes, when the measurement that it begins ends, both in milliseconds
    /// since the start, and whether the request is refused.
    fn judge(rows: &[(u64, u64, bool)]) {
        let (lag, start) = (Lag::default(), Instant::now());
        for (at, ran, refused) in rows {
            let verdict = lag.asked(start + Duration::from_millis(*at), MOST);
            assert_eq!(verdict.refuse, *refused, "at {at} ms");
            if verdict.measure {
                lag.ran(start + Duration::from_millis(*ran), MOST);
            }
        }
    }

    #[test]
    fn a_short_lag_refuses_nothing() {
        judge(&[(0, 100, false), (101, 200, false), (201, 301, false), (302, 303, false), (304, 305, false)]);
    }

    #[test]
    fn many_looks_within_a_moment_refuse_nothing() {
        judge(&[
            (0, 20, false),
            (21, 40, false),
            (41, 60, false),
            (61, 80, false),
            (81, 100, false),
            (101, 110, false),
        ]);
    }

    #[test]
    fn a_lasting_lag_refuses_until_it_is_short_again() {
        judge(&[
            (0, 80, false),
            (81, 160, false),
            (161, 240, false),
            (241, 320, false),
            (321, 340, true),
            (341, 350, true),
            // The queue is short, then too long again: a worker that is wary is not patient.
            (351, 352, false),
            (354, 380, false),
            (381, 382, true),
            (384, 385, false),
            // A second later it is as patient as at first.
            (1500, 1580, false),
            (1581, 1600, false),
        ]);
    }

    #[test]
    fn a_measurement_that_is_still_under_way_counts() {
        let (lag, start) = (Lag::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        lag.wary.set(Some(at(1000)));
        assert_eq!(lag.asked(at(0), MOST), Verdict { refuse: false, measure: true });
        assert_eq!(lag.asked(at(10), MOST), Verdict { refuse: false, measure: false });
        assert_eq!(lag.asked(at(11), MOST), Verdict { refuse: true, measure: false });
        // What was measured long ago says nothing.
        lag.ran(at(11), MOST);
        assert_eq!(lag.asked(at(300), MOST), Verdict { refuse: false, measure: true });
    }

    #[test]
    fn without_a_limit_nothing_is_measured() {
        assert_eq!(Lag::default().asked(Instant::now(), Duration::ZERO), Verdict { refuse: false, measure: false });
    }
}
