//! The one clock that endpoints are judged by. All threads share their standing, so they must share its zero too.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use router_core::{Day, Moment, day};

use crate::request_log;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since this was asked first.
pub(crate) fn now() -> Moment {
    Moment(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since 1970, by which tokens say when they end.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock enters")]
pub(crate) fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The day in UTC, by which policies' volumes are counted.
pub(crate) fn today() -> Day {
    day(request_log::now().as_secs())
}
