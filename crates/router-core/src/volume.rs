//! What a policy has had in one day, counted by each router for itself and told to the others. See docs/design/023.
//!
//! Each router only ever raises its own count, and of the count of another router the highest that was heard of is the
//! newest. So what two routers know can be put together in any order, any number of times, and a router that begins anew
//! learns from any other one what it had counted itself before.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use ::rules::Today;
use serde::{Deserialize, Serialize};

use crate::word::Word;

/// A day in UTC: so many after the first of January 1970.
pub type Day = u32;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Bits of a word that count; the others tell the day.
const BITS: u32 = 48;
const MOST: u64 = (1 << BITS) - 1;
/// Most policies that are taken from another router, and most routers for each. A process that begins anew counts as
/// another router.
const MOST_POLICIES: usize = 10_000;
const MOST_ROUTERS: usize = 1_000;

/// The day, so many seconds after 1970 began.
#[must_use]
pub fn day(seconds: u64) -> Day {
    Day::try_from(seconds / DAY).unwrap_or(Day::MAX)
}

/// A count of one day, which starts anew with the next. One word, so that it is counted without a lock and never half of it
/// is of yesterday.
#[derive(Debug, Default)]
struct DayCount<W = AtomicU64>(W);

impl<W: Word> DayCount<W> {
    fn get(&self, day: Day) -> u64 {
        Self::of(self.0.get(), day)
    }

    fn add(&self, day: Day, amount: u64) {
        self.change(day, |before| before.saturating_add(amount));
    }

    fn set(&self, day: Day, count: u64) {
        self.change(day, |_| count);
    }

    fn change(&self, day: Day, new: impl Fn(u64) -> u64) {
        loop {
            let old = self.0.get();
            let count = new(Self::of(old, day)).min(MOST);
            if self.0.replace(old, (u64::from(day) << BITS) | count) {
                return;
            }
        }
    }

    /// What a word counts of this day. Days that fall together are 179 years apart.
    fn of(word: u64, day: Day) -> u64 {
        if word >> BITS == (u64::from(day) << BITS) >> BITS { word & MOST } else { 0 }
    }
}

/// What one policy has had, at this router and, as far as it has heard, at the others.
#[derive(Debug, Default)]
pub struct Volume {
    requests: DayCount,
    tokens: DayCount,
    other_requests: DayCount,
    other_tokens: DayCount,
}

impl Volume {
    /// A request came.
    pub fn asked(&self, day: Day) {
        self.requests.add(day, 1);
    }

    /// An answer had so many tokens, with its prompt.
    pub fn used(&self, day: Day, tokens: u64) {
        self.tokens.add(day, tokens);
    }

    /// What this router has counted.
    #[must_use]
    pub fn own(&self, day: Day) -> Counts {
        Counts { requests: self.requests.get(day), tokens: self.tokens.get(day) }
    }

    /// All other routers together have counted this.
    pub fn learn(&self, day: Day, others: Counts) {
        self.other_requests.set(day, others.requests);
        self.other_tokens.set(day, others.tokens);
    }

    /// What all routers have counted.
    #[must_use]
    pub fn today(&self, day: Day) -> Today {
        Today {
            requests: self.requests.get(day).saturating_add(self.other_requests.get(day)),
            tokens: self.tokens.get(day).saturating_add(self.other_tokens.get(day)),
        }
    }
}

/// What one router has counted of one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
}

impl From<(u64, u64)> for Counts {
    fn from((requests, tokens): (u64, u64)) -> Self {
        Self { requests, tokens }
    }
}

impl From<Counts> for (u64, u64) {
    fn from(counts: Counts) -> Self {
        (counts.requests, counts.tokens)
    }
}

