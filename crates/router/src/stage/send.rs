//! Third step: the request goes to a replica, until one has begun its answer.

use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderValue;
use router_core::{Attempt, Choice, Endpoint, Policy, Refusal, Verdict, Want, Work, session_key};
use tokio::time::Instant;
use wire::http1::{Head, RequestHead, write_head};
use wire::vllm::Trouble;

use super::ask::{Ask, Sent};
use super::settle::Record;
use crate::clock;
use crate::live::Live;
use crate::upstream::{Answer, AskError, Conn, Opening};
use crate::worker::Worker;

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    /// Still holds the body.
    pub(crate) conn: Conn,
    /// Counts the request at its endpoint for as long as the answer lasts.
    pub(crate) attempt: Attempt,
    /// When the answer must be over.
    pub(crate) until: Instant,
}

/// Sends to a replica of the chosen pool, and to another one where that can help and the client has got nothing yet.
pub(crate) async fn send(
    worker: &Worker,
    live: &Live,
    choice: Choice,
    ask: &Ask,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let until = Instant::now() + worker.settings.total_timeout;
    let pool = &live.table.pools()[choice.pool];
    let body = ask.body_for(&pool.served_model);
    let mut want = Want {
        work: Work::estimate(ask.wants.prompt_bytes, ask.wants.most_tokens),
        session: session(&live.table.policies()[choice.policy], ask),
        now: clock::now(),
        slow_start: worker.settings.slow_start,
        luck: rand::random(),
    };
    worker.retries.borrow_mut().offered(want.now);
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    loop {
        let Some(mut attempt) = Attempt::begin(&pool.ready, &tried, &want) else {
            return Err(Refusal::Unreachable { pool: record.pool() });
        };
        record.sent_to(attempt.endpoint());
        let outcome = exchange(worker, attempt.endpoint(), ask, &body, until, record).await;
        let (verdict, tries) = judged(&outcome);
        if verdict != Verdict::Well {
            judge(worker, record, &mut attempt, verdict);
        }
        if tried.len() < tries && tried.len() + 1 < pool.ready.len() && may_retry(worker, &outcome) {
            record.retried();
            tried.push(Arc::clone(attempt.endpoint()));
            (want.now, want.luck) = (clock::now(), rand::random());
            continue;
        }
        let Answer { head, conn, .. } = outcome?;
        if verdict == Verdict::Well {
            attempt.answers();
        }
        return Ok(Reply { head, conn, attempt, until });
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

/// Takes a retry out of the budget, if there is one. An attempt that reached no engine needs none: it was no load to any.
fn may_retry(worker: &Worker, outcome: &Result<Answer, Refusal>) -> bool {
    if matches!(outcome, Err(Refusal::Unreachable { .. })) {
        return true;
    }
    let may = worker.retries.borrow_mut().take(clock::now());
    if !may {
        worker.metrics.retries_refused.inc();
    }
    may
}

/// Passes a verdict on an attempt's endpoint, and tells if that is ejected for it.
pub(crate) fn judge(worker: &Worker, record: &Record, attempt: &mut Attempt, verdict: Verdict) {
    if attempt.judge(verdict, clock::now(), &worker.settings.ejection) {
        record.ejected();
        let endpoint = &attempt.endpoint().authority;
        tracing::warn!(%endpoint, pool = record.pool(), ?verdict, "replica ejected");
    }
}

/// The session that the request belongs to, if its policy keeps sessions together and it names one.
fn session(policy: &Policy, ask: &Ask) -> Option<u64> {
    let by_header = ask.parts.headers.get(policy.session_header.as_ref()?).map(HeaderValue::as_bytes);
    let name = by_header.or_else(|| ask.wants.session.as_deref().map(str::as_bytes))?;
    (!name.is_empty()).then(|| session_key(name))
}

/// One request to one endpoint: over a kept connection if there is one, and over a new one if the engine turns out to
/// have closed it.
async fn exchange(
    worker: &Worker,
    endpoint: &Endpoint,
    ask: &Ask,
    body: &Sent<'_>,
    until: Instant,
    record: &Record,
) -> Result<Answer, Refusal> {
    let head = request_head(endpoint, ask, body, record);
    let settings = &worker.settings;
    if let Some(conn) = worker.kept.take(endpoint.address, settings.idle_timeout) {
        match on(conn, &head, body.rest, until, worker).await {
            Err(AskError::Stale) => worker.metrics.stale_connections.inc(),
            other => return other.map_err(|error| refusal(&error, until, worker, record)),
        }
    }
    let conn = Conn::open(endpoint.address, settings.connect_timeout).await.map_err(|error| {
        tracing::warn!(endpoint = %endpoint.authority, pool = record.pool(), %error, "replica not reached");
        Refusal::Unreachable { pool: record.pool() }
    })?;
    worker.metrics.upstream_connects.inc();
    on(conn, &head, body.rest, until, worker).await.map_err(|error| refusal(&error, until, worker, record))
}

/// The beginning of the answer, within the time that an engine has for it.
async fn on(conn: Conn, head: &[u8], body: &[u8], until: Instant, worker: &Worker) -> Result<Answer, AskError> {
    let until = until.min(Instant::now() + worker.settings.first_byte_timeout);
    tokio::time::timeout_at(until, conn.answer(head, body)).await.unwrap_or(Err(AskError::Silent))
}

fn refusal(error: &AskError, until: Instant, worker: &Worker, record: &Record) -> Refusal {
    let pool = record.pool();
    match error {
        AskError::Stale | AskError::Closed => Refusal::UpstreamBroke { pool },
        AskError::Silent if until <= Instant::now() => {
            Refusal::UpstreamEndless { pool, seconds: worker.settings.total_timeout.as_secs() }
        }
        AskError::Silent => Refusal::UpstreamSilent { pool, seconds: worker.settings.first_byte_timeout.as_secs() },
        AskError::Malformed(why) => Refusal::UpstreamMalformed { pool, why: *why },
        AskError::BadBody(why) => Refusal::UpstreamCut { pool, why: *why },
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
