//! HTTP/2, by hyper's server with limits against those who make much work of little. What hyper has no limit for,
//! [`guarded`](super::guarded) counts at the socket.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use wire::http1::MAX_HEAD;

use super::alarm::Alarm;
use super::guarded::{Behaviour, Guarded};
use super::opening::Reread;
use crate::answer::answer;
use crate::stage::body::RequestBody;
use crate::stage::stream::{Body, Cut};
use crate::worker::{Open, Worker};

/// Requests that one connection may have under way.
const MOST_STREAMS: u32 = 128;
/// Streams that a client may open and reset before they were even looked at; more of them end the connection.
const MOST_RESETS: usize = 20;
/// Streams that this side may have to reset for a client's mistakes.
const MOST_MISTAKES: usize = 64;
/// Bytes of an answer that one stream holds for a client that does not take them.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of a body that a client may send ahead, on one stream and on all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Serves streams until the client leaves, misbehaves or rests for too long, or the worker closes.
pub(super) async fn serve(worker: &Rc<Worker>, socket: Reread, open: &Open) {
    let (streams, behaviour) = (Rc::new(Streams::default()), Rc::new(Behaviour::default()));
    let tasks = StreamTasks { worker: Rc::clone(worker), streams: Rc::clone(&streams) };
    let socket = Guarded { socket, behaviour: Rc::clone(&behaviour) };
    let service = service_fn(|mut request: Request<Incoming>| {
        let (worker, stream) = (Rc::clone(worker), Stream::new(&streams));
        forget_ambiguous(&mut request);
        async move {
            let response = answer(&worker, request.map(RequestBody::Http2)).await;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, stream }))
        }
    });
    let mut connection = pin!(
        Builder::new(tasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_pending_accept_reset_streams(MOST_RESETS)
            .max_local_error_reset_streams(MOST_MISTAKES)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BUFFER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(TokioIo::new(socket), service)
    );
    let (mut told, mut alarm) = (false, Alarm::default());
    let ended = poll_fn(|cx| {
        if (open.should_close(cx) || worker.leaving()) && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map_err(|error| tracing::debug!(%error, "connection ended early")));
        }
        loop {
            let (at, reason) = deadline(worker, &streams, &behaviour);
            std::task::ready!(alarm.poll(cx, at));
            // What happened meanwhile may have moved it.
            if deadline(worker, &streams, &behaviour).0 <= Instant::now() {
                worker.metrics.count_close(reason);
                return Poll::Ready(Err(()));
            }
        }
    });
    // Dropping the connection ends its streams, and with them the work of engines.
    let _ = ended.await;
    if behaviour.flooded() {
        worker.metrics.count_close("http2_flood");
    }
}

/// Headers with an underscore are left out, as those of HTTP/1.1 are.
fn forget_ambiguous(request: &mut Request<Incoming>) {
    let odd: Vec<_> = request.headers().keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in odd {
        request.headers_mut().remove(name);
    }
}

/// When the connection is to end if nothing happens until then, and for which reason.
fn deadline(worker: &Worker, streams: &Streams, behaviour: &Behaviour) -> (Instant, &'static str) {
    let settings = &worker.settings;
    let rests_since = if streams.open.get() == 0 { streams.idle.get() } else { Instant::now() };
    let rest = (rests_since + settings.keep_alive_timeout, "keep_alive_timeout");
    let stuck = behaviour.stuck_since().map(|since| (since + settings.write_timeout, "write_timeout"));
    stuck.filter(|stuck| stuck.0 < rest.0).unwrap_or(rest)
}

/// Runs the streams of a connection on the worker's own thread. One whose client takes nothing of its answer is reset,
/// alone: the others may be read all the while.
#[derive(Clone, Debug)]
struct StreamTasks {
    worker: Rc<Worker>,
    streams: Rc<Streams>,
}

impl<F> Executor<F> for StreamTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        // hyper runs a stream right after it has called the service for it.
        let handed = self.streams.begun.take().unwrap_or_default();
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            let (mut stream, mut alarm) = (pin!(stream), Alarm::default());
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let Some(since) = handed.get() else { return Poll::Pending };
                std::task::ready!(alarm.poll(cx, since + worker.settings.write_timeout));
                worker.metrics.count_close("stream_write_timeout");
                Poll::Ready(())
            })
            .await;
        });
    }
}

/// Since when a stream's client has had something to take; `None` while the router waits for its engine.
type Handed = Rc<Cell<Option<Instant>>>;

/// The streams of one connection, as far as deadlines go.
#[derive(Debug)]
struct Streams {
    open: Cell<usize>,
    /// When the last stream ended, or the connection began.
    idle: Cell<Instant>,
    /// Of the stream that was begun and does not run yet.
    begun: RefCell<Option<Handed>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { open: Cell::new(0), idle: Cell::new(Instant::now()), begun: RefCell::default() }
    }
}

/// One stream; it counts until it is dropped.
#[derive(Debug)]
struct Stream {
    of: Rc<Streams>,
    handed: Handed,
}

impl Stream {
    fn new(of: &Rc<Streams>) -> Self {
        of.open.set(of.open.get() + 1);
        let handed = Handed::default();
        of.begun.replace(Some(Rc::clone(&handed)));
        Self { of: Rc::clone(of), handed }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.of.open.set(self.of.open.get() - 1);
        self.of.idle.set(Instant::now());
    }
}

/// An answer's body that knows whether the client takes it.
#[derive(Debug)]
struct Tracked {
    body: Body,
    stream: Stream,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { body, stream } = &mut *self;
        let frame = Pin::new(body).poll_frame(cx);
        // More is asked for only once there is room for it, so one that waits here has a client that takes.
        stream.handed.set(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
