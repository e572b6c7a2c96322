//! Traces of requests, sent to a collector: a span for each request and one for each attempt on a replica.
//!
//! Off, they cost nothing. On, a request leaves its spans in a bounded queue and goes on; when the queue is full, or the
//! collector does not take them in time, they are lost and counted.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use prometheus::IntCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use wire::http1::{HeadReader, RequestHead, write_head};
use wire::trace::{Span, SpanKind, SpanValue, TraceParent, otlp};

use crate::clock;

/// Spans that wait to be sent. At a thousand requests a second these are two seconds.
const QUEUE: usize = 4096;
/// Most spans of one message.
const BATCH: usize = 512;
/// How long spans are gathered for one message.
const GATHER: Duration = Duration::from_millis(500);
/// How long a collector may take for one message.
const DEADLINE: Duration = Duration::from_secs(5);
/// Where collectors take traces, if the address names no path.
const PATH: &str = "/v1/traces";
/// Who tells.
const SERVICE: &str = "quartermaster-router";

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    authority: String,
    path: String,
}

/// Why an address is not that of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http://HOST:PORT, a collector's address for OTLP over HTTP; its port is 4318 as a rule")]
pub struct BadCollector;

impl std::str::FromStr for Collector {
    type Err = BadCollector;

    fn from_str(text: &str) -> Result<Self, BadCollector> {
        let uri: Uri = text.parse().map_err(|_| BadCollector)?;
        let authority = uri.authority().ok_or(BadCollector)?;
        // A name and a password would end in a log, and a collector has no use for them.
        if uri.scheme_str() != Some("http") || authority.port().is_none() || authority.as_str().contains('@') {
            return Err(BadCollector);
        }
        let path = if uri.path() == "/" { PATH } else { uri.path() };
        Ok(Self { authority: authority.as_str().to_owned(), path: path.to_owned() })
    }
}

/// Where requests leave their spans.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: mpsc::Sender<Span>,
    /// How many of a hundred requests that come without a trace begin one.
    percent: u8,
    lost: IntCounter,
}

impl Traces {
    /// A queue, and the work of sending what is left in it to `collector`. That ends when the last clone of the queue is
    /// gone.
    pub fn to(collector: Collector, percent: u8, lost: IntCounter) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, spans) = mpsc::channel(QUEUE);
        (Self { queue, percent, lost: lost.clone() }, export(collector, spans, lost))
    }

    fn leave(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.lost.inc();
        }
    }
}

async fn export(collector: Collector, mut spans: mpsc::Receiver<Span>, lost: IntCounter) {
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        if !spans.is_closed() {
            tokio::time::sleep(GATHER).await;
        }
        while batch.len() < BATCH {
            let Ok(span) = spans.try_recv() else { break };
            batch.push(span);
        }
        let sent = tokio::time::timeout(DEADLINE, send(&collector, &otlp(SERVICE, &batch))).await;
        let failed = match sent {
            Ok(Ok(status)) if status.is_success() => None,
            Ok(Ok(status)) => Some(format!("it answered {status}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it took more than {} seconds", DEADLINE.as_secs())),
        };
        if let Some(why) = failed {
            lost.inc_by(batch.len() as u64);
            tracing::warn!(collector = %collector.authority, spans = batch.len(), why, "traces not sent");
        }
        batch.clear();
    }
}

/// One message over a connection of its own: there are two a second at most.
async fn send(collector: &Collector, body: &[u8]) -> io::Result<StatusCode> {
    let mut stream = TcpStream::connect(&collector.authority).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut message = BytesMut::new();
    let head = RequestHead {
        method: "POST",
        target: &collector.path,
        host: &collector.authority,
        request_id: "traces",
        length: body.len(),
        headers: &headers,
        traceparent: None,
    };
    write_head(&mut message, &head);
    message.extend_from_slice(body);
    stream.write_all(&message).await?;
    let (mut reader, mut answer) = (HeadReader::default(), BytesMut::new());
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = reader.read(&mut answer).map_err(io::Error::other)? {
            return Ok(head.status);
        }
    }
}

