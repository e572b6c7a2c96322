//! How long the targets of a request may take: as its policy says, else as the router does.

use std::time::Duration;

use router_core::Resilience;
use tokio::time::Instant;

use crate::settings::Settings;

/// The times of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For a connection.
    pub(crate) connect: Duration,
    /// Until an answer begins.
    pub(crate) first: Duration,
    /// Between two pieces of an answer.
    pub(crate) idle: Duration,
    /// For everything.
    pub(crate) total: Duration,
    /// Most further attempts, on other replicas of a pool or, after a pause, on the last target.
    pub(crate) attempts: usize,
    /// When everything must be over.
    pub(crate) until: Instant,
}

impl Limits {
    /// Those of a request that begins now.
    pub(crate) fn of(settings: &Settings, resilience: &Resilience, stream: bool) -> Self {
        let total = resilience.total.unwrap_or(settings.total_timeout);
        // A plain answer begins when it is finished.
        let first = resilience.first_token.filter(|_| stream).unwrap_or(settings.first_byte_timeout);
        Self {
            connect: resilience.connect.unwrap_or(settings.connect_timeout),
            first,
            idle: resilience.idle.unwrap_or(settings.silence_timeout),
            total,
            attempts: resilience.attempts,
            until: Instant::now() + total,
        }
    }
}