impl Counts {
    /// The newer of two counts of one router: a count only ever grows.
    #[must_use]
    fn newer(self, other: Self) -> Self {
        Self { requests: self.requests.max(other.requests), tokens: self.tokens.max(other.tokens) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// What each router has counted of each policy in one day, as far as one of them knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The router that this comes from.
    pub router: String,
    /// Which day it is about.
    pub day: Day,
    /// By namespace and name of the policy, then by router.
    policies: BTreeMap<String, BTreeMap<String, Counts>>,
}

impl Book {
    /// An empty one of this router.
    #[must_use]
    pub fn new(router: String) -> Self {
        Self { router, ..Self::default() }
    }

    /// Makes it one about this day: of another day nothing is kept.
    pub fn turn_to(&mut self, day: Day) {
        if self.day != day {
            self.day = day;
            self.policies.clear();
        }
    }

    /// This router has counted so much of a policy.
    pub fn count(&mut self, policy: &str, counts: Counts) {
        if counts != Counts::default() {
            let of_policy = self.policies.entry(policy.to_owned()).or_default();
            let own = of_policy.entry(self.router.clone()).or_default();
            *own = own.newer(counts);
        }
    }

    /// Takes over what another router knows of the same day.
    pub fn merge(&mut self, other: &Self) {
        if self.day != other.day {
            return;
        }
        for (policy, theirs) in &other.policies {
            if self.policies.len() >= MOST_POLICIES && !self.policies.contains_key(policy) {
                continue;
            }
            let ours = self.policies.entry(policy.clone()).or_default();
            for (router, counts) in theirs {
                if ours.len() < MOST_ROUTERS || ours.contains_key(router) {
                    let known = ours.entry(router.clone()).or_default();
                    *known = known.newer(*counts);
                }
            }
        }
    }

    /// What all routers but this one have counted of a policy.
    #[must_use]
    pub fn others(&self, policy: &str) -> Counts {
        let all = self.policies.get(policy).into_iter().flatten();
        let others = all.filter(|(router, _)| **router != self.router);
        others.fold(Counts::default(), |sum, (_, counts)| sum.and(*counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(requests: u64, tokens: u64) -> Counts {
        Counts { requests, tokens }
    }

    #[test]
    fn a_day_is_one_of_utc() {
        for (seconds, want) in [(0, 0), (86_399, 0), (86_400, 1), (1_795_263_821, 20_778), (u64::MAX, Day::MAX)] {
            assert_eq!(day(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn each_day_starts_anew() {
        let volume = Volume::default();
        let today = |day| (volume.today(day).requests, volume.today(day).tokens);
        volume.asked(7);
        volume.asked(7);
        volume.used(7, 500);
        volume.learn(7, counts(10, 1_000));
        assert_eq!((today(7), volume.own(7)), ((12, 1_500), counts(2, 500)));
        assert_eq!(today(8), (0, 0), "midnight has passed, and nobody has come yet");
        volume.asked(8);
        assert_eq!(today(8), (1, 0));
        volume.used(8, u64::MAX);
        volume.used(8, 1);
        assert_eq!(today(8).1, MOST, "it never runs over into the day");
        volume.asked(7);
        assert_eq!(today(7), (11, 1_000), "after a clock was set back too, counting goes on");
    }

    #[test]
    fn counts_from_many_threads_are_all_there() {
        loom::model(|| {
            let count = loom::sync::Arc::new(DayCount(loom::sync::atomic::AtomicU64::new((6 << BITS) | 900)));
            let other = loom::sync::Arc::clone(&count);
            let thread = loom::thread::spawn(move || other.add(7, 2));
            count.add(7, 3);
            thread.join().unwrap();
            assert_eq!(count.get(7), 5);
        });
    }

    #[test]
    fn a_router_that_begins_anew_learns_what_it_had_counted() {
        let mut other = Book::new("b".to_owned());
        other.turn_to(7);
        let mut first = Book::new("a-1".to_owned());
        first.turn_to(7);
        first.count("ml/r", counts(3, 30));
        first.count("ml/none", counts(0, 0));
        other.merge(&first);
        let mut second = Book::new("a-2".to_owned());
        second.turn_to(7);
        second.count("ml/r", counts(1, 5));
        second.merge(&other);
        assert_eq!((second.others("ml/r"), second.others("ml/none")), (counts(3, 30), counts(0, 0)));
        second.turn_to(8);
        second.merge(&other);
        assert_eq!(second.others("ml/r"), counts(0, 0), "yesterday's are not today's");
    }

    #[test]
    fn no_router_fills_the_memory_of_another() {
        let mut flood = Book::new("x".to_owned());
        for number in 0..MOST_ROUTERS + 50 {
            flood.router = number.to_string();
            flood.count("ml/r", counts(1, 1));
        }
        for number in 0..MOST_POLICIES + 50 {
            flood.count(&number.to_string(), counts(1, 1));
        }
        let mut book = Book::new("a".to_owned());
        book.merge(&flood);
        assert!(book.policies.len() <= MOST_POLICIES && book.policies.values().all(|all| all.len() <= MOST_ROUTERS));
    }

    proptest! {
        /// In whatever order and however often routers hear of each other, they come to the same counts.
        #[test]
        fn what_is_heard_twice_or_late_counts_once(
            said in proptest::collection::vec((0..3usize, 0..50u64, 0..50u64), 0..12),
            heard in proptest::collection::vec((0..3usize, 0..3usize), 0..12),
        ) {
            let mut books: Vec<Book> = (0..3).map(|at| Book::new(format!("r{at}"))).collect();
            let mut truth = [Counts::default(); 3];
            for (at, requests, tokens) in said {
                truth[at] = truth[at].newer(counts(requests, tokens));
                books[at].count("p", counts(requests, tokens));
            }
            let all = (0..3).flat_map(|a| (0..3).map(move |b| (a, b)));
            for (to, from) in heard.into_iter().chain(all) {
                let other = books[from].clone();
                books[to].merge(&other);
            }
            for (at, book) in books.iter().enumerate() {
                let want = (0..3).filter(|other| *other != at).fold(Counts::default(), |sum, at| sum.and(truth[at]));
                prop_assert_eq!(book.others("p"), want);
            }
            let text = serde_json::to_string(&books[0]).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Book>(&text).unwrap(), &books[0]);
        }
    }
}