/// The trace of one request.
#[derive(Debug)]
pub(crate) struct Trace {
    traces: Traces,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    id: u64,
    started: Instant,
    attributes: Vec<(&'static str, SpanValue)>,
}

impl Trace {
    /// Joins the trace that a request belongs to, or begins one; `None` when it is not recorded.
    pub(crate) fn begin(traces: &Traces, headers: &HeaderMap) -> Option<Box<Self>> {
        let given = headers.get("traceparent").and_then(|value| TraceParent::parse(value.to_str().ok()?));
        let recorded = given.map_or_else(|| rand::random_range(0..100) < traces.percent, |parent| parent.sampled);
        recorded.then(|| {
            let trace = given.map_or_else(|| rand::random::<u128>() | 1, |parent| parent.trace);
            let parent = given.map(|parent| parent.span);
            Box::new(Self { traces: traces.clone(), trace, id: rand::random::<u64>() | 1, parent, attempt: None })
        })
    }

    /// For attempts of the same request that are made beside those told here. The request itself is told once, by one of the two.
    pub(crate) fn beside(&self) -> Box<Self> {
        let (traces, attempt) = (self.traces.clone(), None);
        Box::new(Self { traces, trace: self.trace, id: self.id, parent: self.parent, attempt })
    }

    /// An attempt begins, at this endpoint of this target.
    pub(crate) fn attempt(&mut self, endpoint: &str, target: Option<&str>) {
        let text = |name, text: &str| (name, SpanValue::Text(text.to_owned()));
        let mut attributes = vec![text("server.address", endpoint)];
        attributes.extend(target.map(|target| text("quartermaster.target", target)));
        self.attempt = Some(Attempt { id: rand::random::<u64>() | 1, started: Instant::now(), attributes });
    }

    /// The attempt under way, if there is one, has failed for this reason.
    pub(crate) fn attempt_failed(&mut self, reason: &'static str, status: Option<u16>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.attributes.push(("error.type", SpanValue::Text(reason.to_owned())));
        }
        self.end_attempt(Some(reason.to_owned()), status);
    }

    /// What the engine of this attempt is told.
    pub(crate) fn header(&self) -> String {
        let span = self.attempt.as_ref().map_or(self.id, |attempt| attempt.id);
        TraceParent { trace: self.trace, span, sampled: true }.to_string()
    }

    /// The request of this name has ended, after an answer with this status if there was one.
    pub(crate) fn end(
        mut self,
        name: Cow<'static, str>,
        started: Instant,
        failed: Option<&str>,
        status: Option<u16>,
        attributes: Vec<(&'static str, SpanValue)>,
    ) {
        self.end_attempt(failed.map(str::to_owned), status);
        let (start, end) = since_1970(started);
        let failed = failed.map(str::to_owned);
        let (trace, id, parent) = (self.trace, self.id, self.parent);
        let kind = SpanKind::Server;
        self.traces.leave(Span { trace, id, parent, name, kind, start, end, failed, attributes });
    }

    fn end_attempt(&mut self, failed: Option<String>, status: Option<u16>) {
        let Some(attempt) = self.attempt.take() else { return };
        let (start, end) = since_1970(attempt.started);
        let mut attributes = attempt.attributes;
        attributes.extend(status.map(|status| ("http.response.status_code", SpanValue::Number(status.into()))));
        let (trace, id, parent) = (self.trace, attempt.id, Some(self.id));
        let (name, kind) = ("attempt".into(), SpanKind::Client);
        self.traces.leave(Span { trace, id, parent, name, kind, start, end, failed, attributes });
    }
}

/// The time from `started` until now, in nanoseconds since 1970.
fn since_1970(started: Instant) -> (u64, u64) {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let end = clock::since_1970();
    (nanos(end.saturating_sub(started.elapsed())), nanos(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_collector_s_address() {
        let cases = [
            ("http://otel:4318", Some(("otel:4318", "/v1/traces"))),
            ("http://otel:4318/", Some(("otel:4318", "/v1/traces"))),
            ("http://10.0.0.1:80/x", Some(("10.0.0.1:80", "/x"))),
            ("https://otel:4318", None),
            ("http://otel", None),
            ("http://name:word@otel:4318", None),
            ("otel:4318", None),
            ("", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<Collector>().ok();
            let got = got.as_ref().map(|collector| (collector.authority.as_str(), collector.path.as_str()));
            assert_eq!(got, want, "{text}");
        }
    }
}
