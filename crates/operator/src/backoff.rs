//! When an object whose reconcile failed is looked at again. Each object has its own count of failures, so a broken one
//! never slows the others down.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Class;

/// Longest wait after errors that pass by themselves.
const LONGEST: u64 = 256;
/// Objects that were deleted while they failed are forgotten after this long; it must be longer than any wait.
const REMEMBER: Duration = Duration::from_secs(3600);
/// How soon after a failure events alone have an object tried again. Its children and pods may change many times a second,
/// and each change would meet the same refusal.
const PACE: Duration = Duration::from_secs(1);

/// Counts of failures in a row, by object.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Debug)]
struct Failures {
    /// All of them.
    in_a_row: u32,
    /// Those that came after the wait that the one before had asked for. Only these make the waits longer: else an object
    /// about which much happens would soon be left alone for minutes.
    waited: u32,
    last: Instant,
    /// When the wait is over.
    due: Instant,
    class: Class,
    /// Of the object, when it failed.
    generation: Option<i64>,
}

impl Backoff {
    /// Counts a failure of the object `key` at `generation` and says how long to wait. `luck` lies in 0..1 and spreads
    /// objects that failed together.
    pub(crate) fn failed(&self, key: &str, generation: Option<i64>, class: Class, now: Instant, luck: f64) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, failures| now.saturating_duration_since(failures.last) < REMEMBER);
        let before = all.get(key);
        let in_a_row = before.map_or(0, |failures| failures.in_a_row).saturating_add(1);
        let early = before.filter(|failures| now < failures.due);
        let waited = match (early, before) {
            (Some(failures), _) => failures.waited,
            (None, failures) => failures.map_or(0, |failures| failures.waited).saturating_add(1),
        };
        let wait = wait(class, waited, luck);
        let wait = early.map_or(wait, |failures| wait.min(failures.due.saturating_duration_since(now)));
        all.insert(key.to_owned(), Failures { in_a_row, waited, last: now, due: now + wait, class, generation });
        wait
    }

    /// How long the object `key` at `generation` is to be left alone although something about it has changed: it has just
    /// failed in a way that the change is unlikely to mend. Who changes its spec is answered at once.
    pub(crate) fn pause(&self, key: &str, generation: Option<i64>, now: Instant) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get(key).filter(|failures| failures.generation == generation)?;
        let lasts = matches!(failures.class, Class::Bug | Class::Transient);
        let rest = PACE.saturating_sub(now.saturating_duration_since(failures.last));
        (lasts && !rest.is_zero()).then_some(rest)
    }

    /// How often the object `key` has failed in a row.
    pub(crate) fn in_a_row(&self, key: &str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map_or(0, |failures| failures.in_a_row)
    }

    /// Forgets the failures of the object `key`.
    pub(crate) fn succeeded(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The wait after the `in_a_row`th failure, counted from one.
fn wait(class: Class, in_a_row: u32, luck: f64) -> Duration {
    let growing = |most: u64| {
        let seconds = 1_u64.checked_shl(in_a_row.saturating_sub(1)).unwrap_or(most).min(most);
        Duration::from_secs(seconds).mul_f64(0.75 + luck / 2.0)
    };
    match class {
        // A change of the object triggers a look by itself; these looks are for changes elsewhere that nobody tells of.
        Class::Invalid => Duration::from_secs(600),
        Class::Waiting => Duration::from_secs(10),
        // What has changed is known a moment later, and may change again.
        Class::Conflict => growing(8),
        Class::Transient => growing(LONGEST),
        // A right that is given back does not tell; a minute is what an administrator may wait.
        Class::Bug => growing(60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_by_class_and_count() {
        let table = [
            (Class::Invalid, 1, 600.0),
            (Class::Invalid, 9, 600.0),
            (Class::Waiting, 3, 10.0),
            (Class::Bug, 1, 1.0),
            (Class::Bug, 30, 60.0),
            (Class::Conflict, 1, 1.0),
            (Class::Conflict, 30, 8.0),
            (Class::Transient, 1, 1.0),
            (Class::Transient, 4, 8.0),
            (Class::Transient, 9, 256.0),
            (Class::Transient, 1000, 256.0),
        ];
        for (class, count, seconds) in table {
            assert_eq!(wait(class, count, 0.5), Duration::from_secs_f64(seconds), "{class:?} {count}");
        }
        assert_eq!(wait(Class::Transient, 3, 0.0), Duration::from_secs(3));
    }

    #[test]
    fn counts_each_object_for_itself() {
        let (backoff, start) = (Backoff::default(), Instant::now());
        let fail =
            |key, at: u64| backoff.failed(key, None, Class::Transient, start + Duration::from_secs(at), 0.5).as_secs();
        assert_eq!([fail("a", 0), fail("a", 1), fail("b", 1), fail("a", 3)], [1, 2, 1, 4]);
        assert_eq!(["a", "b", "c"].map(|key| backoff.in_a_row(key)), [3, 1, 0]);
        backoff.succeeded("a");
        assert_eq!([fail("a", 3), fail("b", 3)], [1, 2]);
        assert_eq!(fail("b", 3 + REMEMBER.as_secs()), 1, "forgotten by then");
        // Those who try early because something has happened do not wait longer in the end.
        assert_eq!([0, 1, 3, 4, 5, 6, 7].map(|at| fail("c", at)), [1, 2, 4, 3, 2, 1, 8]);
    }

    #[test]
    fn events_alone_do_not_have_a_failed_object_tried_many_times_a_second() {
        let (backoff, start) = (Backoff::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for (class, paused) in [
            (Class::Bug, true),
            (Class::Transient, true),
            (Class::Conflict, false),
            (Class::Waiting, false),
            (Class::Invalid, false),
        ] {
            backoff.failed("a", Some(1), class, start, 0.5);
            let rest = backoff.pause("a", Some(1), after(300));
            assert_eq!(rest, paused.then_some(Duration::from_millis(700)), "{class:?}");
            assert_eq!(backoff.pause("a", Some(2), after(300)), None, "{class:?}: another spec");
            assert_eq!(backoff.pause("a", Some(1), after(1000)), None, "{class:?}: later");
            assert_eq!(backoff.pause("b", Some(1), after(300)), None, "{class:?}: another object");
        }
        backoff.failed("a", Some(1), Class::Bug, start, 0.5);
        backoff.succeeded("a");
        assert_eq!(backoff.pause("a", Some(1), after(300)), None, "it succeeded");
    }
}
