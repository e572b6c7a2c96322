//! Answers that the router makes itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use router_core::Refusal;

use crate::live::Live;
use crate::stage::settle::{REQUEST_ID, Record};
use crate::stage::stream::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The list of models.
pub(crate) fn models(live: &Live, mut record: Record) -> Response<Body> {
    record.answers_with(StatusCode::OK);
    record.finished();
    json(StatusCode::OK, live.models.clone(), &record)
}

/// A refusal in OpenAI's shape.
pub(crate) fn refuse(refusal: Refusal, mut record: Record) -> Response<Body> {
    let mut response = json(refusal.status(), refusal.body().into(), &record);
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
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
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(REQUEST_ID, record.request_id_header());
    response
}
