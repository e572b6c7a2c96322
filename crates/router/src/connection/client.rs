//! One HTTP/1.1 client: its socket and what it has sent so far. All of it is used by the one task of the connection; the
//! steps of a request, and the watch for a client that leaves, take turns within a poll.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use wire::http1::{BodyDecoder, Framing, Received, RequestError, RequestReader, Step};

use super::alarm::Alarm;
use super::output::Output;
use super::socket::Socket;
use crate::settings::Settings;
use crate::worker::Open;

/// Room that a read finds at least, what is added when there is less, and what is added for a client that fills it.
const LEAST_ROOM: usize = 2 * 1024;
const ROOM: usize = 16 * 1024;
const MOST_ROOM: usize = 256 * 1024;
/// Most bytes that are read ahead of a client's next requests while one is being answered.
const MOST_AHEAD: usize = 64 * 1024;
/// How long, and how much, is read over from a client before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: Socket,
    /// What was read and not used yet.
    buffer: BytesMut,
    /// How much room the next read is given.
    room: usize,
    alarm: Alarm,
    /// Of the request in hand.
    body: BodyDecoder,
    announced: Option<u64>,
    /// What is left to write of `100 Continue`, if the client waits for it.
    promise: &'static [u8],
    /// A request came before.
    served: bool,
}

/// Why no further request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// The client closed its side or reset the connection, or this router closes a connection that rests.
    Ended,
    /// The client missed the deadline with this name.
    Late(&'static str),
    /// Bytes came that are no request.
    Refused(RequestError),
}

/// Why the next piece of a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPiece {
    /// It broke off, or its framing is malformed.
    Broken,
    /// It did not come in time.
    Late,
}

/// How much of a body is read and not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Bytes of it, and of what the client has sent behind it.
    pub(crate) bytes: usize,
    /// Bytes of memory that it is read into.
    pub(crate) memory: usize,
}

/// Why an answer was not written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// The client left.
    Left,
    /// The client took nothing for too long.
    Stalled,
    /// The answer itself broke off.
    Cut,
}

/// Whether a further piece of an answer may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    Yes,
    No,
}

impl Client {
    pub(super) fn new(socket: Socket, buffer: BytesMut) -> Self {
        let inner = Inner {
            socket,
            buffer,
            room: ROOM,
            alarm: Alarm::default(),
            body: BodyDecoder::new(Framing::Length(0)),
            announced: None,
            promise: b"",
            served: false,
        };
        Self { inner: RefCell::new(inner) }
    }

