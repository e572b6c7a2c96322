//! What happens to pools when the way between operator and API server breaks: a proxy that breaks it by rule
//! ([`apifault`]), a bed to run operators in behind it ([`bed`]), and what objects and end states are compared by
//! ([`content`], [`dump`]).
//!
//! The proofs are in `scenarios/`; `cargo xtask test --only fault` runs them on a cluster of their own.

pub mod apifault;
pub mod bed;
pub mod content;
pub mod dump;
pub mod server;

use std::time::{Duration, Instant};

/// Something did not come about in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {limit:?}: {last}")]
pub struct Late {
    what: String,
    limit: Duration,
    last: String,
}

/// Looks every `pause` until `look` gives something. What it says when it does not is kept for the message.
///
/// # Errors
/// After `limit`.
pub async fn wait_for<T, W: std::fmt::Display>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut look: impl AsyncFnMut() -> Result<T, W>,
) -> Result<T, Late> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(last) if start.elapsed() > limit => {
                return Err(Late { what: what.to_owned(), limit, last: last.to_string() });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}
