//! The socket of an HTTP/2 client, watched for floods and for a client that takes nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wire::http2::FrameWatch;

use super::opening::Reread;

/// What is known of a client by its socket alone.
#[derive(Debug)]
pub(super) struct Behaviour {
    began: Instant,
    frames: RefCell<FrameWatch>,
    flooded: Cell<bool>,
    /// Since when the socket has taken nothing of what there is for it.
    stuck: Cell<Option<Instant>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { began: Instant::now(), frames: RefCell::default(), flooded: Cell::new(false), stuck: Cell::new(None) }
    }
}

impl Behaviour {
    /// Whether the client sent more frames that ask for nothing than any client needs.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Since when the socket has taken nothing of what there is for it.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck.get()
    }

    fn came(&self, bytes: &[u8]) -> io::Result<()> {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.frames.borrow_mut().read(bytes, millis).map_err(|flood| {
            self.flooded.set(true);
            io::Error::other(flood)
        })
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(count)) => {
                self.stuck.set(None);
                self.frames.borrow_mut().wrote(*count);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.stuck.set(self.stuck.get().or_else(|| Some(Instant::now()))),
        }
        result
    }
}

/// A socket whose client is watched. Reading from one that floods is an error.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) socket: Reread,
    pub(super) behaviour: Rc<Behaviour>,
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, behaviour } = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(socket).poll_read(cx, buf))?;
        Poll::Ready(behaviour.came(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, behaviour } = self.get_mut();
        behaviour.wrote(Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, behaviour } = self.get_mut();
        behaviour.wrote(Pin::new(socket).poll_write_vectored(cx, bufs))
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
