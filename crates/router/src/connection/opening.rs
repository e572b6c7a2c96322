//! The beginning of a connection: which protocol the client speaks.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::alarm::Alarm;
use super::socket::Socket;
use crate::worker::{Open, Worker};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client that is spoken to.
#[derive(Debug)]
pub(super) enum Opened {
    /// In HTTP/1.1 or 1.0, with what was read so far.
    Http1(Socket, BytesMut),
    /// In HTTP/2.
    Http2(Reread),
}

/// Finds out what the client speaks; `None` when it does not say so in time, or says it badly.
pub(super) async fn open(worker: &Worker, stream: TcpStream, open: &Open) -> Option<Opened> {
    let settings = &worker.settings;
    let until = Instant::now() + settings.opening_timeout;
    let (mut socket, agreed) = match &settings.tls {
        None => (Socket::Plain(stream), None),
        Some(tls) => match timeout_at(until, Box::pin(tls.acceptor().accept(stream))).await {
            Ok(Ok(stream)) => {
                let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                (Socket::Tls(Box::new(stream)), Some(agreed))
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS with a client");
                worker.metrics.count_close("tls_handshake");
                return None;
            }
            Err(_) => {
                worker.metrics.count_close("tls_timeout");
                return None;
            }
        },
    };
    let mut read = BytesMut::new();
    if !settings.http2 || agreed == Some(false) {
        return Some(Opened::Http1(socket, read));
    }
    match preface(&mut socket, &mut read, until, open).await {
        Ok(true) => Some(Opened::Http2(Reread { read, socket })),
        // Who agreed on HTTP/2 and then speaks something else is not to be guessed at.
        Ok(false) if agreed.is_none() => Some(Opened::Http1(socket, read)),
        Ok(false) => None,
        Err(late) => {
            if late {
                worker.metrics.count_close("opening_timeout");
            }
            None
        }
    }
}

/// Whether the client begins with the preface of HTTP/2. The error is whether it was too late rather than gone.
async fn preface(socket: &mut Socket, read: &mut BytesMut, until: Instant, open: &Open) -> Result<bool, bool> {
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        loop {
            let seen = read.len().min(PREFACE.len());
            if read[..seen] != PREFACE[..seen] {
                return Poll::Ready(Ok(false));
            }
            if seen == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            if open.should_close(cx) && read.is_empty() {
                return Poll::Ready(Err(false));
            }
            match socket.poll_readable(cx) {
                Poll::Ready(Ok(())) => read.reserve(PREFACE.len()),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(false)),
                Poll::Pending => {}
            }
            match pin!(socket.read_buf(read)).poll(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Err(false)),
                Poll::Pending => {
                    ready!(alarm.poll(cx, until));
                    return Poll::Ready(Err(true));
                }
            }
        }
    })
    .await
}

/// A socket of which some was read already, which is read once more.
#[derive(Debug)]
pub(super) struct Reread {
    read: BytesMut,
    socket: Socket,
}

impl AsyncRead for Reread {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { read, socket } = self.get_mut();
        if read.is_empty() {
            return Pin::new(socket).poll_read(cx, buf);
        }
        let take = read.len().min(buf.remaining());
        buf.put_slice(&read[..take]);
        read.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reread {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
