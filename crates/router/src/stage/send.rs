//! A target that is a pool: the request goes to one of its replicas, and to another where that can help.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use router_core::{Api, Attempt, Choice, Endpoint, Policy, Reason, Refusal, Upstream, Verdict, Want, Work};
use tokio::time::Instant;
use wire::Dialect;
use wire::http1::{Head, RequestHead, write_head};
use wire::translate::{Failure, Shape, Stream};
use wire::vllm::Trouble;

use super::ask::{Ask, Sent};
use super::framed::Framed;
use super::limits::Limits;
use super::settle::Record;
use crate::clock;
use crate::live::Live;
use crate::surface::Surface;
use crate::upstream::{Answer, AskError, Conn, Home, Opening};
use crate::worker::Worker;

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    /// Still holds the body.
    pub(crate) conn: Conn,
    /// Counts the request at its endpoint for as long as the answer lasts.
    pub(crate) attempt: Attempt,
    /// How long it may take.
    pub(crate) limits: Limits,
    pub(crate) passage: Passage,
    /// For which reason another target could be asked instead.
    pub(crate) failed: Option<Reason>,
}

/// How an answer passes on.
#[derive(Debug)]
pub(crate) enum Passage {
    /// From an engine of ours, whose framing tells whether it is whole.
    Engine,
    /// From somewhere else: a stream without its last event is not whole, whatever its framing says.
    Remote,
    /// From somewhere else, event for event into the client's shape.
    Translated(Box<Stream>),
    /// From Bedrock, in frames.
    Framed(Box<Framed>),
    /// It is here already, in the client's shape.
    Whole(Bytes),
}

/// Sends to a replica of the chosen pool, and to another one where that can help and the client has got nothing yet.
pub(crate) async fn send(
    worker: &Worker,
    live: &Live,
    choice: Choice,
    (surface, ask): (Surface, &Ask),
    limits: &Limits,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let table = &live.table;
    let policy = &table.policies()[choice.policy];
    let Some(pool) = choice.pool.map(|at| &table.pools()[at]) else {
        return Err(Refusal::Unreachable { upstream: record.upstream() });
    };
    let body = ask.body_as_it_came(surface, Api::Engine, &pool.served_model);
    let mut want = Want {
        work: Work::estimate(ask.wants.prompt_bytes, ask.wants.most_tokens),
        session: ask.session_key(policy),
        now: clock::now(),
        slow_start: worker.settings.slow_start,
        luck: rand::random(),
    };
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    loop {
        let Some(mut attempt) = Attempt::begin(&pool.ready, &tried, &want) else {
            return Err(Refusal::Unreachable { upstream: record.upstream() });
        };
        record.sent_to(attempt.endpoint());
        let outcome = exchange(worker, attempt.endpoint(), ask, &body, limits, record).await;
        let (verdict, tries) = judged(&outcome);
        let tries = tries.min(limits.attempts);
        if verdict != Verdict::Well {
            judge(worker, record, &mut attempt, verdict);
        }
        if tried.len() < tries && tried.len() + 1 < pool.ready.len() && may_retry(worker, policy, &outcome) {
            let (reason, status) = match &outcome {
                Err(refusal) => (refusal.code(), None),
                Ok(answer) => (failed(answer.opening).map_or("", Reason::name), Some(answer.head.status.as_u16())),
            };
            record.retried(reason, status);
            tried.push(Arc::clone(attempt.endpoint()));
            (want.now, want.luck) = (clock::now(), rand::random());
            continue;
        }
        let Answer { mut head, conn, opening } = outcome?;
        if head.status.is_redirection() && head.headers.contains_key(header::LOCATION) {
            // Clients would follow, with their keys.
            return Err(Refusal::UpstreamRedirects { upstream: record.upstream() });
        }
        if opening == Opening::Failed {
            // Its status says that all is well, and its client would believe that.
            return Err(Refusal::UpstreamFailed { upstream: record.upstream() });
        }
        if verdict == Verdict::Well {
            attempt.answers();
        }
        let passage = in_words(&mut head, &conn, record).unwrap_or(Passage::Engine);
        return Ok(Reply { head, conn, attempt, limits: *limits, passage, failed: failed(opening) });
    }
}

/// An error that no SDK could read, as what stands before an engine or below its API makes them: in the client's shape, with its
/// status.
fn in_words(head: &mut Head, conn: &Conn, record: &Record) -> Option<Passage> {
    if !(head.status.is_client_error() || head.status.is_server_error()) {
        return None;
    }
    let body = conn.looked_at(head.framing)?;
    if record.dialect().tells_error(&body) {
        return None;
    }
    let shape = Shape::from(record.dialect());
    let failure = Failure::read(shape, head.status, &body, None);
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(Passage::Whole(failure.body(shape, record.request_id()).into()))
}

/// Why an attempt gave no answer that the client could have, and the status that it had.
pub(super) fn why(outcome: &Result<Reply, Refusal>) -> (&'static str, Option<u16>) {
    match outcome {
        Ok(reply) => (reply.failed.map_or("", Reason::name), Some(reply.head.status.as_u16())),
        Err(refusal) => (refusal.code(), None),
    }
}

