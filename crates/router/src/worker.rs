//! The threads that serve. Each runs a runtime of its own, accepts on a socket of its own, and shares nothing on the path
//! of a request but the routing table, which it reads, and counters.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::Cache;
use router_core::RetryBudget;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connection::serve;
use crate::date::{self, Date};
use crate::lag::Lag;
use crate::live::{Live, Shared};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::request_log::{LineFormat, RequestLog};
use crate::settings::Settings;
use crate::upstream::KeptConns;

/// Connections that the kernel queues for a worker.
const BACKLOG: i32 = 1024;
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
        let load = Arc::new(Load::default());
        let mut workers = Self { address: listen, leaving, closing, threads: Vec::new() };
        for number in 0..count.max(1) {
            let listener = listen_on(workers.address)?;
            workers.address = listener.local_addr()?;
            let runtime_for = Start {
                settings: settings.clone(),
                live: Arc::clone(live),
                metrics: metrics.clone(),
                load: Arc::clone(&load),
                leaving: Arc::clone(&workers.leaving),
                closing: workers.closing.clone(),
                drain_timeout,
            };
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
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a worker's thread is given.
struct Start {
    settings: Settings,
    live: Shared,
    metrics: Metrics,
    load: Arc<Load>,
    leaving: Arc<AtomicBool>,
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
        // Lines follow the log's filter, which is asked here once for all of them.
        let wanted = tracing::enabled!(target: "router::request", tracing::Level::INFO);
        let lines = if wanted { self.settings.request_lines } else { LineFormat::Off };
        let worker = Rc::new(Worker {
            settings: self.settings,
            live: RefCell::new(Cache::new(self.live)),
            metrics: self.metrics,
            kept: KeptConns::default(),
            retries: RefCell::default(),
            log: RequestLog::new(lines),
            load: self.load,
            date: Date::default(),
            lag: Lag::default(),
            leaving: self.leaving,
            connections: Connections::default(),
        });
        let tending = tokio::task::spawn_local(tend(Rc::clone(&worker)));
        self.closing.run_until_cancelled(accept(&worker, &listener)).await;
        drop(listener);
        worker.connections.close();
        if tokio::time::timeout(self.drain_timeout, worker.connections.none_left()).await.is_err() {
            tracing::warn!(connections = worker.connections.open.borrow().len(), "drain timeout is over");
        }
        tending.abort();
        worker.log.flush();
        Ok(())
    }
}

/// What the tasks of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    live: RefCell<Cache<Shared, Arc<Live>>>,
    pub(crate) metrics: Metrics,
    pub(crate) kept: KeptConns,
    /// How many requests may be tried again, by the requests of this worker.
    pub(crate) retries: RefCell<RetryBudget>,
    pub(crate) log: RequestLog,
    pub(crate) load: Arc<Load>,
    date: Date,
    lag: Lag,
    leaving: Arc<AtomicBool>,
    connections: Connections,
}

impl Worker {
    /// The configuration as of now. A request asks once and keeps the answer.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(self.live.borrow_mut().load())
    }

    /// Now, as the `Date` header has it.
    pub(crate) fn date(&self) -> [u8; date::LENGTH] {
        self.date.now()
    }

    /// Whether this request is to be refused because the worker is too far behind with its work.
    pub(crate) fn sheds(self: &Rc<Self>) -> bool {
        let worker = Rc::clone(self);
        self.lag.sheds(self.settings.max_lag, move || worker.lag.seen(worker.settings.max_lag))
    }

    /// Whether clients are to be sent elsewhere.
    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
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
        worker.kept.sweep(worker.settings.idle_timeout);
        worker.log.flush();
        let figure = |count| i64::try_from(count).unwrap_or(i64::MAX);
        worker.metrics.requests_under_way.set(figure(worker.load.requests()));
        worker.metrics.held_bytes.set(figure(worker.load.body_bytes()));
    }
}

/// The client connections of one worker, so that each can be told to close.
#[derive(Debug, Default)]
struct Connections {
    open: RefCell<HashMap<u64, Option<Waker>>>,
    next: Cell<u64>,
    closing: Cell<bool>,
    changed: Notify,
}

impl Connections {
    fn count(&self) -> usize {
        self.open.borrow().len()
    }

    fn close(&self) {
        self.closing.set(true);
        for waker in self.open.borrow_mut().values_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    async fn none_left(&self) {
        while self.count() > 0 {
            self.changed.notified().await;
        }
    }
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    worker: Rc<Worker>,
    number: u64,
    known: Cell<bool>,
}

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        let connections = &worker.connections;
        let number = connections.next.get();
        connections.next.set(number + 1);
        connections.open.borrow_mut().insert(number, None);
        worker.metrics.connections.inc();
        Self { worker: Rc::clone(worker), number, known: Cell::new(false) }
    }

    /// Whether to close. Asked by the connection's task; the first time it asks, it arranges to be woken for a yes. A
    /// task's waker stays good for as long as the task lives.
    pub(crate) fn should_close(&self, cx: &Context<'_>) -> bool {
        let connections = &self.worker.connections;
        if !self.known.replace(true) {
            connections.open.borrow_mut().insert(self.number, Some(cx.waker().clone()));
        }
        connections.closing.get()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.worker.connections;
        connections.open.borrow_mut().remove(&self.number);
        connections.changed.notify_one();
        self.worker.metrics.connections.dec();
    }
}
