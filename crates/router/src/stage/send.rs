//! Third step: the request goes to a replica, until one has begun its answer.

use std::sync::Arc;

use bytes::BytesMut;
use router_core::{Choice, Endpoint, InFlight, Refusal, pick};
use wire::http1::{Head, RequestHead, write_head};

use super::ask::Ask;
use super::settle::Record;
use crate::live::Live;
use crate::upstream::{AskError, Conn};
use crate::worker::Worker;

/// Most replicas that one request is tried on.
const MOST_TRIED: usize = 3;

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    /// Still holds the body.
    pub(crate) conn: Conn,
    /// Counts the request at its endpoint for as long as the answer lasts.
    pub(crate) in_flight: InFlight,
}

/// Sends to a replica of the chosen pool, and to another one while none has seen the request.
pub(crate) async fn send(
    worker: &Worker,
    live: &Live,
    choice: Choice,
    ask: &Ask,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let pool = &live.table.pools()[choice.pool];
    let body = ask.body_for(&pool.served_model);
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    loop {
        let Some(endpoint) = pick(&pool.ready, &tried, rand::random()) else {
            return Err(Refusal::Unreachable { pool: record.pool() });
        };
        let in_flight = InFlight::enter(endpoint);
        record.sent_to(endpoint);
        match exchange(worker, endpoint, ask, &body, record).await {
            Ok((head, conn)) => return Ok(Reply { head, conn, in_flight }),
            Err(refusal) if refusal.may_retry() && tried.len() + 1 < MOST_TRIED.min(pool.ready.len()) => {
                record.retried();
                tried.push(Arc::clone(endpoint));
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

/// One request to one endpoint: over a kept connection if there is one, and over a new one if the engine turns out to
/// have closed it.
async fn exchange(
    worker: &Worker,
    endpoint: &Endpoint,
    ask: &Ask,
    body: &[u8],
    record: &Record,
) -> Result<(Head, Conn), Refusal> {
    let head = request_head(endpoint, ask, body.len(), record.request_id());
    let settings = &worker.settings;
    if let Some(conn) = worker.kept.take(endpoint.address, settings.idle_timeout) {
        match on(conn, &head, body, worker).await {
            Err(AskError::Stale) => worker.metrics.stale_connections.inc(),
            other => return other.map_err(|error| refusal(&error, worker, record)),
        }
    }
    let conn = Conn::open(endpoint.address, settings.connect_timeout).await.map_err(|error| {
        tracing::warn!(endpoint = %endpoint.authority, pool = record.pool(), %error, "replica not reached");
        Refusal::Unreachable { pool: record.pool() }
    })?;
    worker.metrics.upstream_connects.inc();
    on(conn, &head, body, worker).await.map_err(|error| refusal(&error, worker, record))
}

/// The answer's head, within the time that an engine has for it.
async fn on(mut conn: Conn, head: &[u8], body: &[u8], worker: &Worker) -> Result<(Head, Conn), AskError> {
    let answer = tokio::time::timeout(worker.settings.first_byte_timeout, conn.ask(head, body)).await;
    let head = answer.unwrap_or(Err(AskError::Silent))?;
    Ok((head, conn))
}

fn refusal(error: &AskError, worker: &Worker, record: &Record) -> Refusal {
    let pool = record.pool();
    match error {
        AskError::Stale | AskError::Closed => Refusal::UpstreamBroke { pool },
        AskError::Silent => Refusal::UpstreamSilent { pool, seconds: worker.settings.first_byte_timeout.as_secs() },
        AskError::Malformed(why) => Refusal::UpstreamMalformed { pool, why: *why },
    }
}

fn request_head(endpoint: &Endpoint, ask: &Ask, length: usize, request_id: &str) -> BytesMut {
    let uri = &ask.parts.uri;
    let head = RequestHead {
        method: ask.parts.method.as_str(),
        target: uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str()),
        host: &endpoint.authority,
        request_id,
        length,
        headers: &ask.parts.headers,
    };
    let mut out = BytesMut::new();
    write_head(&mut out, &head);
    out
}
