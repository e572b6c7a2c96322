//! The admin pages of a binary: `/healthz`, `/readyz` and `/metrics`, on a port of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whether the process wants traffic. Starts as no; shared by all who hold a clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    ready: AtomicBool,
    note: Mutex<&'static str>,
}

impl Readiness {
    /// Says whether traffic is wanted from now on.
    pub fn set(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    /// Whether traffic is wanted.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Says what is out of the ordinary, for those who look at the page; empty when nothing is.
    pub fn note(&self, note: &'static str) {
        *self.0.note.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }

    fn text(&self) -> String {
        match *self.0.note.lock().unwrap_or_else(PoisonError::into_inner) {
            "" => "ok\n".to_owned(),
            note => format!("ok, {note}\n"),
        }
    }
}

/// Finds what is wrong with the process, in a sentence each. Nothing, when it is healthy.
pub type Examination = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

#[derive(Clone)]
struct Pages {
    registry: Registry,
    ready: Readiness,
    examine: Examination,
}

/// Serves the pages on `listener` until `stop` is cancelled. `/healthz` says 200 while the process turns at all, `/readyz`
/// says 200 or 503 by `ready`, and `/metrics` gives the registry in Prometheus' text format.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    ready: Readiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serve_examined(listener, registry, ready, Arc::new(Vec::new), stop).await
}

/// As [`serve`], with a page of the binary's own.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_with(
    listener: TcpListener,
    registry: Registry,
    ready: Readiness,
    page: Page,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let pages = add(pages(Pages { registry, ready, examine: Arc::new(Vec::new) }), page);
    axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// As [`serve`], but `/healthz` says 500 and why when `examine` finds that only a new process helps.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_examined(
    listener: TcpListener,
    registry: Registry,
    ready: Readiness,
    examine: Examination,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let pages = pages(Pages { registry, ready, examine });
    axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// A further page: its path, and what makes its JSON when somebody asks.
pub type Page = (&'static str, Arc<dyn Fn() -> Vec<u8> + Send + Sync>);

/// Serves pages that show the inside of the process, on `listener` until `stop` is cancelled. They belong on an address
/// that only the machine itself, or the pod, can reach.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_debug(listener: TcpListener, pages: Vec<Page>, stop: CancellationToken) -> std::io::Result<()> {
    let router = pages.into_iter().fold(Router::new(), add);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn add(router: Router, (path, make): Page) -> Router {
    router.route(path, get(async move || ([(header::CONTENT_TYPE, "application/json")], make())))
}

fn pages(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

async fn healthz(State(pages): State<Pages>) -> Response {
    let wrong = (pages.examine)();
    if wrong.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, wrong.join("\n") + "\n").into_response()
    }
}

async fn readyz(State(pages): State<Pages>) -> Response {
    if pages.ready.get() {
        pages.ready.text().into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let encoder = TextEncoder::new();
    let mut page = Vec::new();
    match encoder.encode(&pages.registry.gather(), &mut page) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use prometheus::IntGauge;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn get_page(at: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn debug_pages_are_made_when_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let page: Page = ("/debug/x", Arc::new(|| b"{}".to_vec()));
        let server = tokio::spawn(serve_debug(listener, vec![page], stop.clone()));
        let got = get_page(at, "/debug/x").await;
        assert!(got.starts_with("HTTP/1.1 200") && got.contains("application/json") && got.ends_with("{}"), "{got}");
        assert!(get_page(at, "/metrics").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn pages_tell_health_readiness_and_metrics() {
        let registry = Registry::new();
        let gauge = IntGauge::new("things", "How many things.").unwrap();
        gauge.set(7);
        registry.register(Box::new(gauge)).unwrap();
        let (ready, stop) = (Readiness::default(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let examined = Arc::clone(&wrong);
        let examine: Examination = Arc::new(move || examined.lock().unwrap().clone());
        let server = tokio::spawn(serve_examined(listener, registry, ready.clone(), examine, stop.clone()));

        assert!(get_page(at, "/healthz").await.starts_with("HTTP/1.1 200"));
        wrong.lock().unwrap().push("it stands still".to_owned());
        let sick = get_page(at, "/healthz").await;
        assert!(sick.starts_with("HTTP/1.1 500") && sick.ends_with("it stands still\n"), "{sick}");
        assert!(get_page(at, "/readyz").await.starts_with("HTTP/1.1 503"));
        ready.set(true);
        assert!(get_page(at, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get_page(at, "/metrics").await.contains("\nthings 7\n"));

        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
