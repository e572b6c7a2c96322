//! How many requests may be tried a second time, so that trying again never becomes most of the load.

use crate::Moment;

/// Slices of the window that requests and retries are counted over, and how long each is.
const SLICES: usize = 10;
const SLICE_MILLIS: u64 = 1000;
/// Retries that the window always has room for: ten a second. When a replica dies, all that it had in hand fails at once, and
/// a router that was quiet before must be able to try all of that again.
const FLOOR: u64 = 100;
/// Attempts beside one that has not failed for which the window always has room: one a second. Nothing is lost without them, so
/// that a target which becomes slow must not cost a quiet router's others twice the load.
const FLOOR_BESIDE: u64 = 10;

/// Counts requests and retries of the last ten seconds, and says whether one more retry fits: at most so many for a hundred
/// requests, and a hundred in any case.
#[derive(Debug, Default)]
pub struct RetryBudget {
    slices: [Slice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    /// Which slice of time this is, counted from 1; another one's figures are old.
    number: u64,
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// A request has come.
    pub fn offered(&mut self, now: Moment) {
        self.slice(now).requests += 1;
    }

    /// Takes one retry out of the budget of this many for a hundred requests; `false` when there is none.
    #[must_use]
    pub fn take(&mut self, now: Moment, percent: u64) -> bool {
        self.take_within(now, FLOOR, percent, 100)
    }

    /// The same for an attempt beside one that has not failed: it may have half of the budget, so that the other half is left
    /// for requests that fail, and its floor is ten.
    #[must_use]
    pub fn take_beside(&mut self, now: Moment, percent: u64) -> bool {
        self.take_within(now, FLOOR_BESIDE, percent, 200)
    }

    /// Takes one where those of the window are fewer than `floor`, or than `part` of so many requests.
    fn take_within(&mut self, now: Moment, floor: u64, part: u64, of: u64) -> bool {
        let newest = number(now);
        let live = self.slices.iter().filter(|slice| slice.number + SLICES as u64 > newest);
        let (requests, retries) = live.fold((0, 0), |(q, t), slice| (q + slice.requests, t + slice.retries));
        if retries >= floor.max(requests.saturating_mul(part) / of) {
            return false;
        }
        self.slice(now).retries += 1;
        true
    }

    fn slice(&mut self, now: Moment) -> &mut Slice {
        let number = number(now);
        let at = usize::try_from(number % SLICES as u64).unwrap_or(0);
        let slice = &mut self.slices[at];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        slice
    }
}

fn number(now: Moment) -> u64 {
    now.0 / SLICE_MILLIS + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_floor_then_a_tenth() {
        let mut budget = RetryBudget::default();
        let taken = |budget: &mut RetryBudget, now: u64| (0..1000).take_while(|_| budget.take(Moment(now), 10)).count();
        assert_eq!(taken(&mut budget, 0), 100);
        for i in 0..3000 {
            budget.offered(Moment(i));
        }
        assert_eq!(taken(&mut budget, 3_000), 200, "a tenth of 3,000, of which a hundred are gone");
        assert_eq!(taken(&mut budget, 9_999), 0);
        // The first second is no longer in the window: 1,000 requests and a hundred retries fewer.
        assert_eq!(taken(&mut budget, 10_000), 0);
        assert_eq!(taken(&mut budget, 13_000), 100, "an idle window has its floor again");

        let mut budget = RetryBudget::default();
        (0..2000).for_each(|_| budget.offered(Moment(0)));
        assert_eq!(taken(&mut budget, 0), 200);
        assert!(budget.take(Moment(0), 11), "a larger part has room for more");
    }

    #[test]
    fn those_beside_others_have_half_and_leave_the_rest() {
        let mut budget = RetryBudget::default();
        let beside = |budget: &mut RetryBudget| (0..1000).take_while(|_| budget.take_beside(Moment(0), 10)).count();
        let after = |budget: &mut RetryBudget| (0..1000).take_while(|_| budget.take(Moment(0), 10)).count();
        assert_eq!((beside(&mut budget), after(&mut budget)), (10, 90), "together they have the floor");
        assert_eq!(beside(&mut budget), 0);

        let mut budget = RetryBudget::default();
        (0..4000).for_each(|_| budget.offered(Moment(0)));
        assert_eq!((beside(&mut budget), after(&mut budget)), (200, 200), "together they have a tenth");

        let mut budget = RetryBudget::default();
        (0..4000).for_each(|_| budget.offered(Moment(0)));
        assert_eq!((after(&mut budget), beside(&mut budget)), (400, 0), "what failed comes first");
    }

    proptest! {
        #[test]
        fn no_window_has_more_retries_than_its_part(steps in prop::collection::vec((0u64..400, 0u8..4), 1..600)) {
            let (mut budget, mut now, mut log) = (RetryBudget::default(), 0, Vec::new());
            for (pause, kind) in steps {
                now += pause;
                if kind == 0 {
                    budget.offered(Moment(now));
                    log.push((now, true));
                } else if budget.take(Moment(now), 10) {
                    log.push((now, false));
                }
                // What the counts can still see is between nine and ten seconds old at most.
                let count = |age: u64, request: bool| log.iter().filter(|(at, r)| at + age > now && *r == request).count() as u64;
                prop_assert!(count(9_000, false) <= FLOOR.max(count(10_000, true) / 10) || kind != 1);
            }
        }
    }
}
