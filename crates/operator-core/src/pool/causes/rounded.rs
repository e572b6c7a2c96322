//! Ages and counts in words that change seldom.
//!
//! A figure in a condition that changed at every look would make a write of every look. So a message says "for more than
//! 5 minutes" until it can say "for more than 10 minutes", and the pool is looked at again at that moment.

use std::time::Duration;

/// The minutes after which a message about something that lasts is renewed. From then on it is renewed every hour.
const MINUTES: [u64; 8] = [1, 2, 5, 10, 20, 30, 45, 60];
const HOUR: u64 = 3600;

/// The counts that are told.
const COUNTS: [i32; 10] = [2, 3, 5, 10, 20, 50, 100, 200, 500, 1000];

/// How long something has lasted, in words that go on from "for", and after what time the words will be others.
pub(super) fn age(lasted: Duration) -> (String, Duration) {
    let seconds = lasted.as_secs();
    let after = |next: u64| Duration::from_secs(next).saturating_sub(lasted).max(Duration::from_secs(1));
    if seconds >= HOUR {
        let hours = seconds / HOUR;
        let words = if hours == 1 { "more than an hour".to_owned() } else { format!("more than {hours} hours") };
        return (words, after((hours + 1) * HOUR));
    }
    let passed = MINUTES.iter().take_while(|minutes| **minutes * 60 <= seconds).last();
    let next = MINUTES.iter().find(|minutes| **minutes * 60 > seconds).map_or(HOUR, |minutes| minutes * 60);
    let words = match passed {
        None => "less than a minute".to_owned(),
        Some(1) => "more than a minute".to_owned(),
        Some(minutes) => format!("more than {minutes} minutes"),
    };
    (words, after(next))
}

/// How often something has happened, to be read after a verb; empty for once.
pub(super) fn times(count: i32) -> String {
    let known = COUNTS.iter().take_while(|known| **known <= count).last();
    known.map_or_else(String::new, |known| format!(", at least {known} times"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_until_the_moment_that_is_told() {
        for seconds in (0..20_000).step_by(7) {
            let (words, next) = age(Duration::from_secs(seconds));
            let last = Duration::from_secs(seconds) + next;
            assert_eq!(age(last - Duration::from_secs(1)).0, words, "{seconds}");
            assert_ne!(age(last).0, words, "{seconds}");
        }
    }

    #[test]
    fn few_words_say_it() {
        let check = |seconds, want: &str| assert_eq!(age(Duration::from_secs(seconds)).0, want);
        check(0, "less than a minute");
        check(60, "more than a minute");
        check(299, "more than 2 minutes");
        check(300, "more than 5 minutes");
        check(3600, "more than an hour");
        check(9000, "more than 2 hours");
        for (count, want) in [(0, ""), (1, ""), (2, ", at least 2 times"), (4, ", at least 3 times"), (70, "50 times")]
        {
            assert!(times(count).ends_with(want), "{count}: {}", times(count));
        }
    }
}
