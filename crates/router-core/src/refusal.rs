//! Every way in which a request ends without an engine's answer, and what the client is told.
//!
//! One page maps refusals to HTTP, so that it can be reviewed as one. What the client did wrong, what this system lacks
//! and what an engine did wrong are different variants, even where the same parser found them.

mod dial;
mod told;
mod words;

use std::fmt;

use http::StatusCode;
use wire::Dialect;
use wire::http1::{BodyError, HeadError, RequestError};
use wire::multipart::FormError;
use wire::openai::ScanError;

pub use dial::{BadTls, NoDial};

/// The status by which Anthropic says that it has too much to do.
const OVERLOADED: u16 = 529;
/// Most characters of a client's own text that a message repeats.
const MOST_REPEATED: usize = 128;

/// Why a request was not answered by an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head of the request cannot be read in one way only, or is too large.
    BadHead(RequestError),
    /// This router has as much to do as it may, or can.
    Overloaded(Overload),
    /// The body is not one JSON object, or a field of it cannot be taken.
    Malformed(ScanError),
    /// The body is not a form, or a field of it cannot be taken.
    BadForm(FormError),
    /// The body names no model, or its `model` is no text.
    MissingModel,
    /// No policy offers this model.
    UnknownModel {
        /// The name asked for, shortened.
        model: String,
    },
    /// Nothing came that proves who calls, or nothing right, where that is asked for.
    Unauthorized,
    /// The policy of the model does not let this caller in.
    NotAllowed {
        /// Name of the caller.
        caller: String,
    },
    /// What is needed to tell whether a proof is right cannot be read for now.
    KeysUnread,
    /// The request names a target that it cannot have.
    WrongTarget {
        /// The policy's targets; `None` where clients may not choose among them.
        targets: Option<String>,
    },
    /// Nothing is served at this path.
    UnknownPath {
        /// The path asked for, shortened.
        path: String,
    },
    /// An engine serves this path, but the router cannot.
    NotRouted {
        /// The path asked for, shortened.
        path: String,
        /// Why, and what to do instead; without a full stop.
        why: &'static str,
    },
    /// The path is served, with another method.
    WrongMethod {
        /// The methods that are served.
        allow: &'static str,
    },
    /// The body is compressed, which could hide any size.
    EncodedBody,
    /// The body is larger than it may be.
    TooLarge {
        /// Most bytes taken.
        limit: usize,
    },
    /// The body did not come in time.
    SlowBody {
        /// Seconds that it had.
        seconds: u64,
    },
    /// The body comes, but hardly.
    CrawlingBody {
        /// Bytes in a second that it must bring on average.
        least: u64,
    },
    /// The body broke off, or its framing is malformed.
    BrokenBody,
    /// The router has not read the cluster's configuration yet, so it can say nothing about any model.
    Starting,
    /// No pool of the model's policy has a ready replica.
    NoReplica {
        /// The model asked for, shortened.
        model: String,
        /// The policy's pools in order, each with why it cannot answer.
        pools: Vec<(String, Idle)>,
    },
    /// No connection to this upstream could be made. The request was not sent.
    Unreachable {
        /// Who.
        upstream: Upstream,
    },
    /// No connection to this upstream could be made, which is no pool. The request was not sent.
    Undialed {
        /// Who.
        upstream: Upstream,
        /// Why.
        why: NoDial,
    },
    /// The upstream has an address that policies must not make the router speak to.
    Forbidden {
        /// Who.
        upstream: Upstream,
        /// What kind of address it is.
        why: &'static str,
    },
    /// The upstream's key cannot be had, or the upstream does not take it.
    Credentials {
        /// Who.
        upstream: Upstream,
        /// The upstream said so.
        refused: bool,
    },
    /// The upstream cannot do what the request asks for.
    Unfit {
        /// Who.
        upstream: Upstream,
        /// The field at fault, if it is one.
        field: Option<String>,
        /// What it cannot do, in words that can follow "cannot".
        what: String,
    },
    /// The upstream has had as much as it takes, for now.
    UpstreamLimited {
        /// Who.
        upstream: Upstream,
        /// Seconds until it takes more.
        seconds: u32,
        /// It is money that is spent, not pace that was too high.
        money: bool,
    },
    /// The upstream said within its answer that it has too much to do.
    UpstreamOverloaded {
        /// Who.
        upstream: Upstream,
    },
    /// The upstream failed several times in a row and is left alone.
    UpstreamResting {
        /// Who.
        upstream: Upstream,
        /// Seconds until it is asked again.
        seconds: u32,
    },
    /// The upstream sends elsewhere, which is never followed.
    UpstreamRedirects {
        /// Who.
        upstream: Upstream,
    },
    /// The upstream's answer is no answer to what it was asked.
    UpstreamStrange {
        /// Who.
        upstream: Upstream,
        /// What is wrong with it.
        why: String,
    },
    /// The upstream closed or reset the connection before it answered.
    UpstreamBroke {
        /// Who.
        upstream: Upstream,
    },
    /// The upstream said within its answer that it failed, or that it gave the request up.
    UpstreamFailed {
        /// Who.
        upstream: Upstream,
    },
    /// The answer took longer than any answer may.
    UpstreamEndless {
        /// Who.
        upstream: Upstream,
        /// Seconds that it had.
        seconds: u64,
    },
    /// The answer began with something that is not acceptable HTTP.
    UpstreamMalformed {
        /// Who.
        upstream: Upstream,
        /// What was wrong.
        why: HeadError,
    },
    /// The upstream broke off its answer, or broke its framing, after it had begun.
    UpstreamCut {
        /// Who.
        upstream: Upstream,
        /// What was wrong.
        why: BodyError,
    },
    /// The upstream did not begin its answer in time, or fell silent within it.
    UpstreamSilent {
        /// Who.
        upstream: Upstream,
        /// Seconds that it had.
        seconds: u64,
    },
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// A replica of the pool of this namespace and name.
    Pool(String),
    /// The target of this name, which is no pool.
    Target(String),
}

