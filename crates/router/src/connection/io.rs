//! The socket of a client, closed so that its last answer arrives.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long, and how much, is read over from a client whose body was refused, before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// How much of it is read at once.
const SINK: usize = 16 * 1024;

/// What a request's answer can say about its connection.
#[derive(Debug, Default)]
pub(crate) struct Client {
    unread: Cell<bool>,
}

impl Client {
    /// The body was not read to its end.
    pub(crate) fn left_unread(&self) {
        self.unread.set(true);
    }
}

/// A client's socket as hyper uses it.
#[derive(Debug)]
pub(crate) struct ClientIo {
    inner: TokioIo<TcpStream>,
    client: Rc<Client>,
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, client: Rc<Client>) -> Self {
        Self { inner: TokioIo::new(stream), client, linger: None }
    }

    /// Reads over what the client still sends. Closing with bytes unread would reset the connection, and a reset
    /// overtakes the answer that says why.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self
            .linger
            .get_or_insert_with(|| Linger { until: Box::pin(tokio::time::sleep(LINGER)), left: LINGER_BYTES });
        let mut sink = [0; SINK];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut sink = ReadBuf::new(&mut sink);
            match ready!(Pin::new(self.inner.inner_mut()).poll_read(cx, &mut sink)) {
                Ok(()) if !sink.filled().is_empty() => linger.left = linger.left.saturating_sub(sink.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl Read for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        if self.client.unread.get() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
