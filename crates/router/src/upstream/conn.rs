//! One connection to an engine or a provider.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use wire::http1::{BodyDecoder, BodyError, Head, HeadError, HeadReader, Step};

use super::stream::Stream;
use super::tcp;

/// Room that a read finds at least, and what is added when there is less.
const LEAST_ROOM: usize = 2 * 1024;
const ROOM: usize = 16 * 1024;

/// Where a connection leads to, so that it can be found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Home {
    /// An engine.
    Engine(SocketAddr),
    /// A host, known by its name and how it is spoken to. A Service may have addresses that a provider may not, so what was
    /// judged for the one is never used for the other.
    Host { secure: bool, service: bool, authority: Arc<str> },
}

/// A connection, with the bytes of its answer that came but were not used yet.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: Stream,
    buffer: BytesMut,
    home: Home,
    /// It has served a request before, so the engine may have closed it meanwhile.
    reused: bool,
    /// The request in hand was not sent to its end.
    unsent: bool,
}

/// Why a request got no answer on this connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The engine had closed the connection before this request came to it, or may have.
    #[error("a kept connection was closed by the engine")]
    Stale,
    /// The engine closed the connection before it answered.
    #[error("the engine closed the connection before it answered")]
    Closed,
    /// The answer did not begin in time.
    #[error("the engine did not begin its answer in time")]
    Silent,
    /// The answer cannot be trusted.
    #[error("the engine's answer is malformed: {0}")]
    Malformed(#[from] HeadError),
    /// The answer's body is framed wrongly from its start.
    #[error("the engine's answer is malformed: {0}")]
    BadBody(#[from] BodyError),
}

impl Conn {
    /// Connects to an engine within `deadline`.
    pub(crate) async fn open(address: SocketAddr, deadline: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(deadline, tcp::connect(address)).await??;
        Ok(Self::new(Stream::Plain(stream), Home::Engine(address)))
    }

    /// A connection that was just made.
    pub(crate) fn new(stream: Stream, home: Home) -> Self {
        Self { stream, buffer: BytesMut::new(), home, reused: false, unsent: false }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Whether the other side has neither closed the connection nor said anything unasked.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Sends a request and reads the head of its answer. Reads while it writes: an engine may refuse a body before it has
    /// taken all of it, and then stop reading.
    pub(crate) async fn ask(&mut self, head: &[u8], body: &[u8]) -> Result<Head, AskError> {
        let mut sent = 0;
        let mut reader = HeadReader::default();
        let mut heard = false;
        let mut deaf = false;
        poll_fn(|cx| {
            while !deaf && sent < head.len() + body.len() {
                match self.poll_write(cx, head, body, sent) {
                    Poll::Ready(Ok(count)) => sent += count,
                    // It takes no more; what it said before that is still to be read.
                    Poll::Ready(Err(_)) => deaf = true,
                    Poll::Pending => break,
                }
            }
            if !deaf && sent == head.len() + body.len() {
                // TLS may still hold the end of what it took. It is pushed out whenever this is polled, until it is gone.
                let _ = Pin::new(&mut self.stream).poll_flush(cx);
            }
            loop {
                let count = ready!(self.poll_read(cx)).unwrap_or(0);
                if count == 0 {
                    return Poll::Ready(Err(if self.reused && !heard { AskError::Stale } else { AskError::Closed }));
                }
                heard = true;
                if let Some(answer) = reader.read(&mut self.buffer)? {
                    self.unsent = sent < head.len() + body.len();
                    return Poll::Ready(Ok(answer));
                }
            }
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8], sent: usize) -> Poll<io::Result<usize>> {
        let parts = [&head[sent.min(head.len())..], &body[sent.saturating_sub(head.len())..]].map(IoSlice::new);
        match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => Poll::Ready(other),
        }
    }

    /// Reads once; 0 when the engine has closed its side.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
            self.buffer.reserve(ROOM);
        }
        // The future holds no state between polls, so one made anew each time reads on where the last left off.
        pin!(self.stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// What was read and not used yet.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the body's payload out of what was read.
    pub(crate) fn decode(&mut self, decoder: &mut BodyDecoder) -> Result<Step, BodyError> {
        decoder.decode(&mut self.buffer)
    }

    /// All of an answer's body; `None` when it has more than `most` bytes.
    pub(crate) async fn whole(&mut self, head: &Head, most: usize) -> Result<Option<Bytes>, AskError> {
        let mut decoder = BodyDecoder::new(head.framing);
        let mut body = BytesMut::new();
        loop {
            match self.decode(&mut decoder)? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::End => return Ok(Some(body.freeze())),
                Step::NeedMore => match poll_fn(|cx| self.poll_read(cx)).await {
                    Ok(1..) => {}
                    Ok(0) => decoder.close()?,
                    Err(_) => return Err(AskError::Closed),
                },
            }
            if decoder.ended() {
                return Ok(Some(body.freeze()));
            }
            if body.len() > most {
                return Ok(None);
            }
        }
    }

    /// Makes the connection fit for another request, if it is.
    pub(crate) fn rest(mut self) -> Option<Self> {
        self.reused = true;
        // Bytes after the end of an answer belong to nothing that was asked.
        (self.buffer.is_empty() && !self.unsent).then_some(self)
    }
}
