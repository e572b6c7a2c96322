//! Takes requests in, judges them by the rules, passes them on, and answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::call::{Call, Verb};
use super::rule::Fault;
use super::{Shared, lock, relay};

/// From the last byte of an answer to the kill that is to follow it: what the kernel needs to hand a kilobyte over to a
/// process on this machine. If it is too short once, the kill comes a moment before the answer, which is another case of
/// the same proof.
const HAND_OVER: Duration = Duration::from_millis(5);

/// A body that was read, or is relayed.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Why a connection is broken off: nothing is answered then.
#[derive(Debug, thiserror::Error)]
pub(super) enum Break {
    #[error("broken by a rule")]
    Rule,
    #[error("the request cannot be read or passed on: {0}")]
    Relay(Box<dyn std::error::Error + Send + Sync>),
}

pub(super) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // A client that was killed in the middle of a handshake is no concern of anybody.
            let Ok(socket) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // The error is what was done to the connection on purpose, or a client that went away.
            drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
        });
    }
}

/// Notes the end of a call when it is dropped, which is also how hyper tells that a client gave up.
struct Ending {
    shared: Arc<Shared>,
    number: usize,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let now = self.shared.began.elapsed();
        self.shared.note(self.number, |call| call.took = Some(now.saturating_sub(call.at)));
    }
}

impl Shared {
    fn note(&self, number: usize, change: impl FnOnce(&mut Call)) {
        if let Some(call) = lock(&self.calls).get_mut(number) {
            change(call);
        }
    }

    fn kill(&self) {
        let kill = lock(&self.kill).clone();
        if let Some(kill) = kill {
            kill();
        }
    }

    /// The fault of the first rule that breaks the call. All rules that are about it count it.
    fn judge(&self, call: &Call) -> Option<Fault> {
        let judged: Vec<Option<Fault>> =
            lock(&self.rules).iter_mut().filter_map(|rule| rule.judge(&call.ask)).collect();
        judged.into_iter().flatten().next()
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Break> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| Break::Relay(error.into()))?.to_bytes();
    let (number, fault) = {
        let mut calls = lock(&shared.calls);
        let mut call = Call::new(&parts, &body, shared.began.elapsed());
        let fault = shared.judge(&call);
        call.fault = fault.as_ref().map(Fault::as_str);
        calls.push(call);
        (calls.len() - 1, fault)
    };
    let _ending = Ending { shared: Arc::clone(&shared), number };
    match fault {
        None | Some(Fault::Truncate) => {
            let truncate = fault.is_some();
            pass_on(&shared, number, parts, body, truncate).await
        }
        Some(Fault::KillBefore) => {
            shared.kill();
            Err(Break::Rule)
        }
        Some(Fault::KillAfterCommit) => {
            pass_on(&shared, number, parts, body, false).await?;
            shared.kill();
            Err(Break::Rule)
        }
        Some(Fault::KillAfterAnswer) => {
            let answer = pass_on(&shared, number, parts, body, false).await?;
            tokio::spawn(async move {
                tokio::time::sleep(HAND_OVER).await;
                shared.kill();
            });
            Ok(answer)
        }
        Some(Fault::LoseRequest) => Err(Break::Rule),
        Some(Fault::LoseAnswer) => {
            pass_on(&shared, number, parts, body, false).await?;
            Err(Break::Rule)
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangAfterCommit) => {
            pass_on(&shared, number, parts, body, false).await?;
            std::future::pending().await
        }
        Some(Fault::Status { code, retry_after }) => Ok(refusal(code, retry_after)),
        Some(Fault::Delay(length)) => {
            tokio::time::sleep(length).await;
            pass_on(&shared, number, parts, body, false).await
        }
        Some(Fault::Stale { revision }) => {
            parts.uri = at_revision(&parts.uri, &revision);
            pass_on(&shared, number, parts, body, false).await
        }
        Some(Fault::Gone) => Ok(gone()),
    }
}

/// Asks the API server. The asking goes on when the client gives up: what is under way is done.
async fn pass_on(
    shared: &Arc<Shared>,
    number: usize,
    parts: Parts,
    body: Bytes,
    truncate: bool,
) -> Result<Response<Body>, Break> {
    let resource = shared.calls.lock().ok().and_then(|calls| calls.get(number).map(|call| call.ask.clone()));
    let watch = resource.filter(|ask| ask.verb == Verb::Watch);
    if let Some(ask) = &watch
        && shared.holds(&ask.resource)
    {
        return Ok(Response::new(relay::later(Arc::clone(shared), ask.resource.clone(), parts, body)));
    }
    let asking = Arc::clone(shared);
    let asked = tokio::spawn(async move { asking.ask(parts, body).await }).await;
    let answer = asked.map_err(|error| Break::Relay(error.into()))??;
    let (head, body) = answer.into_parts();
    let code = head.status.as_u16();
    if let Some(ask) = watch.filter(|_| code == 200) {
        shared.note(number, |call| call.code = Some(code));
        let body = relay::now(Arc::clone(shared), ask.resource, body, truncate);
        return Ok(Response::from_parts(head, body));
    }
    let body = body.collect().await.map_err(|error| Break::Relay(error.into()))?.to_bytes();
    shared.note(number, |call| call.answered(code, &body));
    let mut answer = Response::from_parts(head, full(body));
    // The body is one piece now, and hyper says how long it is.
    answer.headers_mut().remove(TRANSFER_ENCODING);
    Ok(answer)
}

impl Shared {
    pub(super) async fn ask(&self, mut parts: Parts, body: Bytes) -> Result<Response<Incoming>, Break> {
        for header in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            parts.headers.remove(header);
        }
        let asked = self.server.send(Request::from_parts(parts, Full::new(body))).await;
        asked.map_err(|error| Break::Relay(error.into()))
    }
}

/// A list's URI, with the demand that it be answered as of `revision`.
fn at_revision(uri: &Uri, revision: &str) -> Uri {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("resourceVersion"));
    let mut query: Vec<&str> = kept.filter(|pair| !pair.is_empty()).collect();
    let exact = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    query.push(&exact);
    format!("{}?{}", uri.path(), query.join("&")).parse().unwrap_or_else(|_| uri.clone())
}

fn refusal(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "refused by a rule of the fault proxy",
    });
    let mut answer = Response::new(full(Bytes::from(status.to_string())));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// How the API server tells a watch that it no longer knows the revision.
fn gone() -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    });
    let mut answer = Response::new(full(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_as_it_was() {
        let check = |uri: &str, want: &str| assert_eq!(at_revision(&uri.parse().unwrap(), "7").to_string(), want);
        check("/api/v1/pods", "/api/v1/pods?resourceVersion=7&resourceVersionMatch=Exact");
        check(
            "/api/v1/pods?limit=500&resourceVersion=0",
            "/api/v1/pods?limit=500&resourceVersion=7&resourceVersionMatch=Exact",
        );
    }
}