impl Upstream {
    /// The name alone.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pool(name) | Self::Target(name) => name,
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(name) => write!(f, "A replica of pool {name}"),
            Self::Target(name) => write!(f, "Target {name}"),
        }
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Requests under way in this process.
    Requests,
    /// Bytes of requests' bodies held in this process.
    Bodies,
    /// Work that waits for a processor.
    Work,
}

/// Why a pool has no ready replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// There is no such pool.
    Missing,
    /// It has no replicas at all.
    Empty,
    /// It has this many, none of which is ready.
    Starting(usize),
}

impl Refusal {
    /// No policy offers `model`.
    #[must_use]
    pub fn unknown_model(model: &str) -> Self {
        Self::UnknownModel { model: shorten(model) }
    }

    /// No pool can answer for `model`.
    #[must_use]
    pub fn no_replica(model: &str, pools: Vec<(String, Idle)>) -> Self {
        Self::NoReplica { model: shorten(model), pools }
    }

    /// Nothing is served at `path`.
    #[must_use]
    pub fn unknown_path(path: &str) -> Self {
        Self::UnknownPath { path: shorten(path) }
    }

    /// Engines serve `path`, but the router does not, because of `why`.
    #[must_use]
    pub fn not_routed(path: &str, why: &'static str) -> Self {
        Self::NotRouted { path: shorten(path), why }
    }

