//! The routes of sleep mode.

pub(crate) mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::state::Sleep;
use crate::app::{App, lock};
use crate::reply;
use crate::request::Refusal;
use crate::response::json;

/// How often is looked whether the running requests have ended.
const LOOK: Duration = Duration::from_millis(5);

/// Puts the engine to sleep.
pub(crate) async fn sleep_route(State(app): State<Arc<App>>, request: Request) -> Response {
    let (level, mode) = match (level(&request), mode(&request)) {
        (Ok(level), Ok(mode)) => (level, mode),
        (Err(refusal), _) | (_, Err(refusal)) => return json(refusal.status, reply::error(&refusal)),
    };
    let began = Instant::now();
    match mode.as_str() {
        "wait" => {
            while !app.engine.is_idle() {
                sleep(LOOK).await;
            }
        }
        "keep" => {}
        _ => app.engine.cut_all(),
    }
    app.engine.pause(true);
    if level > 0 {
        app.engine.forget_prefixes();
    }
    *lock(&app.sleep) = Sleep::at(level);
    let state = match level {
        0 => "",
        1 => "weights_offloaded",
        _ => "discard_all",
    };
    app.engine.metrics.sleep_state(state);
    observe(&app, "sleep", began);
    json(200, format!(r#"{{"status":"sleeping","level":{level}}}"#))
}

/// Wakes the engine, or the parts of it that `tags` name.
pub(crate) async fn wake_route(State(app): State<Arc<App>>, request: Request) -> Response {
    let began = Instant::now();
    let tags = queries(&request, "tags");
    let asleep = {
        let mut sleep = lock(&app.sleep);
        sleep.wake(&tags);
        sleep.is_asleep()
    };
    if !asleep {
        app.engine.pause(false);
        app.engine.metrics.sleep_state("awake");
    }
    observe(&app, "wake", began);
    let status = if asleep { "sleeping" } else { "awake" };
    let tags = if tags.is_empty() { Value::Null } else { Value::from(tags) };
    json(200, format!(r#"{{"status":"{status}","tags":{tags}}}"#))
}

/// Tells whether the engine sleeps.
pub(crate) async fn is_sleeping(State(app): State<Arc<App>>) -> Response {
    json(200, format!(r#"{{"is_sleeping":{}}}"#, lock(&app.sleep).is_asleep()))
}

/// Tells whether the scheduler is held.
pub(crate) async fn is_paused(State(app): State<Arc<App>>) -> Response {
    json(200, format!(r#"{{"is_paused":{}}}"#, lock(&app.sleep).is_asleep()))
}

/// Forgets the cached prefixes, which fails while requests run.
pub(crate) async fn reset_prefix_cache(State(app): State<Arc<App>>) -> Response {
    json(200, format!(r#"{{"success":{}}}"#, app.engine.forget_prefixes()))
}

fn observe(app: &App, operation: &str, began: Instant) {
    if let Some((seconds, going_on)) = &app.engine.metrics.sleeping {
        seconds.with_label_values(&[operation]).observe(began.elapsed().as_secs_f64());
        going_on.with_label_values(&[operation]).set(0);
    }
}

/// The values of a query parameter.
fn queries(request: &Request, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).collect()
}

fn level(request: &Request) -> Result<u8, Refusal> {
    let Some(text) = queries(request, "level").pop() else { return Ok(1) };
    let input = Value::from(text.as_str());
    match text.parse::<i64>() {
        Ok(level @ 0..=2) => Ok(u8::try_from(level).unwrap_or(1)),
        Ok(3..) => Err(Refusal::invalid_with(
            "less_than_equal",
            "query.level",
            "'Input should be less than or equal to 2'",
            &input,
            ", 'ctx': {'le': 2}",
        )),
        Ok(_) => Err(Refusal::invalid_with(
            "greater_than_equal",
            "query.level",
            "'Input should be greater than or equal to 0'",
            &input,
            ", 'ctx': {'ge': 0}",
        )),
        Err(_) => {
            let problem = "Input should be a valid integer, unable to parse string as an integer";
            Err(Refusal::invalid("int_parsing", "query.level", problem, &input))
        }
    }
}

fn mode(request: &Request) -> Result<String, Refusal> {
    let mode = queries(request, "mode").pop().unwrap_or_else(|| "abort".to_owned());
    if matches!(mode.as_str(), "abort" | "wait" | "keep") {
        return Ok(mode);
    }
    let expected = "'abort', 'wait' or 'keep'";
    Err(Refusal::invalid_with(
        "literal_error",
        "query.mode",
        &format!("\"Input should be {expected}\""),
        &Value::from(mode),
        &format!(", 'ctx': {{'expected': \"{expected}\"}}"),
    ))
}
