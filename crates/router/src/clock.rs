//! The one clock that endpoints are judged by. All threads share their standing, so they must share its zero too.

use std::sync::LazyLock;
use std::time::Instant;

use router_core::Moment;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since this was asked first.
pub(crate) fn now() -> Moment {
    Moment(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
}
