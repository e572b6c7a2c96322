//! Serves the routes of a vLLM engine, and stops as it does.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{answer, pooled};
use crate::app::App;
use crate::args::Args;
use crate::error::ServeError;
use crate::misbehave::{self, Wire};
use crate::request::{Kind, Pool};
use crate::response::json;
use crate::settings::{CutOff, Settings};
use crate::{MODELLED_ON, pages, sleep};

/// Most connections at a time; further ones wait in the system's backlog.
const MOST_CONNECTIONS: usize = 8192;
/// How long connections may take to send what is written, once the engine has ended.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// How long vLLM's server goes on answering after its engine died.
const NOTICE: Duration = Duration::from_millis(300);

/// How connections are spoken to.
#[derive(Clone)]
struct Speech {
    routes: Router,
    keep_alive: Duration,
    /// Whether faults need a second hand on each connection.
    faulty: bool,
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
    let engine = Arc::clone(&app.engine);
    let speech = Speech { routes: routes(Arc::clone(&app)), keep_alive: settings.keep_alive, faulty: app.is_faulty() };
    let accepting = accept(&listener, speech, &connections, &closing);
    let stopping = async {
        stop.await;
        app.drain(timeout_of_drain).await;
    };
    let dying = async {
        app.died.cancelled().await;
        sleep(NOTICE).await;
    };
    tokio::select! {
        failed = accepting => failed?,
        () = engine.run() => {}
        () = stopping => {}
        () = dying => {}
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
    speech: Speech,
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
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let (speech, closing) = (speech.clone(), closing.clone());
        connections.spawn(async move {
            converse(stream, speech, closing).await;
            drop(place);
        });
    }
}

/// Speaks HTTP/1.1 with one client until either side has enough. What goes wrong here is the client's to notice.
async fn converse(stream: TcpStream, speech: Speech, closing: CancellationToken) {
    // Tokens are small writes that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let wire = if speech.faulty { Wire::on(&stream).ok() } else { None };
    let dropped = wire.as_ref().map_or_else(CancellationToken::new, |wire| wire.dropped.clone());
    let routes = TowerToHyperService::new(speech.routes);
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        if let Some(wire) = &wire {
            request.extensions_mut().insert(wire.clone());
        }
        routes.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(speech.keep_alive);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = dropped.cancelled() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = dropped.cancelled() => {}
    }
}

fn routes(app: Arc<App>) -> Router {
    let detail = |status, text: &'static str| json(status, format!(r#"{{"detail":"{text}"}}"#));
    let version = || async { json(200, format!(r#"{{"version":"{MODELLED_ON}"}}"#)) };
    let mut routes = Router::new()
        .route("/v1/models", get(pages::models))
        .route("/health", get(pages::well))
        .route("/ping", get(pages::well).post(pages::well))
        .route("/version", get(version))
        .route("/load", get(pages::load))
        .route("/metrics", get(pages::metrics))
        .route("/tokenize", post(pages::tokenize))
        .route("/detokenize", post(pages::detokenize));
    routes = if app.args.pooling { pooling(routes, app.args.classifies) } else { generating(routes) };
    if app.settings.transcribes {
        routes = routes
            .route("/v1/audio/transcriptions", post(pages::transcribe))
            .route("/v1/audio/translations", post(pages::transcribe));
    }
    if app.settings.adapter_routes {
        routes = routes
            .route("/v1/load_lora_adapter", post(pages::load_adapter))
            .route("/v1/unload_lora_adapter", post(pages::unload_adapter));
    }
    if app.settings.dev_mode {
        routes = routes
            .route("/sleep", post(sleep::sleep_route))
            .route("/wake_up", post(sleep::wake_route))
            .route("/is_sleeping", get(sleep::is_sleeping))
            .route("/is_paused", get(sleep::is_paused))
            .route("/reset_prefix_cache", post(sleep::reset_prefix_cache));
    }
    if app.args.allow_faults || app.settings.allow_faults {
        let faults = get(misbehave::list).post(misbehave::replace).delete(misbehave::clear);
        routes = routes.route("/sim/faults", faults);
    }
    if app.is_faulty() {
        routes = routes.layer(from_fn_with_state(Arc::clone(&app), misbehave::misbehave));
    }
    routes
        .fallback(move || async move { detail(404, "Not Found") })
        .method_not_allowed_fallback(move || async move { detail(405, "Method Not Allowed") })
        .layer(from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

/// The routes of a model that answers with text.
fn generating(routes: Router<Arc<App>>) -> Router<Arc<App>> {
    let of = |kind| post(move |State(app): State<Arc<App>>, request: Request| answer(app, kind, request));
    routes
        .route("/v1/chat/completions", of(Kind::Chat))
        .route("/v1/completions", of(Kind::Completion))
        .route("/v1/messages", of(Kind::Messages))
        .route("/v1/messages/count_tokens", post(pages::count_tokens))
        .route("/v1/responses", of(Kind::Responses))
        .route("/v1/responses/{response_id}", get(pages::no_response))
        .route("/v1/responses/{response_id}/cancel", post(pages::no_response))
}

/// The routes of a model that answers with numbers: with classes, or with embeddings.
fn pooling(routes: Router<Arc<App>>, classifies: bool) -> Router<Arc<App>> {
    let of = |pool| post(move |State(app): State<Arc<App>>, request: Request| pooled(app, pool, request));
    let (path, own) = if classifies { ("/classify", Pool::Classify) } else { ("/v1/embeddings", Pool::Embed) };
    routes
        .route(path, of(own))
        .route("/pooling", of(Pool::Pooling))
        .route("/score", of(Pool::Score))
        .route("/v1/score", of(Pool::Score))
        .route("/rerank", of(Pool::Rerank))
        .route("/v1/rerank", of(Pool::Rerank))
        .route("/v2/rerank", of(Pool::Rerank))
}

/// Routes that vLLM leaves out of its count of requests.
const UNCOUNTED: [&str; 5] = ["/health", "/load", "/ping", "/version", "/metrics"];

/// Counts a request and how long its answer took to begin.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    if !UNCOUNTED.contains(&route.as_str()) {
        app.engine.metrics.http(&route, method.as_str(), response.status().as_u16(), began.elapsed());
    }
    response
}
