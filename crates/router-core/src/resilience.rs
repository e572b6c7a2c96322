//! What a policy says of targets that fail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::EjectionRules;

/// Why a target did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It could not be connected to.
    ConnectFailure,
    /// It was too slow.
    Timeout,
    /// It has had as much as it takes.
    RateLimited,
    /// It has too much to do.
    Overloaded,
    /// It failed, or cannot be used as it is set up.
    ServerError,
    /// A pool has no ready replica.
    Cold,
    /// It cannot do what the request asks for. Another target may, whatever the policy says of failures.
    Unfit,
}

impl Reason {
    /// The name by which policies and logs know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailure => "ConnectFailure",
            Self::Timeout => "Timeout",
            Self::RateLimited => "RateLimited",
            Self::Overloaded => "Overloaded",
            Self::ServerError => "ServerError",
            Self::Cold => "Cold",
            Self::Unfit => "Unfit",
        }
    }
}

/// When another target is asked, and how long each may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resilience {
    /// For which failures the next target is asked.
    pub fallback_on: Vec<Reason>,
    /// How long a connection may take; `None`: as the router has it, as with all that follow.
    pub connect: Option<Duration>,
    /// How long the first token of a stream may take.
    pub first_token: Option<Duration>,
    /// How long an answer may pause.
    pub idle: Option<Duration>,
    /// How long everything may take.
    pub total: Option<Duration>,
    /// Most further attempts of one request.
    pub attempts: usize,
    /// Most further attempts for a hundred requests.
    pub budget_percent: u64,
    /// Failures in a row after which a target that is no pool is left alone.
    pub breaker_failures: u16,
    /// For how long, at first.
    pub ejection: Duration,
    /// How long the first target has to begin its answer until the next one is asked beside it; `None`: it is not.
    #[serde(default)]
    pub hedge_after: Option<Duration>,
}

impl Default for Resilience {
    fn default() -> Self {
        use Reason::{Cold, ConnectFailure, Overloaded, RateLimited, ServerError, Timeout};
        Self {
            fallback_on: vec![ConnectFailure, Timeout, RateLimited, Overloaded, ServerError, Cold],
            connect: None,
            first_token: None,
            idle: None,
            total: None,
            attempts: 2,
            budget_percent: 10,
            breaker_failures: 5,
            ejection: Duration::from_secs(30),
            hedge_after: None,
        }
    }
}

impl Resilience {
    /// Whether the next target is asked after this.
    #[must_use]
    pub fn falls_back_on(&self, reason: Reason) -> bool {
        reason == Reason::Unfit || self.fallback_on.contains(&reason)
    }

    /// When a target that is no pool is left alone.
    #[must_use]
    pub fn breaker(&self) -> EjectionRules {
        EjectionRules { failures: self.breaker_failures, first: self.ejection, ..EjectionRules::default() }
    }
}
