//! Speaks HTTP/1.1 on a listener, and gives each request to its route.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::handle::{Task, handle};
use crate::pages;
use crate::refusal::Api;
use crate::settings::Settings;
use crate::shape::Surface;
use crate::wire::Wire;

/// Most connections at a time; further ones wait in the system's backlog.
const MOST_CONNECTIONS: usize = 8192;
/// How long a connection may be idle, or take to send a head.
const IDLE: Duration = Duration::from_secs(60);

/// Serves all stand-ins on `listener` until `stop` is ready; then every connection is dropped. `started` is the time by
/// the wall clock.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    started: SystemTime,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let tls = settings.tls.clone().map(TlsAcceptor::from);
    let routes = routes(Arc::new(App::new(settings, started)));
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let result = tokio::select! {
        failed = accept(&listener, tls.as_ref(), &routes, &connections, &closing) => failed,
        () = stop => Ok(()),
    };
    closing.cancel();
    connections.close();
    connections.wait().await;
    result
}

async fn accept(
    listener: &TcpListener,
    tls: Option<&TlsAcceptor>,
    routes: &Router,
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
        let (tls, routes, closing) = (tls.cloned(), routes.clone(), closing.clone());
        connections.spawn(async move {
            greet(stream, tls, routes, closing).await;
            drop(place);
        });
    }
}

/// Agrees on TLS with one client, if that is to be, and speaks with it. What goes wrong here is the client's to notice.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Router, closing: CancellationToken) {
    // Tokens are small writes that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let Ok(wire) = Wire::on(&stream) else { return };
    match tls {
        None => converse(stream, wire, routes, closing).await,
        Some(tls) => match timeout(IDLE, tls.accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, wire, routes, closing).await,
            Ok(Err(error)) => eprintln!("provider-sim: TLS: {error}"),
            Err(_) => {}
        },
    }
}

/// Speaks with one client until either side has enough.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    wire: Wire,
    routes: Router,
    closing: CancellationToken,
) {
    let dropped = wire.dropped.clone();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        request.extensions_mut().insert(wire.clone());
        routes.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    tokio::select! {
        _ = http.serve_connection(TokioIo::new(stream), service) => {}
        () = dropped.cancelled() => {}
        () = closing.cancelled() => {}
    }
}

/// A handler of a fixed task.
macro_rules! of {
    ($method:ident, $api:expr, $task:expr) => {
        $method(move |State(app): State<Arc<App>>, request: Request| handle(app, $api, $task, request))
    };
}

/// A handler whose task has a part of the path in it.
macro_rules! named {
    ($method:ident, $api:expr, $task:expr) => {
        $method(move |State(app): State<Arc<App>>, Path(name): Path<String>, request: Request| {
            handle(app, $api, ($task)(name), request)
        })
    };
}

fn routes(app: Arc<App>) -> Router {
    let mut routes = Router::new()
        .route("/sim/bill", get(pages::bill).delete(pages::clear_bill))
        .route("/sim/faults", get(pages::faults).post(pages::set_faults).delete(pages::clear_faults))
        .route("/sim/keys", post(pages::set_keys))
        .route("/sim/requests", get(pages::received).delete(pages::forget))
        .route("/v1/messages", of!(post, Api::Anthropic, Task::Answer(Surface::Messages, None)))
        .route("/v1/messages/count_tokens", of!(post, Api::Anthropic, Task::Count))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/responses/{id}", named!(get, Api::OpenAi, Task::Stored));
    routes = compatible(routes, "/v1", Api::OpenAi);
    routes = compatible(routes, "/openai/v1", Api::Azure);
    routes = compatible(routes, "/compatible/v1", Api::Compatible);
    for prefix in ["/openai/v1", "/compatible/v1"] {
        let api = if prefix.starts_with("/openai") { Api::Azure } else { Api::Compatible };
        routes = routes
            .route(&format!("{prefix}/models"), of!(get, api, Task::Models))
            .route(&format!("{prefix}/models/{{model}}"), named!(get, api, Task::Model));
    }
    routes = deployments(routes);
    bedrock(routes).fallback(nothing).with_state(app)
}

/// The routes of a server that speaks as `OpenAI` does, below `prefix`.
fn compatible(routes: Router<Arc<App>>, prefix: &str, api: Api) -> Router<Arc<App>> {
    routes
        .route(&format!("{prefix}/chat/completions"), of!(post, api, Task::Answer(Surface::Chat, None)))
        .route(&format!("{prefix}/completions"), of!(post, api, Task::Answer(Surface::Completion, None)))
        .route(&format!("{prefix}/responses"), of!(post, api, Task::Answer(Surface::Responses, None)))
        .route(&format!("{prefix}/embeddings"), of!(post, api, Task::Embeddings(None)))
}

/// Azure's older routes, which name the model in the path.
fn deployments(routes: Router<Arc<App>>) -> Router<Arc<App>> {
    let answer = |surface| move |model: String| Task::Answer(surface, Some((model, false)));
    let (chat, completion) = (answer(Surface::Chat), answer(Surface::Completion));
    let at = |rest: &str| format!("/openai/deployments/{{model}}/{rest}");
    routes
        .route(&at("chat/completions"), named!(post, Api::Azure, chat))
        .route(&at("completions"), named!(post, Api::Azure, completion))
        .route(&at("embeddings"), named!(post, Api::Azure, |model: String| Task::Embeddings(Some(model))))
}

fn bedrock(routes: Router<Arc<App>>) -> Router<Arc<App>> {
    let mut routes = routes;
    for (rest, surface, streams) in [
        ("converse", Surface::Converse, false),
        ("converse-stream", Surface::Converse, true),
        ("invoke", Surface::Invoke, false),
        ("invoke-with-response-stream", Surface::Invoke, true),
    ] {
        let task = move |model: String| Task::Answer(surface, Some((model, streams)));
        routes = routes.route(&format!("/model/{{model}}/{rest}"), named!(post, Api::Bedrock, task));
    }
    routes
}

/// Anthropic and `OpenAI` list their models at the same path; the header that only the former's clients send tells them
/// apart.
fn listing(request: &Request) -> Api {
    if request.headers().contains_key("anthropic-version") { Api::Anthropic } else { Api::OpenAi }
}

async fn models(State(app): State<Arc<App>>, request: Request) -> Response {
    handle(app, listing(&request), Task::Models, request).await
}

async fn model(State(app): State<Arc<App>>, Path(model): Path<String>, request: Request) -> Response {
    handle(app, listing(&request), Task::Model(model), request).await
}

async fn nothing(State(app): State<Arc<App>>, request: Request) -> Response {
    handle(app, Api::OpenAi, Task::Nothing, request).await
}