/// What became of an attempt says of its endpoint, and on how many further replicas it may be made.
fn judged(outcome: &Result<Answer, Refusal>) -> (Verdict, usize) {
    match outcome {
        Err(refusal) => (Verdict::Failed, refusal.further_tries()),
        Ok(answer) => match answer.opening {
            Opening::Well => (Verdict::Well, 0),
            Opening::Trouble(Trouble::Draining | Trouble::Died) => (Verdict::Stopping, 2),
            Opening::Trouble(Trouble::Full) => (Verdict::Full, 2),
            Opening::Trouble(Trouble::Other) => (Verdict::Failed, 0),
            Opening::Failed => (Verdict::Failed, 1),
        },
    }
}

/// For which reason another target could do better than an engine whose answer opens so.
fn failed(opening: Opening) -> Option<Reason> {
    match opening {
        Opening::Well => None,
        Opening::Trouble(Trouble::Full) => Some(Reason::Overloaded),
        Opening::Trouble(_) | Opening::Failed => Some(Reason::ServerError),
    }
}

/// Takes a retry out of the budget, if there is one. An attempt that reached no engine needs none: it was no load to any.
fn may_retry(worker: &Worker, policy: &Policy, outcome: &Result<Answer, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Unreachable { .. })) || worker.may_retry(policy.resilience.budget_percent)
}

/// Passes a verdict on an attempt's endpoint, and tells if that is ejected for it.
pub(crate) fn judge(worker: &Worker, record: &Record, attempt: &mut Attempt, verdict: Verdict) {
    let rules = record.breaker().unwrap_or(worker.settings.ejection);
    if attempt.judge(verdict, clock::now(), &rules) {
        record.ejected();
        let endpoint = &attempt.endpoint().authority;
        match record.upstream() {
            Upstream::Pool(pool) => tracing::warn!(%endpoint, pool, ?verdict, "replica ejected"),
            Upstream::Target(target) => tracing::warn!(host = %endpoint, target, ?verdict, "target left alone"),
        }
    }
}

/// One request to one endpoint: over a kept connection if there is one, and over a new one if the engine turns out to
/// have closed it.
async fn exchange(
    worker: &Worker,
    endpoint: &Endpoint,
    ask: &Ask,
    body: &Sent<'_>,
    limits: &Limits,
    record: &Record,
) -> Result<Answer, Refusal> {
    let head = request_head(endpoint, ask, body, record);
    let settings = &worker.settings;
    if let Some(conn) = worker.kept.take(&Home::Engine(endpoint.address), settings.idle_timeout) {
        match on(conn, &head, body.rest, limits, record.dialect()).await {
            Err(AskError::Stale) => worker.metrics.stale_connections.inc(),
            other => return other.map_err(|error| refusal(&error, limits, record)),
        }
    }
    let conn = Conn::open(endpoint.address, limits.connect).await.map_err(|error| {
        let upstream = record.upstream();
        tracing::warn!(endpoint = %endpoint.authority, pool = upstream.name(), %error, "replica not reached");
        if error.kind() == ErrorKind::TimedOut {
            record.timed_out("connect");
        }
        Refusal::Unreachable { upstream }
    })?;
    worker.metrics.upstream_connects.inc();
    on(conn, &head, body.rest, limits, record.dialect()).await.map_err(|error| refusal(&error, limits, record))
}

/// The beginning of the answer, within the time that an engine has for it.
async fn on(conn: Conn, head: &[u8], body: &[u8], limits: &Limits, dialect: Dialect) -> Result<Answer, AskError> {
    let until = limits.until.min(Instant::now() + limits.first);
    tokio::time::timeout_at(until, conn.answer(head, body, dialect)).await.unwrap_or(Err(AskError::Silent))
}

/// What is said of an upstream that gave no answer.
pub(super) fn refusal(error: &AskError, limits: &Limits, record: &Record) -> Refusal {
    let upstream = record.upstream();
    match error {
        AskError::Stale | AskError::Closed => Refusal::UpstreamBroke { upstream },
        AskError::Silent if limits.until <= Instant::now() => {
            record.timed_out("total");
            Refusal::UpstreamEndless { upstream, seconds: limits.total.as_secs() }
        }
        AskError::Silent => {
            record.timed_out("first_token");
            Refusal::UpstreamSilent { upstream, seconds: limits.first.as_secs() }
        }
        AskError::Malformed(why) => Refusal::UpstreamMalformed { upstream, why: *why },
        AskError::BadBody(why) => Refusal::UpstreamCut { upstream, why: *why },
    }
}

/// The head of the request, and as much of its body as had to be changed.
fn request_head(endpoint: &Endpoint, ask: &Ask, body: &Sent<'_>, record: &Record) -> BytesMut {
    let (request_id, traceparent) = (record.request_id(), record.traceparent());
    let traceparent = traceparent.as_deref();
    let uri = &ask.parts.uri;
    let head = RequestHead {
        method: ask.parts.method.as_str(),
        target: uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str()),
        host: &endpoint.authority,
        request_id,
        length: body.changed.len() + body.rest.len(),
        headers: &ask.parts.headers,
        traceparent,
    };
    let mut out = BytesMut::new();
    write_head(&mut out, &head);
    out.extend_from_slice(&body.changed);
    out
}
