//! The stand-ins' own pages: bill, faults, keys, what was received.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, lock};
use crate::faults::Faults;
use crate::text::quoted;

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What each key was sold.
pub(crate) async fn bill(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, lock(&app.bill).json())
}

/// Forgets what was sold.
pub(crate) async fn clear_bill(State(app): State<Arc<App>>) -> Response {
    lock(&app.bill).clear();
    bill(State(app)).await
}

/// The faults, as they are set.
pub(crate) async fn faults(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, lock(&app.faults).json())
}

/// Replaces the faults by those of the body, one a line; an empty body clears them.
pub(crate) async fn set_faults(State(app): State<Arc<App>>, body: String) -> Response {
    match Faults::parse(&body) {
        Ok(faults) => {
            *lock(&app.faults) = faults;
            self::faults(State(app)).await
        }
        Err(error) => json(StatusCode::BAD_REQUEST, format!(r#"{{"error":{}}}"#, quoted(&error.to_string()))),
    }
}

/// Clears the faults.
pub(crate) async fn clear_faults(State(app): State<Arc<App>>) -> Response {
    *lock(&app.faults) = Faults::default();
    faults(State(app)).await
}

/// Replaces the keys that are let in by those of the body, one a line.
pub(crate) async fn set_keys(State(app): State<Arc<App>>, body: String) -> Response {
    let keys: Vec<String> = body.split_whitespace().map(str::to_owned).collect();
    let count = keys.len();
    *lock(&app.keys) = keys;
    json(StatusCode::OK, format!(r#"{{"keys":{count}}}"#))
}

/// The last requests, the oldest first, as they came.
pub(crate) async fn received(State(app): State<Arc<App>>) -> Response {
    let all = lock(&app.received).iter().cloned().collect::<Vec<_>>().join(",");
    json(StatusCode::OK, format!(r#"{{"requests":[{all}]}}"#))
}

/// Forgets what was received.
pub(crate) async fn forget(State(app): State<Arc<App>>) -> Response {
    lock(&app.received).clear();
    received(State(app)).await
}
