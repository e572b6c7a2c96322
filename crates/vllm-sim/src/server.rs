//! Serves the routes of a vLLM engine, and stops as it does.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::answer::answer;
use crate::args::Args;
use crate::engine::Engine;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::request::Kind;
use crate::settings::{CutOff, Settings};
use crate::text::mix;
use crate::{MODELLED_ON, reply};

/// Most connections at a time; further ones wait in the system's backlog.
const MOST_CONNECTIONS: usize = 8192;
/// How long connections may take to send what is written, once the engine has ended.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// What the handlers share.
pub(crate) struct App {
    pub(crate) args: Args,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    /// When the process started, by both clocks.
    started: (SystemTime, Instant),
    draining: AtomicBool,
    running: TaskTracker,
    in_flight: Arc<AtomicI64>,
    ids: AtomicU64,
}

/// A request that is being answered, until it is dropped.
pub(crate) struct InFlight {
    _running: TaskTrackerToken,
    count: Arc<AtomicI64>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why the simulator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The metrics could not be set up.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// The listener failed.
    #[error("accepting connections")]
    Accept(#[from] io::Error),
}

/// Serves on `listener` until `stop` is ready, then ends as vLLM does: with a shutdown timeout, running requests go on so
/// long, new ones get an error and `/health` stays well; after it, or without one, what runs ends in an error. `started`
/// is the time by the wall clock.
///
/// # Errors
/// When the metrics cannot be set up, or the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    args: Args,
    settings: Settings,
    started: SystemTime,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let timeout_of_drain = args.shutdown_timeout;
    let app = Arc::new(App::new(args, settings, started)?);
    let closing = CancellationToken::new();
    let connections = TaskTracker::new();
    let accepting = accept(&listener, routes(Arc::clone(&app)), settings.keep_alive, &connections, &closing);
    let stopping = async {
        stop.await;
        app.drain(timeout_of_drain).await;
    };
    tokio::select! {
        failed = accepting => failed?,
        () = stopping => {}
    }
    drop(listener);
    closing.cancel();
    connections.close();
    if settings.cut_off == CutOff::Silence {
        connections.wait().await;
    }
    // A client that does not read must not keep the process.
    let _ = timeout(LAST_WRITES, connections.wait()).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    routes: Router,
    keep_alive: Duration,
    connections: &TaskTracker,
    closing: &CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client left before it was greeted, or the process is out of descriptors for now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted || error.raw_os_error() == Some(24) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let (routes, closing) = (routes.clone(), closing.clone());
        connections.spawn(async move {
            converse(stream, routes, keep_alive, closing).await;
            drop(place);
        });
    }
}

/// Speaks HTTP/1.1 with one client until either side has enough. What goes wrong here is the client's to notice.
async fn converse(stream: TcpStream, routes: Router, keep_alive: Duration, closing: CancellationToken) {
    // Tokens are small writes that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(keep_alive);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl App {
    fn new(args: Args, settings: Settings, started: SystemTime) -> Result<Self, prometheus::Error> {
        let capacity = u64::from(args.max_num_seqs) * u64::from(args.max_model_len);
        let metrics = Metrics::new(&args.served_names[0], capacity)?;
        let engine = Engine::new(args.max_num_seqs, settings, metrics);
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            engine: Arc::new(engine),
            started: (started, Instant::now()),
            draining: AtomicBool::new(false),
            running: TaskTracker::new(),
            in_flight: Arc::default(),
            ids: AtomicU64::new(mix(u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32))),
            args,
            settings,
        })
    }

    /// Takes a request in; `None` after the signal to stop.
    pub(crate) fn enter(&self) -> Option<InFlight> {
        if self.draining.load(Ordering::Acquire) {
            return None;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { _running: self.running.token(), count: Arc::clone(&self.in_flight) })
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let now = self.started.0 + self.started.1.elapsed();
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Sixteen hexadecimal digits that this process does not give twice.
    pub(crate) fn unique(&self) -> String {
        format!("{:016x}", mix(self.ids.fetch_add(1, Ordering::Relaxed)))
    }

    async fn drain(&self, patience: Duration) {
        if !patience.is_zero() {
            self.draining.store(true, Ordering::Release);
            self.running.close();
            // Who is not done by then is ended below.
            let _ = timeout(patience, self.running.wait()).await;
        }
        self.engine.abort.cancel();
    }
}

fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route(
            "/v1/chat/completions",
            post(|State(app): State<Arc<App>>, request: Request| answer(app, Kind::Chat, request)),
        )
        .route(
            "/v1/completions",
            post(|State(app): State<Arc<App>>, request: Request| answer(app, Kind::Completion, request)),
        )
        .route("/v1/models", get(models))
        .route("/health", get(well))
        .route("/ping", get(well).post(well))
        .route("/version", get(|| async { json(200, format!(r#"{{"version":"{MODELLED_ON}"}}"#)) }))
        .route("/load", get(load))
        .route("/metrics", get(metrics))
        .fallback(|| async { json(404, r#"{"detail":"Not Found"}"#.to_owned()) })
        .method_not_allowed_fallback(|| async { json(405, r#"{"detail":"Method Not Allowed"}"#.to_owned()) })
        .with_state(app)
}

async fn well() -> Response {
    dressed(Response::new(Body::empty()))
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let args = &app.args;
    json(200, reply::models(&args.served_names, &args.model, args.max_model_len, app.now(), || app.unique()))
}

async fn load(State(app): State<Arc<App>>) -> Response {
    let count = if app.args.track_load { app.in_flight.load(Ordering::Relaxed) } else { 0 };
    json(200, format!(r#"{{"server_load":{count}}}"#))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.engine.metrics.page() {
        Ok(page) => respond(200, CONTENT_TYPE, Body::from(page)),
        Err(error) => respond(500, "text/plain", Body::from(error.to_string())),
    }
}

/// A response with a JSON body.
pub(crate) fn json(status: u16, body: String) -> Response {
    respond(status, "application/json", Body::from(body))
}

/// A response with the headers that vLLM's server sets.
pub(crate) fn respond(status: u16, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    dressed(response)
}

fn dressed(mut response: Response) -> Response {
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("vllm-sim"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}
