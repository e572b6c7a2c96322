//! What a policy says about targets that fail.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// Why a target did not answer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackReason {
    /// It could not be connected to.
    ConnectFailure,
    /// It was too slow by one of `timeouts`.
    Timeout,
    /// It has had as many requests, tokens or as much money as it takes: 429, 402.
    RateLimited,
    /// It has too much to do: 503, 529.
    Overloaded,
    /// It failed: another status from 500, an error as the first event of a stream, a connection that broke, an answer that
    /// is none; also a key that it refuses, and a model that it does not know.
    ServerError,
    /// A pool has no ready replica.
    Cold,
}

impl FallbackReason {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![Self::ConnectFailure, Self::Timeout, Self::RateLimited, Self::Overloaded, Self::ServerError, Self::Cold]
    }
}

/// How long a target may take. What is not set here is as the router's command line has it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.total) || !has(self.firstToken) || duration(self.firstToken) <= duration(self.total)")
        .message("spec.timeouts.firstToken must not exceed spec.timeouts.total; raise total or lower firstToken"),
    validation = Rule::new("!has(self.connect) || duration(self.connect) > duration('0s')")
        .message("spec.timeouts.connect must be at least 1s"),
    validation = Rule::new("!has(self.firstToken) || duration(self.firstToken) > duration('0s')")
        .message("spec.timeouts.firstToken must be at least 1s"),
    validation = Rule::new("!has(self.idle) || duration(self.idle) > duration('0s')")
        .message("spec.timeouts.idle must be at least 1s"),
    validation = Rule::new("!has(self.total) || duration(self.total) > duration('0s')")
        .message("spec.timeouts.total must be at least 1s")
)]
pub struct Timeouts {
    /// Until a connection is there, with its name resolved and TLS agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// Of a stream: from the request until the first token. A plain answer begins when it is finished, so only `total` is
    /// for those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Duration>,
    /// Between two pieces of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// For everything that is done about a request: all its attempts, and the answer to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
}

/// How often a request is sent again.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Most further attempts of one request: on other replicas of a pool, and, after a pause, on the last provider that is
    /// left. Going on to the next target is not counted here.
    #[serde(default = "attempts")]
    #[schemars(range(min = 0, max = 5))]
    pub attempts: i32,
    /// Most further attempts for a hundred requests that a router has had in the last ten seconds; a hundred in ten seconds
    /// always may. Attempts beside a target that is only slow (`hedge`) may have half of it, or ten in ten seconds.
    #[serde(default = "budget_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub budget_percent: i32,
}

fn attempts() -> i32 {
    2
}

fn budget_percent() -> i32 {
    10
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: attempts(), budget_percent: budget_percent() }
    }
}

/// When the next target is asked beside one that takes long.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hedge {
    /// How long the first target has to begin its answer, in milliseconds: a stream with its first token, a plain answer with
    /// all of it.
    #[schemars(range(min = 10, max = 60000))]
    pub after_milliseconds: i32,
}

/// When a provider or a service that fails is left alone.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    /// Failures in a row after which it is left alone.
    #[serde(default = "consecutive_failures")]
    #[schemars(range(min = 1, max = 100))]
    pub consecutive_failures: i32,
    /// For how long. Then one request finds out whether it has recovered; if not, the time doubles, up to 5 minutes.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("spec.breaker.ejection must be at least 1s"))]
    #[serde(default = "ejection")]
    pub ejection: Duration,
}

fn consecutive_failures() -> i32 {
    5
}

fn ejection() -> Duration {
    Duration::from_seconds(30)
}

impl Default for Breaker {
    fn default() -> Self {
        Self { consecutive_failures: consecutive_failures(), ejection: ejection() }
    }
}
