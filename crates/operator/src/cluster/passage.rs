//! What every request to the API server passes: who may send it, and how it is counted.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use hyper::{Method, Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::fenced::NotLeading;
use crate::health::Pulse;
use crate::lead::fence::Fence;
use crate::metrics::Metrics;

/// Which requests a way takes.
#[derive(Clone)]
pub(super) enum Access {
    /// Those that change nothing.
    Read,
    /// All, while the fence is open.
    While(Arc<Fence>),
    /// All.
    Any,
}

/// The rules of a way; as a layer, what applies them to requests.
#[derive(Clone)]
pub(super) struct Passage {
    pub(super) access: Access,
    pub(super) metrics: Metrics,
    pub(super) pulse: Pulse,
}

/// A way with its rules.
pub(super) struct Passed<S> {
    inner: S,
    passage: Passage,
}

/// A request under way, which is counted whatever becomes of it.
struct Counted {
    metrics: Metrics,
    verb: &'static str,
    begun: Instant,
    outcome: Option<u16>,
}

impl Access {
    fn takes(&self, method: &Method, now: Instant) -> bool {
        match self {
            Self::Any => true,
            Self::Read => method == Method::GET,
            Self::While(fence) => fence.allows(now),
        }
    }
}

impl<S> Layer<S> for Passage {
    type Service = Passed<S>;

    fn layer(&self, inner: S) -> Passed<S> {
        Passed { inner, passage: self.clone() }
    }
}

impl<S, B> Service<Request<Body>> for Passed<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The library says in a word what it is about to do.
        let verb = request.extensions().get::<&'static str>().copied().unwrap_or("other");
        if verb.starts_with("watch") {
            self.passage.pulse.beat(&format!("the {verb} of {}", request.uri().path()));
        }
        let begun = Instant::now();
        if !self.passage.access.takes(request.method(), begun) {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let mut counted = Counted { metrics: self.passage.metrics.clone(), verb, begun, outcome: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // Zero: no answer, but an error on the way.
            counted.came(answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
            answer
        })
    }
}

impl Counted {
    fn came(&mut self, code: u16) {
        self.outcome = Some(code);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            None => "deadline",
            Some(0) => "unreachable",
            Some(200..300) => "ok",
            Some(404) => "not_found",
            Some(409) => "conflict",
            Some(429) => "throttled",
            Some(300..500) => "refused",
            Some(_) => "server_error",
        };
        self.metrics.called(self.verb, outcome, self.begun.elapsed());
    }
}
