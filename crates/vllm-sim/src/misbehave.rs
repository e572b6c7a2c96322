//! Does what a fault says to an answer and to its connection.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::{App, lock};
use crate::faults::{Fault, Faults, Kind};
use crate::reply;
use crate::request::Refusal;
use crate::response::{json, respond};
use crate::text::mix;

/// What is no HTTP, and no event of a stream either.
const GARBAGE: &[u8] = b"\x00\xff\xfe{]this is no answer\x00\n\n";
/// How long what was written has to leave before its connection is reset.
const LEAVE: Duration = Duration::from_millis(50);
/// Largest answer whose length is falsified.
const LARGEST: usize = 64 * 1024 * 1024;

/// A second hand on a connection, past the HTTP that is spoken on it.
#[derive(Clone)]
pub(crate) struct Wire {
    socket: Arc<Mutex<Option<StdStream>>>,
    /// Told when the connection is to be dropped.
    pub(crate) dropped: CancellationToken,
}

impl Wire {
    /// A second hand on `stream`.
    pub(crate) fn on(stream: &TcpStream) -> io::Result<Self> {
        let socket = StdStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self { socket: Arc::new(Mutex::new(Some(socket))), dropped: CancellationToken::new() })
    }

    /// Drops the connection so that its peer gets a reset.
    fn reset(&self) {
        if let Some(socket) = lock(&self.socket).take() {
            // Without it the connection ends in good order, which a test would see.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        self.dropped.cancel();
    }

    /// Writes bytes past HTTP, and closes the connection.
    async fn say(&self, bytes: &[u8]) {
        let socket = lock(&self.socket).take();
        if let Some(Ok(mut stream)) = socket.map(TcpStream::from_std) {
            // Who left does not hear it.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        self.dropped.cancel();
    }
}

impl App {
    /// Replaces the faults. What hits at once does so.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.engine.slow_down(faults.slowness());
        self.engine.freeze(Duration::ZERO);
        for fault in faults.immediate() {
            self.strike_engine(fault);
        }
        *lock(&self.faults) = faults;
    }

    fn strike_engine(&self, fault: &Fault) {
        match fault.kind {
            Kind::Freeze(span) => self.engine.freeze(span.unwrap_or(Duration::MAX)),
            Kind::Die => {
                eprintln!("vllm-sim: fault: the engine dies as of a lack of memory");
                self.engine.end();
                self.died.cancel();
            }
            _ => {}
        }
    }
}

/// Lets the faults have the requests that they hit.
pub(crate) async fn misbehave(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let answers = request.method() == Method::POST && path.starts_with('/') && !is_ours(&path);
    let seed = app.settings.seed;
    let draw = || mix(seed ^ app.luck.fetch_add(1, std::sync::atomic::Ordering::Relaxed).rotate_left(40));
    let Some(fault) = lock(&app.faults).strike(&path, answers, draw) else { return next.run(request).await };
    let Some(wire) = request.extensions().get::<Wire>().cloned() else { return next.run(request).await };
    match fault.kind {
        Kind::Status(status) => {
            let kind = if status == 503 { "Service Unavailable" } else { "InternalServerError" };
            let refusal = Refusal { status, kind, ..Refusal::server("a fault of the simulator, as was asked for") };
            json(status, reply::error(&refusal))
        }
        Kind::Garbage => {
            wire.say(GARBAGE).await;
            std::future::pending().await
        }
        Kind::Reset(0) => {
            wire.reset();
            std::future::pending().await
        }
        Kind::Length(difference) => falsify(next.run(request).await, &wire, difference).await,
        Kind::Freeze(_) | Kind::Die => {
            // The request that brought it is in the engine as well.
            let answer = next.run(request);
            app.strike_engine(&fault);
            answer.await
        }
        Kind::Slow(_) => next.run(request).await,
        Kind::Stall(_) | Kind::Reset(_) | Kind::GarbageInStream => disturb(next.run(request).await, wire, &fault).await,
    }
}

/// The simulator's own routes, and those that steer the engine: a fault there would be in its own way.
fn is_ours(path: &str) -> bool {
    ["/sim/", "/sleep", "/wake_up", "/reset_prefix_cache", "/ping"].iter().any(|known| path.starts_with(known))
}

