//! What a refusal leads to: what the client is told beside the status, and whether somebody else is asked.

use bytes::Bytes;
use wire::Dialect;
use wire::openai::ErrorBody;

use super::Refusal;
use crate::Reason;

/// Seconds until a client should ask again when no replica is ready. Short beside the minutes that an engine takes to
/// start, because the first of several can be ready at any moment, and long enough that waiting clients are no load.
const RETRY_AFTER_NO_REPLICA: u32 = 5;

impl Refusal {
    /// Seconds after which the same request may succeed: the `Retry-After` header.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Starting | Self::Overloaded(_) | Self::UpstreamOverloaded { .. } => Some(1),
            Self::NoReplica { .. } | Self::KeysUnread => Some(RETRY_AFTER_NO_REPLICA),
            Self::UpstreamLimited { seconds, .. } | Self::UpstreamResting { seconds, .. } => Some(*seconds),
            _ => None,
        }
    }

    /// Whether the same request can succeed soon, where the status would mislead clients that retry by themselves: the header
    /// `x-should-retry`.
    #[must_use]
    pub fn should_retry(&self) -> Option<bool> {
        matches!(self, Self::UpstreamLimited { money: true, .. }).then_some(false)
    }

    /// What kind of failure of a target it is; `None` for what no other target would do better.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Unreachable { .. } | Self::Undialed { .. } => Reason::ConnectFailure,
            Self::UpstreamSilent { .. } => Reason::Timeout,
            Self::UpstreamLimited { .. } => Reason::RateLimited,
            Self::UpstreamOverloaded { .. } => Reason::Overloaded,
            Self::Unfit { .. } => Reason::Unfit,
            Self::Forbidden { .. }
            | Self::Credentials { .. }
            | Self::UpstreamResting { .. }
            | Self::UpstreamRedirects { .. }
            | Self::UpstreamStrange { .. }
            | Self::UpstreamBroke { .. }
            | Self::UpstreamFailed { .. }
            | Self::UpstreamMalformed { .. }
            | Self::UpstreamCut { .. } => Reason::ServerError,
            _ => return None,
        })
    }

    /// The methods to use instead: the `Allow` header.
    #[must_use]
    pub fn allow(&self) -> Option<&'static str> {
        if let Self::WrongMethod { allow } = self { Some(allow) } else { None }
    }

    /// On how many further replicas the request may be tried, as long as its client has got nothing. One that was at an
    /// engine when that broke may be what broke it, but far more often it only waited there; two more is what such a request
    /// can cost at most.
    #[must_use]
    pub fn further_tries(&self) -> usize {
        match self {
            Self::Unreachable { .. } | Self::UpstreamBroke { .. } => 2,
            Self::UpstreamFailed { .. } => 1,
            _ => 0,
        }
    }

    /// The body that the client gets, as JSON, in the dialect that it speaks.
    #[must_use]
    pub fn body(&self, dialect: Dialect, request_id: &str) -> Vec<u8> {
        self.told(|error| dialect.error_body(error, self.status_for(dialect), request_id))
    }

    /// The event that ends a stream which had begun. `number` is its place among the events of a response.
    #[must_use]
    pub fn event(&self, dialect: Dialect, request_id: &str, number: u64) -> Bytes {
        self.told(|error| dialect.error_event(error, self.status_for(dialect), request_id, number))
    }

    fn told<T>(&self, tell: impl FnOnce(&ErrorBody<'_>) -> T) -> T {
        let message = self.to_string();
        tell(&ErrorBody { message: &message, kind: self.kind(), param: self.param(), code: Some(self.code()) })
    }
}
