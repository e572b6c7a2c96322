//! What is on its way to a client: at most one head and one piece of a body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use wire::http1::{CHUNK_END, Framing, LAST_CHUNK, chunk_size};

use super::socket::Socket;

/// Chunk end and last chunk in one.
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// Bytes to write: head and size line, then data, then what ends it. They leave in one system call where the socket
/// takes them.
#[derive(Debug, Default)]
pub(super) struct Output {
    start: BytesMut,
    data: Bytes,
    end: &'static [u8],
}

impl Output {
    /// Begins with the head that `write` makes.
    pub(super) fn with_head(write: impl FnOnce(&mut BytesMut)) -> Self {
        let mut start = BytesMut::new();
        write(&mut start);
        Self { start, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start.is_empty() && self.data.is_empty() && self.end.is_empty()
    }

    /// Adds a piece of the body, after which it may have ended. Called only while no other piece is here.
    pub(super) fn piece(&mut self, framing: Framing, data: Bytes, last: bool) {
        if framing == Framing::Chunked {
            if !data.is_empty() {
                chunk_size(&mut self.start, data.len());
                self.end = CHUNK_END;
            }
            if last {
                self.end = if data.is_empty() { LAST_CHUNK } else { CHUNK_END_AND_LAST };
            }
        }
        self.data = data;
    }

    /// Writes once; what was taken is gone from here.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        let parts = [&self.start[..], &self.data[..], self.end].map(IoSlice::new);
        let mut written = ready!(Pin::new(socket).poll_write_vectored(cx, &parts))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let take = written.min(self.start.len());
        self.start.advance(take);
        written -= take;
        let take = written.min(self.data.len());
        self.data.advance(take);
        self.end = &self.end[written - take..];
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_a_piece() {
        let cases = [
            (Framing::Chunked, "hello", false, "head5\r\nhello\r\n"),
            (Framing::Chunked, "hello", true, "head5\r\nhello\r\n0\r\n\r\n"),
            (Framing::Chunked, "", true, "head0\r\n\r\n"),
            (Framing::Length(5), "hello", true, "headhello"),
            (Framing::UntilClose, "hello", true, "headhello"),
            (Framing::UntilClose, "", true, "head"),
        ];
        for (framing, data, last, want) in cases {
            let mut output = Output::with_head(|out| out.extend_from_slice(b"head"));
            output.piece(framing, data.into(), last);
            let got = [&output.start[..], &output.data, output.end].concat();
            assert_eq!(String::from_utf8(got).unwrap(), want, "{framing:?}");
        }
    }
}
