//! Serves the metrics API to the cluster's API server, and to nobody else.
//!
//! The API server has checked who its caller is and what that caller may do before it passes a request on, and proves by
//! a client certificate that it is the one who asks. [`keep`] keeps the certificates of both sides up to date.

mod answer;
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
use operator_core::metrics_api::{Ask, ask, failure};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use front_proxy::Callers;

pub(crate) use answer::Pages;

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
        let response = respond(&pages, known, &request);
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

fn respond(pages: &Pages, known: bool, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (uri, health) = (request.uri(), matches!(ask(request.uri().path(), ""), Ok(Ask::Health)));
    let (code, body) = if health {
        (200, Value::from("ok"))
    } else if !known {
        let message = "only the cluster's API server is answered here; ask it instead";
        (401, failure(401, "Unauthorized", message))
    } else if request.method() != Method::GET {
        (405, failure(405, "MethodNotAllowed", "metrics can only be read"))
    } else {
        pages.answer(uri.path(), uri.query().unwrap_or_default(), Instant::now())
    };
    pages.metrics.asked(code);
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
