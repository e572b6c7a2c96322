//! HTTP/2, by hyper's server with limits against those who make much work of little.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
    let streams = Rc::new(Streams::default());
    let service = service_fn(|mut request: Request<Incoming>| {
        let (worker, stream) = (Rc::clone(worker), Stream::new(&streams));
        forget_ambiguous(&mut request);
        async move {
            let response = answer(&worker, request.map(RequestBody::Http2)).await;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, stream }))
        }
    });
    let mut connection = pin!(
        Builder::new(LocalTasks)
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
            let (at, reason) = streams.deadline(worker);
            std::task::ready!(alarm.poll(cx, at));
            // What happened meanwhile may have moved it.
            if streams.deadline(worker).0 <= Instant::now() {
                worker.metrics.count_close(reason);
                return Poll::Ready(Err(()));
            }
        }
    });
    // Dropping the connection ends its streams, and with them the work of engines.
    let _ = ended.await;
}

/// Headers with an underscore are left out, as those of HTTP/1.1 are.
fn forget_ambiguous(request: &mut Request<Incoming>) {
    let odd: Vec<_> = request.headers().keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in odd {
        request.headers_mut().remove(name);
    }
}

/// Runs the streams of a connection on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalTasks;

impl<F> Executor<F> for LocalTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// The streams of one connection, as far as deadlines go.
#[derive(Debug)]
struct Streams {
    next: Cell<u64>,
    open: Cell<usize>,
    /// When the last stream ended, or the connection began.
    idle: Cell<Instant>,
    /// Streams that were given something to send and did not ask for more yet, with when that was.
    handed: RefCell<HashMap<u64, Instant>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { next: Cell::new(0), open: Cell::new(0), idle: Cell::new(Instant::now()), handed: RefCell::default() }
    }
}

impl Streams {
    /// When the connection is to end if nothing happens until then, and for which reason.
    fn deadline(&self, worker: &Worker) -> (Instant, &'static str) {
        let settings = &worker.settings;
        if self.open.get() == 0 {
            return (self.idle.get() + settings.keep_alive_timeout, "keep_alive_timeout");
        }
        let oldest = self.handed.borrow().values().min().copied();
        (oldest.unwrap_or_else(Instant::now) + settings.write_timeout, "write_timeout")
    }
}

/// One stream; it counts until it is dropped.
#[derive(Debug)]
struct Stream {
    of: Rc<Streams>,
    number: u64,
}

impl Stream {
    fn new(of: &Rc<Streams>) -> Self {
        let number = of.next.get();
        of.next.set(number + 1);
        of.open.set(of.open.get() + 1);
        Self { of: Rc::clone(of), number }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.of.open.set(self.of.open.get() - 1);
        self.of.idle.set(Instant::now());
        self.of.handed.borrow_mut().remove(&self.number);
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
        let mut handed = stream.of.handed.borrow_mut();
        // More is asked for only once there is room for it, so one that waits here has a client that takes.
        if frame.is_ready() {
            handed.insert(stream.number, Instant::now());
        } else {
            handed.remove(&stream.number);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
