//! Load: the figures on the metrics page, the queue, clients that leave, connections that are kept.

use std::time::{Duration, Instant};

use crate::engine::{engine, is_real, metric, post, wait_until};
use crate::http::Connection;

const COMPLETION: &str = "/v1/completions";

#[test]
fn the_figures_move() {
    let figures = || {
        [
            metric("prompt_tokens_total", ""),
            metric("generation_tokens_total", ""),
            metric("request_success_total", r#"finished_reason="length""#),
            metric("time_to_first_token_seconds_count", ""),
            metric("inter_token_latency_seconds_count", ""),
            metric("e2e_request_latency_seconds_count", ""),
            metric("request_queue_time_seconds_count", ""),
        ]
    };
    let before = figures();
    assert_eq!(post(COMPLETION, r#"{"prompt":[5,6,7,8],"ignore_eos":true,"max_tokens":10,"n":2}"#).status, 200);
    // Two answers, and the prompt counts for each.
    let at_least = [8.0, 20.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    wait_until("the figures have moved", || {
        figures().iter().zip(before).zip(at_least).all(|((after, before), by)| after - before >= by)
    });
}

/// A connection on which a stream of `n` long answers has begun.
fn begin_stream(n: u32) -> Connection {
    let mut connection = Connection::open(engine()).unwrap();
    let body = format!(r#"{{"prompt":"x","ignore_eos":true,"max_tokens":1900,"stream":true,"n":{n}}}"#);
    connection.send("POST", COMPLETION, "application/json", "", &body).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    connection
}

#[test]
fn more_than_the_slots_wait_and_those_who_leave_are_forgotten() {
    let mut streams: Vec<Connection> = (0..4).map(|_| begin_stream(2)).collect();
    wait_until("four run and others wait", || {
        let running = metric("num_requests_running", "");
        assert!(running <= 4.0, "{running} run in 4 slots");
        // Another check may have a request in the queue as well.
        let waiting = metric("num_requests_waiting", "");
        running == 4.0 && waiting >= 4.0 && metric("kv_cache_usage_perc", "") > 0.0
    });
    streams[0].chunk().unwrap();
    drop(streams);
    let left = Instant::now();
    wait_until("nobody waits", || metric("num_requests_waiting", "") == 0.0);
    assert_eq!(post(COMPLETION, r#"{"prompt":"x","ignore_eos":true,"max_tokens":1}"#).status, 200);
    // Those who left would have run for nine seconds in the simulator, and for twenty or more in the real engine.
    let most = Duration::from_secs(if is_real() { 15 } else { 6 });
    assert!(left.elapsed() < most, "the slots are free again after {:?}", left.elapsed());
    assert_eq!(metric("request_success_total", r#"finished_reason="abort""#), 0.0, "they are not counted");
}

#[test]
fn tokens_are_sent_as_they_come() {
    let mut stream = begin_stream(1);
    let first = String::from_utf8(stream.chunk().unwrap()).unwrap();
    // All 1900 tokens take seconds; the first must not wait for them.
    assert!(first.starts_with("data: ") && !first.contains("[DONE]"), "{first}");
}

#[test]
fn a_connection_is_kept_for_five_idle_seconds() {
    let mut connection = Connection::open(engine()).unwrap();
    for _ in 0..3 {
        connection.send("GET", "/health", "", "", "").unwrap();
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    let began = Instant::now();
    assert!(connection.closed_by_peer().unwrap());
    let idle = began.elapsed();
    assert!((4..9).contains(&idle.as_secs()), "closed after {idle:?}");
}
