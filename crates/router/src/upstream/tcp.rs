//! A TCP connection to an engine or a provider.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

/// Bytes that the kernel is asked to hold of what was not read yet; Linux takes it twice. Otherwise it grows to megabytes for a
/// stream whose client reads slowly, and the engine is held back only behind those. With a round trip of 100 ms it lets a
/// megabyte a second through, which is thousands of tokens.
const UNREAD: u32 = 64 * 1024;

/// Connects, without a deadline.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before the connection is there: it decides how large a window is offered.
    socket.set_recv_buffer_size(UNREAD)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