    /// The head of the next request.
    pub(super) async fn next(&self, settings: &Settings, open: &Open) -> Result<Received, NoRequest> {
        let mut reader = RequestReader::default();
        let mut since = None;
        let received = poll_fn(|cx| {
            let inner = &mut *self.inner.borrow_mut();
            loop {
                match reader.read(&mut inner.buffer) {
                    Ok(Some(received)) => return Poll::Ready(Ok(received)),
                    Ok(None) => {}
                    Err(why) => return Poll::Ready(Err(NoRequest::Refused(why))),
                }
                let resting = inner.buffer.is_empty();
                if open.should_close(cx) && resting {
                    return Poll::Ready(Err(NoRequest::Ended));
                }
                match inner.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) if resting => since = None,
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(NoRequest::Ended)),
                    Poll::Pending => {
                        let (limit, name) = match (resting, inner.served) {
                            (true, false) => (settings.opening_timeout, "opening_timeout"),
                            (true, true) => (settings.keep_alive_timeout, "keep_alive_timeout"),
                            (false, _) => (settings.header_timeout, "header_timeout"),
                        };
                        let since = *since.get_or_insert_with(Instant::now);
                        ready!(inner.alarm.poll(cx, since + limit));
                        return Poll::Ready(Err(NoRequest::Late(name)));
                    }
                }
            }
        });
        let received = received.await?;
        let inner = &mut *self.inner.borrow_mut();
        inner.body = BodyDecoder::new(received.framing);
        inner.announced = if let Framing::Length(length) = received.framing { Some(length) } else { None };
        inner.promise = if received.expects { b"HTTP/1.1 100 Continue\r\n\r\n" } else { b"" };
        (inner.served, inner.room) = (true, ROOM);
        Ok(received)
    }

    /// Bytes that the request's body has, if it said so.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.inner.borrow().announced
    }

    /// How much of the request's body is here, none of which was taken yet.
    pub(crate) fn gathered(&self) -> Gathered {
        let inner = self.inner.borrow();
        Gathered { bytes: inner.buffer.len(), memory: inner.buffer.capacity() }
    }

    /// Reads further bytes of a body of announced length, by the time `at`, and takes none.
    pub(crate) async fn gather(&self, announced: usize, at: Instant) -> Result<(), NoPiece> {
        poll_fn(|cx| {
            let inner = &mut *self.inner.borrow_mut();
            inner.make_room(announced);
            match inner.poll_body(cx) {
                Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(NoPiece::Broken)),
                Poll::Pending => {
                    ready!(inner.alarm.poll(cx, at));
                    Poll::Ready(Err(NoPiece::Late))
                }
            }
        })
        .await
    }

    /// The next piece of the request's body, by the time `at`; `None` after the last.
    pub(crate) async fn piece(&self, at: Instant) -> Option<Result<Bytes, NoPiece>> {
        poll_fn(|cx| {
            let inner = &mut *self.inner.borrow_mut();
            loop {
                match inner.body.decode(&mut inner.buffer) {
                    Ok(Step::Data(data)) => {
                        if inner.buffer.is_empty() && inner.buffer.capacity() > ROOM {
                            // What is left of it would keep the memory of a long body from being freed with that.
                            inner.buffer = BytesMut::new();
                        }
                        return Poll::Ready(Some(Ok(data)));
                    }
                    Ok(Step::End) => return Poll::Ready(None),
                    Ok(Step::NeedMore) => {}
                    Err(_) => return Poll::Ready(Some(Err(NoPiece::Broken))),
                }
                match inner.poll_body(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Some(Err(NoPiece::Broken))),
                    Poll::Pending => {
                        ready!(inner.alarm.poll(cx, at));
                        return Poll::Ready(Some(Err(NoPiece::Late)));
                    }
                }
            }
        })
        .await
    }

    /// Whether the request's body was not read to its end, also not by a look at what has come already.
    pub(super) fn left_unread(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        while matches!(inner.body.decode(&mut inner.buffer), Ok(Step::Data(_))) {}
        !inner.body.ended()
    }

    /// What `work` gives, or `None` when the client leaves before that.
    pub(super) async fn unless_left<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.inner.borrow_mut().has_left(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Writes `output`, then whatever `next` adds to it until that says that nothing more comes. It is asked for more
    /// only when the socket has taken all, so a client that reads slowly slows down whoever makes the answer.
    pub(super) async fn write(
        &self,
        stall: Duration,
        mut output: Output,
        mut next: impl FnMut(&mut Context<'_>, &mut Output) -> Poll<Result<More, Unwritten>>,
    ) -> Result<(), Unwritten> {
        // The head leaves with the first piece if that is there already, and waits for nothing else.
        let (mut asked, mut more, mut unflushed) = (false, More::Yes, false);
        let mut since = None;
        poll_fn(|cx| {
            loop {
                let inner = &mut *self.inner.borrow_mut();
                let written = if asked && !output.is_empty() {
                    unflushed = true;
                    output.poll_write(cx, &mut inner.socket)
                } else if unflushed {
                    let flushed = Pin::new(&mut inner.socket).poll_flush(cx);
                    unflushed = flushed.is_pending();
                    flushed
                } else if more == More::No {
                    return Poll::Ready(Ok(()));
                } else {
                    asked = true;
                    match next(cx, &mut output) {
                        Poll::Ready(answer) => more = answer?,
                        Poll::Pending if !output.is_empty() => {}
                        Poll::Pending if inner.has_left(cx) => return Poll::Ready(Err(Unwritten::Left)),
                        Poll::Pending => return Poll::Pending,
                    }
                    continue;
                };
                match written {
                    Poll::Ready(Ok(())) => since = None,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Unwritten::Left)),
                    Poll::Pending if inner.has_left(cx) => return Poll::Ready(Err(Unwritten::Left)),
                    Poll::Pending => {
                        let since = *since.get_or_insert_with(Instant::now);
                        ready!(inner.alarm.poll(cx, since + stall));
                        return Poll::Ready(Err(Unwritten::Stalled));
                    }
                }
            }
        })
        .await
    }

    /// Closes so that the last answer arrives. Closing with bytes unread would reset the connection, and a reset
    /// overtakes the answer; so what the client still sends is read over, for a while.
    pub(super) async fn close(self, linger: bool) {
        let mut socket = self.inner.into_inner().socket;
        let closing = async {
            if socket.shutdown().await.is_err() || !linger {
                return;
            }
            let (mut sink, mut left) = (vec![0; ROOM], LINGER_BYTES);
            while let Ok(count @ 1..) = socket.read(&mut sink).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    return;
                }
            }
        };
        // Whoever takes longer is reset.
        let _ = tokio::time::timeout(LINGER, closing).await;
    }

    /// Closes by a reset.
    pub(super) fn abort(self) {
        self.inner.into_inner().socket.abort();
    }
}

impl Inner {
    /// Room for what was announced is taken as it comes, so that announcing costs a client nothing.
    fn make_room(&mut self, announced: usize) {
        let (here, room) = (self.buffer.len(), self.buffer.capacity() - self.buffer.len());
        if room < LEAST_ROOM {
            self.buffer.reserve(announced.saturating_sub(here).min(ROOM.max(3 * here)).max(LEAST_ROOM));
        }
    }

    /// Reads once; 0 when the client has closed its side. A connection that rests holds no buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() && self.socket.poll_readable(cx)?.is_pending() {
            self.buffer = BytesMut::new();
            return Poll::Pending;
        }
        if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
            self.buffer.reserve(self.room);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        // The future holds no state between polls, so one made anew each time reads on where the last left off.
        let count = ready!(pin!(self.socket.read_buf(&mut self.buffer)).poll(cx))?;
        if count == spare {
            self.room = (2 * self.room).min(MOST_ROOM);
        }
        Poll::Ready(Ok(count))
    }

    /// Reads on in a body, once a client that waits for a word to send it has had that.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while !self.promise.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, self.promise))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.promise = &self.promise[written..];
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.poll_fill(cx)
    }

    /// Whether a client whose request was read to its end has closed its side or reset the connection. One that only
    /// closed its side might still read, but cannot be told from one that is gone, and engines must not work for those.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        while self.body.ended() && self.buffer.len() < MOST_AHEAD {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }
}
