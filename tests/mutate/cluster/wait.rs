//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(150);

/// Looks until `look` gives something, and panics with `what` and its last word after `limit`.
pub(crate) async fn wait_for<T>(what: &str, limit: Duration, look: impl AsyncFn() -> Result<T, String>) -> T {
    within(limit, look).await.unwrap_or_else(|word| panic!("{what}: not within {limit:?}: {word}"))
}

/// Looks until `look` gives something, and gives its last word after `limit`.
pub(crate) async fn within<T>(limit: Duration, look: impl AsyncFn() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match look().await {
            Err(word) if start.elapsed() > limit => return Err(word),
            Err(_) => tokio::time::sleep(LOOK).await,
            found => return found,
        }
    }
}
