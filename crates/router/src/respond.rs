//! Answers that the router makes itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use router_core::Refusal;

use crate::live::Live;
use crate::stage::authenticate::{Standing, authenticate};
use crate::stage::settle::Record;
use crate::stage::stream::Body;
use crate::worker::Worker;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The list of the models that the caller may use.
pub(crate) async fn models(worker: &Worker, live: &Live, headers: &HeaderMap, mut record: Record) -> Response<Body> {
    let standing = Standing::of(worker, live, headers).await;
    if let Some(refusal) = standing.denied() {
        return refuse(refusal, record);
    }
    record.called_by(standing.caller);
    record.answers_with(StatusCode::OK);
    record.finished();
    json(StatusCode::OK, live.models(&standing.may).into(), &record)
}

/// One model of the list. Its name may hold slashes, and comes percent-encoded from some clients. One that the caller may not
/// use is not there for it.
pub(crate) async fn model<B>(worker: &Worker, live: &Live, request: &Request<B>, mut record: Record) -> Response<Body> {
    let id = request.uri().path().strip_prefix("/v1/models/").unwrap_or_default();
    let id = percent_decode_str(id).decode_utf8_lossy();
    match authenticate(worker, live, request.headers(), &id).await {
        Ok(caller) => record.called_by(caller),
        Err(Refusal::NotAllowed { .. }) => return refuse(Refusal::unknown_model(&id), record),
        Err(refusal) => return refuse(refusal, record),
    }
    let Some(model) = live.model(&id) else { return refuse(Refusal::unknown_model(&id), record) };
    record.answers_with(StatusCode::OK);
    record.finished();
    json(StatusCode::OK, model.into(), &record)
}

/// Which methods a path has.
pub(crate) fn methods(allow: &'static str, mut record: Record) -> Response<Body> {
    record.answers_with(StatusCode::NO_CONTENT);
    record.finished();
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    record.identify(response.headers_mut());
    response
}

/// A refusal in the dialect of its path.
pub(crate) fn refuse(refusal: Refusal, mut record: Record) -> Response<Body> {
    let body = refusal.body(record.dialect(), record.request_id());
    let mut response = json(refusal.status_for(record.dialect()), body.into(), &record);
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(should) = refusal.should_retry() {
        headers.insert("x-should-retry", HeaderValue::from_static(if should { "true" } else { "false" }));
    }
    if refusal.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = refusal.allow() {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    record.refused(refusal);
    response
}

fn json(status: StatusCode, body: Bytes, record: &Record) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() = status;
    record.tell_decision(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    record.identify(response.headers_mut());
    response
}
