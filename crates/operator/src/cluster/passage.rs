//! What every request to the API server passes: who may send it, and how it is counted.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hyper::{Method, Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::fenced::NotLeading;
use crate::health::Pulse;
use crate::lead::fence::Fence;
use crate::metrics::Metrics;

/// How long the API server may take to begin its answer, to a watch too: it begins to answer that at once.
const LONGEST: Duration = Duration::from_secs(10);

/// Why a request ended without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the API server has not begun to answer within {} s", LONGEST.as_secs())]
struct Silent;

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
            // Calls of the reconciles have shorter deadlines of their own; this one is for the lists of the watches.
            let answer = tokio::time::timeout(LONGEST, answer).await.unwrap_or_else(|_| Err(Silent.into()));
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

#[cfg(test)]
mod tests {
    use super::*;

    use operator_core::lead::Term;
    use prometheus::Registry;
    use tower::ServiceExt;

    /// Whether a request gets through, and how it was counted.
    async fn check(access: Access, method: Method, answer: Option<u16>, want: (bool, &str)) {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let passage = Passage { access, metrics, pulse: Pulse::default() };
        let server = tower::service_fn(move |_: Request<Body>| async move {
            let code = answer.ok_or_else(|| BoxError::from("away"))?;
            Ok::<_, BoxError>(Response::builder().status(code).body(()).unwrap())
        });
        let mut request = Request::builder().method(method.clone()).body(Body::empty()).unwrap();
        request.extensions_mut().insert("patch");
        let done = passage.layer(server).oneshot(request).await;
        let refused = done.as_ref().err().is_some_and(|error| error.is::<NotLeading>());
        let families = registry.gather();
        let calls = families.iter().find(|family| family.name() == "quartermaster_operator_api_calls_total");
        let counted = calls.and_then(|calls| calls.get_metric().first()).map(|metric| metric.get_label().to_vec());
        let outcome = counted.and_then(|labels| labels.into_iter().find(|label| label.name() == "outcome"));
        let outcome = outcome.map(|label| label.value().to_owned()).unwrap_or_default();
        assert_eq!((!refused, outcome.as_str()), want, "{method} {answer:?}");
    }

    #[tokio::test]
    async fn only_the_leader_writes() {
        let now = Instant::now();
        let fence = |from: Duration, until: Duration| {
            let fence = Fence::closed();
            fence.extend(Term { from: now + from, until: now + until });
            Access::While(fence)
        };
        let minute = Duration::from_secs(60);
        check(Access::Read, Method::GET, Some(200), (true, "ok")).await;
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            check(Access::Read, method.clone(), Some(200), (false, "")).await;
            check(Access::While(Fence::closed()), method.clone(), Some(200), (false, "")).await;
            check(fence(minute, minute * 2), method.clone(), Some(200), (false, "")).await;
            check(fence(Duration::ZERO, Duration::ZERO), method.clone(), Some(200), (false, "")).await;
            check(fence(Duration::ZERO, minute), method.clone(), Some(200), (true, "ok")).await;
            check(Access::Any, method, Some(201), (true, "ok")).await;
        }
    }

    #[tokio::test]
    async fn outcomes_have_names() {
        let table = [
            (Some(200), "ok"),
            (Some(403), "refused"),
            (Some(404), "not_found"),
            (Some(409), "conflict"),
            (Some(422), "refused"),
            (Some(429), "throttled"),
            (Some(500), "server_error"),
            (Some(504), "server_error"),
            (None, "unreachable"),
        ];
        for (answer, outcome) in table {
            check(Access::Any, Method::PATCH, answer, (true, outcome)).await;
        }
    }

    #[tokio::test]
    async fn what_is_given_up_is_counted() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let passage = Passage { access: Access::Any, metrics, pulse: Pulse::default() };
        let server = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<()>, BoxError>>());
        let asked = passage.layer(server).oneshot(Request::new(Body::empty()));
        assert!(tokio::time::timeout(Duration::from_millis(1), asked).await.is_err());
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("api_calls_total{outcome=\"deadline\",verb=\"other\"} 1"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up() {
        let passage =
            Passage { access: Access::Read, metrics: Metrics::new(&Registry::new()).unwrap(), pulse: Pulse::default() };
        let server = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<()>, BoxError>>());
        let error = passage.layer(server).oneshot(Request::new(Body::empty())).await.unwrap_err();
        assert_eq!(error.to_string(), "the API server has not begun to answer within 10 s");
    }
}
