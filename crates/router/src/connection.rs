//! One client connection.

use std::rc::Rc;

use tokio::net::TcpStream;

use self::opening::Opened;
use crate::worker::{Open, Worker};

mod alarm;
pub(crate) mod client;
mod guarded;
mod http1;
mod http2;
mod opening;
mod output;
mod socket;

/// Serves requests until the client leaves, a request cannot be read, or the worker closes.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, open: Open) {
    // Without this a token waits for the acknowledgement of the one before it. A socket that cannot be set up is gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match opening::open(&worker, stream, &open).await {
        Some(Opened::Http1(socket, read)) => http1::serve(&worker, socket, read, &open).await,
        Some(Opened::Http2(socket)) => Box::pin(http2::serve(&worker, socket, &open)).await,
        None => {}
    }
}

#[cfg(test)]
mod tests;
