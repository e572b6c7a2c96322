//! The one clock that endpoints are judged by. All threads share their standing, so they must share its zero too.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use router_core::{Day, Moment, day};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since this was asked first.
pub(crate) fn now() -> Moment {
    Moment(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The time since 1970: for people, for other machines, and for what outlives the process.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock enters")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970 with a sign, as tokens say when they end.
pub(crate) fn seconds_since_1970() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// The day in UTC, by which policies' volumes are counted.
pub(crate) fn today() -> Day {
    day(since_1970().as_secs())
}

/// Waits until then; for ever where nothing is due.
pub(crate) async fn at(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
