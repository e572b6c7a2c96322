//! Responses with the headers that vLLM's server sets.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

/// A response with a JSON body.
pub(crate) fn json(status: u16, body: String) -> Response {
    respond(status, "application/json", Body::from(body))
}

/// A response with the headers that vLLM's server sets.
pub(crate) fn respond(status: u16, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    dressed(response)
}

/// A response with the headers that vLLM's server always sets.
pub(crate) fn dressed(mut response: Response) -> Response {
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("vllm-sim"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}
