//! One client connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;

use self::io::ClientIo;
use crate::answer::answer;
use crate::worker::{Open, Worker};

mod io;

pub(crate) use self::io::Client;

/// Bytes that are held for one connection in each direction, and with it the longest head of a request. It bounds what a
/// client that reads slowly can pile up here; the rest waits in the engine's socket.
const BUFFER: usize = 64 * 1024;

/// Serves requests until the client leaves, a request cannot be read, or the worker closes.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, open: Open) {
    // Without this a token waits for the acknowledgement of the one before it. A socket that cannot be set up is gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let client = Rc::new(Client::default());
    let service = service_fn(|request| {
        let answered = answer(Rc::clone(&worker), Rc::clone(&client), request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(worker.settings.header_timeout)
            .max_buf_size(BUFFER)
            .max_header_size(BUFFER)
            .serve_connection(ClientIo::new(stream, Rc::clone(&client)), service)
    );
    let mut told = false;
    let ended = poll_fn(|cx| {
        if open.should_close(cx) && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "connection ended early");
    }
}
