//! Serves the metrics API to the cluster's API server, and to nobody else.
//!
//! The API server has checked who its caller is and what that caller may do before it passes a request on, and proves by
//! a client certificate that it is the one who asks. [`keep`] keeps the certificates of both sides up to date.

pub(crate) mod certificate;
pub(crate) mod front_proxy;
pub(crate) mod keep;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use operator_core::metrics_api::{Ask, ask, failure, group, groups, in_flight, resources};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::scrape::Loads;
use front_proxy::Callers;

/// Connections at one time. The API server uses a handful.
const CONNECTIONS: usize = 256;
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may lie still between two requests, or take for one request's head. Longer than the pause between
/// two looks of an autoscaler, so that its connection stays.
const STILL: Duration = Duration::from_secs(90);
/// How long requests under way may take when the process is to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after the listener failed, which happens when the process has no file descriptor left.
const BREATH: Duration = Duration::from_millis(100);

/// What the server shows, and to whom.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Its certificate, and whose client certificates it takes.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// Which of them it answers.
    pub(crate) callers: Arc<Callers>,
}

/// What answers are made from.
pub(crate) struct Pages {
    pub(crate) loads: Arc<Loads>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: fn() -> Time,
}

/// Serves until `stop`. Connections that come before there is an identity are closed.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: watch::Receiver<Option<Identity>>,
    pages: Arc<Pages>,
    stop: CancellationToken,
) {
    let (room, open) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the metrics API cannot take a connection");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (Ok(room), Some(identity)) = (Arc::clone(&room).try_acquire_owned(), identity.borrow().clone()) else {
            continue;
        };
        let (pages, stop) = (Arc::clone(&pages), stop.clone());
        open.spawn(async move {
            connection(stream, identity, pages, stop).await;
            drop(room);
        });
    }
    open.close();
    if tokio::time::timeout(FAREWELL, open.wait()).await.is_err() {
        tracing::warn!("requests to the metrics API are cut off");
    }
}

async fn connection(stream: TcpStream, identity: Identity, pages: Arc<Pages>, stop: CancellationToken) {
    let handshake = TlsAcceptor::from(identity.tls).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake with the metrics API failed");
            return;
        }
        Err(_) => return,
    };
    // The handshake has verified that the certificate is signed by the authority for API servers; this is about its name.
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let known = certificate.is_some_and(|certificate| identity.callers.allow(certificate));
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&pages, known, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(STILL)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the metrics API broke off");
    }
}

fn respond(pages: &Pages, known: bool, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (code, body) = answer(pages, known, method, path);
    pages.metrics.asked(code);
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn answer(pages: &Pages, known: bool, method: &Method, path: &str) -> (u16, Value) {
    let refuse = |code: u16, reason: &str, message: &str| (code, failure(code, reason, message));
    let asked = ask(path);
    if asked == Some(Ask::Health) {
        return (200, Value::from("ok"));
    }
    if !known {
        return refuse(401, "Unauthorized", "only the cluster's API server is answered here; ask it instead");
    }
    if method != Method::GET {
        return refuse(405, "MethodNotAllowed", "metrics can only be read");
    }
    match asked {
        Some(Ask::Groups) => (200, groups()),
        Some(Ask::Group) => (200, group()),
        Some(Ask::Resources(version)) => (200, resources(version)),
        Some(Ask::InFlight { version, namespace, pool }) => {
            let now = Instant::now();
            match pages.loads.of(&namespace, &pool, now) {
                Ok(load) => {
                    let age = SignedDuration::try_from(now.saturating_duration_since(load.oldest)).unwrap_or_default();
                    let Time(wall) = (pages.clock)();
                    let at = wall.checked_sub(age).unwrap_or(wall);
                    (200, in_flight(version, &namespace, &pool, load.in_flight, at))
                }
                // An error, never a zero: the autoscaler then leaves the pool as it is.
                Err(unknown) => {
                    let message =
                        format!("the load of inferencepools.quartermaster.dev {pool:?} is not known: {unknown}");
                    refuse(404, "NotFound", &message)
                }
            }
        }
        Some(Ask::Health) | None => refuse(404, "NotFound", "there is no such page"),
    }
}

#[cfg(test)]
mod tests;
