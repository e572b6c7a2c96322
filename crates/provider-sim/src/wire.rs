//! A second hand on a connection, past the HTTP that is spoken on it.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::app::lock;

/// A second hand on a connection.
#[derive(Clone)]
pub(crate) struct Wire {
    socket: Arc<Mutex<Option<StdStream>>>,
    /// Told when the connection is to be dropped.
    pub(crate) dropped: CancellationToken,
}

impl Wire {
    /// A second hand on `stream`.
    pub(crate) fn on(stream: &TcpStream) -> io::Result<Self> {
        let socket = StdStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self { socket: Arc::new(Mutex::new(Some(socket))), dropped: CancellationToken::new() })
    }

    /// Drops the connection so that its peer gets a reset.
    pub(crate) fn reset(&self) {
        if let Some(socket) = lock(&self.socket).take() {
            // Without it the connection ends in good order, which a test would see.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        self.dropped.cancel();
    }

    /// Drops the connection in good order.
    pub(crate) fn close(&self) {
        lock(&self.socket).take();
        self.dropped.cancel();
    }

    /// Writes bytes past HTTP, and closes the connection.
    pub(crate) async fn say(&self, bytes: &[u8]) {
        let socket = lock(&self.socket).take();
        if let Some(Ok(mut stream)) = socket.map(TcpStream::from_std) {
            // Who left does not hear it.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        self.dropped.cancel();
    }
}
