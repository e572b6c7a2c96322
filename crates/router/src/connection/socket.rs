//! The socket of a client.

use std::io;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// One client's bytes.
pub(crate) type Socket = TcpStream;

/// Ready when a read may give something. What is not ready needs no buffer.
pub(super) fn poll_readable(socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    socket.poll_read_ready(cx)
}

/// Makes closing a reset, so that an answer without a length of its own cannot look complete.
pub(super) fn abort(socket: &Socket) {
    // A socket that cannot be set up is gone already.
    let _ = socket.set_zero_linger();
}
