//! The bed: a router with one worker, engines that say what a test tells them to, and clients that see every byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::TextEncoder;
use router::live::{Live, Shared};
use router::metrics::Metrics;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{Access, EndpointInput, Moment, PolicyInput, PoolInput, Resilience, Table, TargetInput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long anything in a test may take. Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `what`, but not for ever.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing happened in time")
}

/// Waits until `holds` does.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Either side of a socket, as raw bytes.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Bytes up to and including `end`.
    pub(crate) async fn read_to(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
            }
            let count = soon(self.stream.read_buf(&mut self.seen)).await.unwrap_or(0);
            assert!(count > 0, "closed before {end:?}, after {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    pub(crate) async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let read = soon(self.stream.read_buf(&mut self.seen)).await.unwrap();
            assert!(read > 0, "closed early");
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    /// Everything until the other side closes, in order or not.
    pub(crate) async fn read_all(&mut self) -> String {
        while matches!(soon(self.stream.read_buf(&mut self.seen)).await, Ok(1..)) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned()
    }

    /// A message with `Content-Length`: its head and its body.
    pub(crate) async fn message(&mut self) -> (String, String) {
        let head = self.read_to("\r\n\r\n").await;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.read_exactly(length).await;
        (head, String::from_utf8(body).unwrap())
    }

    /// The next message, unless the other side closes first.
    pub(crate) async fn next_message(&mut self) -> Option<(String, String)> {
        while self.seen.is_empty() {
            if !matches!(self.stream.read_buf(&mut self.seen).await, Ok(1..)) {
                return None;
            }
        }
        Some(self.message().await)
    }

    /// A line, unless the other side closes first.
    pub(crate) async fn line(&mut self) -> Option<String> {
        self.read_if("\n").await
    }

    /// The head of a message, unless the other side closes first.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.read_if("\r\n\r\n").await
    }

    async fn read_if(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).ok();
            }
            if !matches!(soon(self.stream.read_buf(&mut self.seen)).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// So many bytes, unless the other side closes first.
    pub(crate) async fn some(&mut self, count: usize) -> Option<String> {
        while self.seen.len() < count {
            if !matches!(soon(self.stream.read_buf(&mut self.seen)).await, Ok(1..)) {
                return None;
            }
        }
        let rest = self.seen.split_off(count);
        String::from_utf8(std::mem::replace(&mut self.seen, rest)).ok()
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// The value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The status of an answer's head.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
}

/// An engine that follows a script on each connection made to it.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Engine {
    pub(crate) async fn new<S, F>(script: S) -> Self
    where
        S: Fn(usize, Wire) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Wire::new(stream)));
            }
        });
        Self { address, accepted, task }
    }

    /// One that gives this answer to every request, for as long as it is asked.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |_, mut wire| {
            let answer = answer.clone();
            async move {
                while wire.asked().await {
                    wire.send(&answer).await;
                }
            }
        })
        .await
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// Reads a request over; `false` when there is none.
    pub(crate) async fn asked(&mut self) -> bool {
        self.next_message().await.is_some()
    }
}

/// The least that counts as a chat completion.
pub(crate) const ANSWER: &str = r#"{"choices":[{}]}"#;

/// A plain answer of an engine.
pub(crate) fn plain(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The head of a streamed answer.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// One chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:X}\r\n{data}\r\n", data.len())
}

/// A router with a policy for the model `m`, and for the name `alias`, whose pool `ml/p` serves `m`.
pub(crate) struct Bed {
    pub(crate) workers: Workers,
    pub(crate) live: Shared,
    pub(crate) metrics: Metrics,
}

/// The usual settings, but that a worker may be behind as long as it likes: a busy machine is no fault of the router's.
pub(crate) fn calm() -> Settings {
    Settings { max_lag: Duration::ZERO, ..Settings::default() }
}

impl Bed {
    pub(crate) fn new(engines: &[SocketAddr]) -> Self {
        Self::with(&calm(), engines)
    }

