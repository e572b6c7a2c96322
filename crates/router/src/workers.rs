//! The threads that serve. Each runs a runtime of its own, accepts on a socket of its own, and shares nothing on the path
//! of a request but the routing table, which it reads, and counters.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use crate::connection::serve;
use crate::live::Shared;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::upstream::HOST_REST;
use crate::worker::{Common, Open, Worker};

/// Connections that the kernel queues for a worker.
const BACKLOG: i32 = 1024;
/// Bytes of an answer that the kernel takes beyond what is on its way to a client. Otherwise it takes megabytes for each
/// client that reads slowly, and the engine is held back only behind those.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;
/// How often old connections are closed and log lines written out, where nothing else does it sooner.
const TEND: Duration = Duration::from_millis(250);
/// How long accepting rests when the process has no file descriptor left: until some connection has likely ended.
const BREATH: Duration = Duration::from_millis(50);
/// What a client hears when there are too many. It fits into the empty buffer of a new socket.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 119\r\n\r\n\
{\"error\":{\"message\":\"Too many connections are open.\",\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"}}";

/// All workers of this process.
#[derive(Debug)]
pub struct Workers {
    address: SocketAddr,
    leaving: Arc<AtomicBool>,
    closing: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers on `listen`. When its port is 0, all share the one that the first is given.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or a thread or its runtime cannot be made.
    pub fn start(
        listen: SocketAddr,
        count: usize,
        settings: &Settings,
        live: &Shared,
        metrics: &Metrics,
        drain_timeout: Duration,
    ) -> io::Result<Self> {
        let leaving = Arc::new(AtomicBool::new(false));
        let closing = CancellationToken::new();
        let common = Common {
            settings: settings.clone(),
            live: Arc::clone(live),
            metrics: metrics.clone(),
            load: Arc::new(Load::default()),
            leaving: Arc::clone(&leaving),
        };
        let mut workers = Self { address: listen, leaving, closing, threads: Vec::new() };
        for number in 0..count.max(1) {
            let listener = listen_on(workers.address)?;
            workers.address = listener.local_addr()?;
            let runtime_for = Start { common: common.clone(), closing: workers.closing.clone(), drain_timeout };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            workers.threads.push(thread.spawn(move || runtime_for.run(listener))?);
        }
        Ok(workers)
    }

    /// Where the workers accept.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every answer asks its client to close the connection. Accepting goes on, because those who send here
    /// learn late that they should not.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Stops accepting, closes resting connections, and lets the others finish within the drain timeout.
    pub fn close(&self) {
        self.leave();
        self.closing.cancel();
    }

    /// Waits until all workers have ended. They do so only after [`Workers::close`].
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

/// A listening socket on an address that several sockets share; the kernel spreads new connections over them.
fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Accepted sockets inherit it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a worker's thread is given.
struct Start {
    common: Common,
    closing: CancellationToken,
    drain_timeout: Duration,
}

impl Start {
    fn run(self, listener: std::net::TcpListener) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let ended = runtime.and_then(|runtime| runtime.block_on(self.serve(listener)));
        if let Err(error) = ended {
            tracing::error!(%error, "a worker could not serve");
        }
    }

    async fn serve(self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let worker = Rc::new(Worker::new(self.common));
        let tending = tokio::task::spawn_local(tend(Rc::clone(&worker)));
        self.closing.run_until_cancelled(accept(&worker, &listener)).await;
        drop(listener);
        worker.connections.close();
        if tokio::time::timeout(self.drain_timeout, worker.connections.none_left()).await.is_err() {
            tracing::warn!(connections = worker.connections.count(), "drain timeout is over");
        }
        tending.abort();
        worker.log.flush();
        Ok(())
    }
}

async fn accept(worker: &Rc<Worker>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if worker.connections.count() >= worker.settings.max_connections => shed(worker, &stream),
            Ok((stream, _)) => {
                let open = Open::new(worker);
                tokio::task::spawn_local(serve(Rc::clone(worker), stream, open));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

fn shed(worker: &Worker, stream: &TcpStream) {
    worker.metrics.shed_connections.inc();
    // A client that cannot take these few bytes is closed without a word.
    let _ = stream.try_write(TOO_MANY);
}

async fn tend(worker: Rc<Worker>) {
    let mut turns = tokio::time::interval(TEND);
    let mut last = worker.live();
    loop {
        turns.tick().await;
        let live = worker.live();
        if !Arc::ptr_eq(&live, &last) {
            let ready = live.table.pools().iter().flat_map(|pool| &pool.ready);
            let known: HashSet<SocketAddr> = ready.map(|endpoint| endpoint.address).collect();
            worker.kept.keep_only(|address| known.contains(address));
            last = live;
        }
        worker.kept.sweep(worker.settings.idle_timeout, HOST_REST);
        worker.log.flush();
        let figure = |count| i64::try_from(count).unwrap_or(i64::MAX);
        worker.metrics.requests_under_way.set(figure(worker.load.requests()));
        worker.metrics.held_bytes.set(figure(worker.load.body_bytes()));
    }
}