    /// The HTTP status for a client of this dialect. Only Anthropic's knows 529, and repeats a 429 however much money is missing.
    #[must_use]
    pub fn status_for(&self, dialect: Dialect) -> StatusCode {
        match self.status() {
            _ if dialect == Dialect::Anthropic && matches!(self, Self::UpstreamLimited { money: true, .. }) => {
                StatusCode::PAYMENT_REQUIRED
            }
            status if status.as_u16() == OVERLOADED && dialect != Dialect::Anthropic => StatusCode::SERVICE_UNAVAILABLE,
            status => status,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadHead(why) => why.status(),
            Self::Malformed(_)
            | Self::BadForm(_)
            | Self::MissingModel
            | Self::BrokenBody
            | Self::Unfit { .. }
            | Self::WrongTarget { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::UnknownModel { .. } | Self::UnknownPath { .. } | Self::NotRouted { .. } => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::EncodedBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } | Self::CrawlingBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded(_)
            | Self::Starting
            | Self::KeysUnread
            | Self::NoReplica { .. }
            | Self::UpstreamResting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            // A number within the range always makes a status, so the other is never seen.
            Self::UpstreamOverloaded { .. } => {
                StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Unreachable { .. }
            | Self::Undialed { .. }
            | Self::Forbidden { .. }
            | Self::Credentials { .. }
            | Self::UpstreamRedirects { .. }
            | Self::UpstreamStrange { .. }
            | Self::UpstreamBroke { .. }
            | Self::UpstreamFailed { .. }
            | Self::UpstreamMalformed { .. }
            | Self::UpstreamCut { .. } => StatusCode::BAD_GATEWAY,
            Self::UpstreamSilent { .. } | Self::UpstreamEndless { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The exact case, as a word that is stable across versions: the body's `code`, and a label of the metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadHead(why) => why.code(),
            Self::Overloaded(Overload::Requests) => "too_many_requests_in_flight",
            Self::Overloaded(Overload::Bodies) => "too_many_body_bytes",
            Self::Overloaded(Overload::Work) => "router_overloaded",
            Self::Malformed(why) if why.problem.field().is_some() => "invalid_value",
            Self::Malformed(_) => "invalid_json",
            Self::BadForm(why) if why.field().is_some() => "invalid_value",
            Self::BadForm(_) => "invalid_form",
            Self::MissingModel => "missing_model",
            Self::UnknownModel { .. } => "model_not_found",
            Self::Unauthorized => "invalid_api_key",
            Self::NotAllowed { .. } => "caller_not_allowed",
            Self::KeysUnread => "keys_unread",
            Self::WrongTarget { .. } => "wrong_target",
            Self::UnknownPath { .. } => "unknown_path",
            Self::NotRouted { .. } => "not_routed",
            Self::WrongMethod { .. } => "method_not_allowed",
            Self::EncodedBody => "encoded_body",
            Self::TooLarge { .. } => "body_too_large",
            Self::SlowBody { .. } => "body_timeout",
            Self::CrawlingBody { .. } => "body_too_slow",
            Self::BrokenBody => "broken_body",
            Self::Starting => "router_starting",
            Self::NoReplica { .. } => "no_replica_ready",
            Self::Unreachable { .. } => "upstream_unreachable",
            Self::Undialed { why, .. } => why.code(),
            Self::Forbidden { .. } => "upstream_forbidden",
            Self::Credentials { refused: false, .. } => "upstream_credentials_missing",
            Self::Credentials { refused: true, .. } => "upstream_credentials_refused",
            Self::Unfit { .. } => "unsupported_by_target",
            Self::UpstreamLimited { money: false, .. } => "rate_limit_exceeded",
            Self::UpstreamLimited { money: true, .. } => "insufficient_quota",
            Self::UpstreamOverloaded { .. } => "upstream_overloaded",
            Self::UpstreamResting { .. } => "upstream_resting",
            Self::UpstreamRedirects { .. } => "upstream_redirects",
            Self::UpstreamStrange { .. } => "upstream_strange",
            Self::UpstreamBroke { .. } => "upstream_broke",
            Self::UpstreamFailed { .. } => "upstream_failed",
            Self::UpstreamEndless { .. } => "upstream_total_timeout",
            Self::UpstreamMalformed { .. } => "upstream_malformed",
            Self::UpstreamCut { .. } => "upstream_cut",
            Self::UpstreamSilent { .. } => "upstream_timeout",
        }
    }

    /// OpenAI's class of error: the body's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UpstreamLimited { money: true, .. } => "insufficient_quota",
            Self::UpstreamLimited { money: false, .. } => "rate_limit_error",
            _ if self.status().is_client_error() || matches!(self, Self::BadHead(_)) => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The field of the request at fault: the body's `param`.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Unfit { field, .. } => field.as_deref(),
            Self::MissingModel | Self::UnknownModel { .. } => Some("model"),
            Self::Malformed(why) => why.problem.field(),
            Self::BadForm(why) => why.field(),
            _ => None,
        }
    }
}

/// A client's text, cut to a length that a message or a log line can carry.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MOST_REPEATED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
