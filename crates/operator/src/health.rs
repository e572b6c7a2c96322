//! Whether the process still does what it is there for.
//!
//! The parts that never rest say so each time they turn: the election at every look, each watch when it is begun again,
//! which it is at least every half minute. One that has been silent for long is stuck, and only a new process helps. That
//! the API server does not answer is not being stuck: the parts turn then, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest silence. Watches are begun again every 25 s, or after 30 s without a word and a pause of 5 s.
const LONGEST: Duration = Duration::from_secs(150);

/// When each part turned last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Pulse {
    /// The part turns now.
    pub(crate) fn beat(&self, part: &str) {
        self.beat_at(part, Instant::now());
    }

    fn beat_at(&self, part: &str, now: Instant) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match parts.get_mut(part) {
            Some(last) => *last = now,
            None => {
                parts.insert(part.to_owned(), now);
            }
        }
    }

    /// What is stuck, in a sentence each.
    pub(crate) fn stuck(&self, now: Instant) -> Vec<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |last: &Instant| now.saturating_duration_since(*last);
        let stuck = parts.iter().filter(|(_, last)| silent(last) > LONGEST);
        stuck.map(|(part, last)| format!("{part} has not turned for {} s", silent(last).as_secs())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        pulse.beat_at("a", start);
        pulse.beat_at("b", start);
        assert_eq!(pulse.stuck(at(150)), Vec::<String>::new());
        pulse.beat_at("a", at(100));
        assert_eq!(pulse.stuck(at(151)), ["b has not turned for 151 s"]);
        pulse.beat_at("b", at(152));
        assert_eq!(pulse.stuck(at(152)), Vec::<String>::new());
    }
}