    pub(crate) fn with(settings: &Settings, engines: &[SocketAddr]) -> Self {
        let metrics = Metrics::new().unwrap();
        let live = Live::new(table(engines, &Table::default()), &metrics).shared();
        metrics.observe(&live).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let workers = Workers::start(listen, 1, settings, &live, &metrics, PATIENCE).unwrap();
        Self { workers, live, metrics }
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire::new(soon(TcpStream::connect(self.workers.address())).await.unwrap())
    }

    /// A chat request from a new client, which is left with the answer.
    pub(crate) async fn asking(&self, body: &str) -> Wire {
        let mut client = self.client().await;
        client.send(chat(body)).await;
        client
    }

    /// The figure of a metric, by how its line in the page begins.
    pub(crate) fn figure(&self, line: &str) -> f64 {
        let page = TextEncoder::new().encode_to_string(&self.metrics.registry.gather()).unwrap();
        let find = |l: &str| l.strip_prefix(line).and_then(|rest| rest.trim().parse().ok());
        page.lines().find_map(find).unwrap_or(0.0)
    }

    /// Waits until no request is under way anywhere.
    pub(crate) async fn settled(&self) {
        let busy = |pool: &router_core::Pool| pool.ready.iter().any(|e| e.load.in_flight() > 0);
        until("no request under way", || !self.live.load().table.pools().iter().any(busy)).await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.workers.close();
    }
}

/// A table whose pool is known to its one engine by this name.
pub(crate) fn serving(served_model: &str, engine: SocketAddr, before: &Table) -> Table {
    let policy = PolicyInput {
        namespace: "ml".to_owned(),
        name: "route".to_owned(),
        created: 1_700_000_000,
        models: vec!["alias".to_owned()],
        targets: vec![TargetInput::new(served_model, "ml", served_model)],
        session_header: None,
        access: Access::anyone(),
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    };
    let name = || served_model.to_owned();
    let pool = PoolInput { namespace: "ml".to_owned(), name: name(), served_model: name() };
    let endpoint = EndpointInput { namespace: "ml".to_owned(), pool: name(), address: engine, ready: true };
    Table::build(vec![policy], vec![pool], vec![endpoint], before, Moment(0))
}

pub(crate) fn table(engines: &[SocketAddr], before: &Table) -> Table {
    guarded(engines, &Access::anyone(), before)
}

/// The bed's table, whose policies let in whom `access` says.
pub(crate) fn guarded(engines: &[SocketAddr], access: &Access, before: &Table) -> Table {
    let target = |pool: &str| TargetInput::new(pool, "ml", pool);
    let policy = |name: &str, models: &[&str], pool: &str| PolicyInput {
        namespace: "ml".to_owned(),
        name: name.to_owned(),
        created: 1_700_000_000,
        models: models.iter().map(|m| (*m).to_owned()).collect(),
        targets: vec![target(pool)],
        session_header: Some("x-session".to_owned()),
        access: access.clone(),
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    };
    let pool =
        |name: &str| PoolInput { namespace: "ml".to_owned(), name: name.to_owned(), served_model: "m".to_owned() };
    let endpoint = |address: &SocketAddr| EndpointInput {
        namespace: "ml".to_owned(),
        pool: "p".to_owned(),
        address: *address,
        ready: true,
    };
    Table::build(
        vec![policy("route", &["m", "alias", "any-*"], "p"), policy("cold", &["cold"], "empty")],
        vec![pool("p"), pool("empty")],
        engines.iter().map(endpoint).collect(),
        before,
        Moment(0),
    )
}

/// A chat request with this body.
pub(crate) fn chat(body: &str) -> String {
    post("/v1/chat/completions", "", body)
}

/// A POST with further header lines, each ending in CR LF.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: router\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A small well-formed body.
pub(crate) const ASK: &str = r#"{"model":"m","messages":[]}"#;