/// Sends an answer with a length that is not its own.
async fn falsify(response: Response, wire: &Wire, difference: i64) -> Response {
    let (head, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else { return respond(500, "text/plain", Body::empty()) };
    let told = i64::try_from(body.len()).unwrap_or(i64::MAX).saturating_add(difference).max(0);
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/plain");
    let status = head.status;
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {kind}\r\ncontent-length: {told}\r\nserver: vllm-sim\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    wire.say(&bytes).await;
    std::future::pending().await
}

/// Disturbs an answer on its way.
async fn disturb(response: Response, wire: Wire, fault: &Fault) -> Response {
    let is_stream = |kind: &header::HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    let streams = response.headers().get(header::CONTENT_TYPE).is_some_and(is_stream);
    if let (Kind::Stall(span), false) = (fault.kind, streams) {
        wait(span).await;
        return response;
    }
    if fault.kind == Kind::GarbageInStream && !streams {
        return response;
    }
    let (head, body) = response.into_parts();
    // Cut in two, the body no longer knows its length.
    let length = HttpBody::size_hint(&body).exact();
    let kind = fault.kind;
    let cut = Cut { events: fault.after, bytes: if let Kind::Reset(bytes) = kind { Some(bytes) } else { None } };
    let body = Body::from_stream(disturbed(body.into_data_stream(), cut, kind, wire));
    let mut response = Response::from_parts(head, body);
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

async fn wait(span: Option<Duration>) {
    match span {
        Some(span) => sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Where a body is cut in two: after so many events, or after so many bytes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    events: usize,
    bytes: Option<usize>,
}

impl Cut {
    /// Where in `piece` the cut lies, or what is left of it for the next piece.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        if let Some(bytes) = &mut self.bytes {
            if *bytes <= piece.len() {
                return Some(*bytes);
            }
            *bytes -= piece.len();
            return None;
        }
        let mut at = 0;
        while self.events > 0 {
            let end = piece[at..].windows(2).position(|two| two == b"\n\n")?;
            at += end + 2;
            self.events -= 1;
        }
        Some(at)
    }
}

fn disturbed(body: BodyDataStream, cut: Cut, kind: Kind, wire: Wire) -> impl Stream<Item = io::Result<Bytes>> {
    // Before the cut, at it with what follows, behind it.
    enum Stage {
        Before(Cut),
        At(Bytes),
        Behind,
    }
    stream::unfold((body, Stage::Before(cut), wire), move |(mut body, stage, wire)| async move {
        let (piece, stage) = match stage {
            Stage::At(rest) => {
                match kind {
                    Kind::Stall(span) => wait(span).await,
                    Kind::Reset(_) => {
                        sleep(LEAVE).await;
                        wire.reset();
                        std::future::pending::<()>().await;
                    }
                    _ => return Some((Ok(Bytes::from([GARBAGE, &rest[..]].concat())), (body, Stage::Behind, wire))),
                }
                return Some((Ok(rest), (body, Stage::Behind, wire)));
            }
            Stage::Behind => {
                let piece = body.next().await?.map_err(io::Error::other);
                return Some((piece, (body, Stage::Behind, wire)));
            }
            Stage::Before(mut cut) => match body.next().await?.map_err(io::Error::other) {
                Ok(mut bytes) => match cut.find(&bytes) {
                    Some(at) => {
                        let rest = bytes.split_off(at);
                        (Ok(bytes), Stage::At(rest))
                    }
                    None => (Ok(bytes), Stage::Before(cut)),
                },
                failed => (failed, Stage::Behind),
            },
        };
        Some((piece, (body, stage, wire)))
    })
}

/// The faults, as they are set. This route is not vLLM's.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let faults = lock(&app.faults).to_string();
    json(200, format!(r#"{{"note":"not a route of vLLM: the simulator's faults","faults":{faults}}}"#))
}

/// Replaces the faults by those of the body, one a line; an empty body clears them.
pub(crate) async fn replace(State(app): State<Arc<App>>, body: String) -> Response {
    match Faults::parse(body.lines()) {
        Ok(faults) => {
            app.set_faults(faults);
            list(State(app)).await
        }
        Err(error) => {
            let refusal = Refusal::bad(error.to_string(), None);
            json(refusal.status, reply::error(&refusal))
        }
    }
}

/// Clears the faults.
pub(crate) async fn clear(State(app): State<Arc<App>>) -> Response {
    app.set_faults(Faults::default());
    list(State(app)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_found_across_pieces() {
        let pieces = ["data: 1\n\nda", "ta: 2\n\ndata: 3\n\n"];
        for (events, bytes, expected) in [
            (0, None, &[Some(0)][..]),
            (1, None, &[Some(9)]),
            (2, None, &[None, Some(7)]),
            (9, None, &[None, None]),
            (0, Some(3), &[Some(3)]),
            (0, Some(11), &[Some(11)]),
            (0, Some(12), &[None, Some(1)]),
        ] {
            let mut cut = Cut { events, bytes };
            let found: Vec<_> = pieces[..expected.len()].iter().map(|piece| cut.find(piece.as_bytes())).collect();
            assert_eq!(found, expected, "after {events} events or {bytes:?} bytes");
        }
    }
}
