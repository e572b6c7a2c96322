//! Load on a pool, and a live table of what becomes of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chat::Chat;
use crate::Outcome;
use crate::cluster::Cluster;
use crate::steps::clock;

/// Time between two rows of the table.
const ROW: Duration = Duration::from_secs(2);
/// Longest wait for the pool to grow; a real engine needs minutes to start on a CPU.
const GROW: Duration = Duration::from_secs(600);
/// Longest wait for the pool to shrink, the stabilisation time of the sample and the drain included.
const SHRINK: Duration = Duration::from_secs(240);
/// How long the full pool is shown at work before the load stops.
const STAY: Duration = Duration::from_secs(6);
/// Tokens of each answer.
const TOKENS: u32 = 40;

struct Tally {
    began: Instant,
    stop: AtomicBool,
    answers: AtomicU64,
    failures: AtomicU64,
    first_token_micros: AtomicU64,
}

/// What the table shows of the pool.
struct Pool {
    ready: i64,
    desired: i64,
    in_flight: Option<i64>,
    most: i64,
    least: i64,
    per_replica: i64,
}

/// Loads the pool until it has as many replicas as it may, stops, and waits until it has as few as it may.
pub(super) fn show(cluster: &Cluster, url: &str, model: &str, name: &str) -> Outcome {
    let pool = look(cluster, name)?;
    let clients = pool.most * pool.per_replica;
    println!(
        "    {clients} clients, each asking again when answered; target {} in flight a replica, {} to {} replicas",
        pool.per_replica, pool.least, pool.most
    );
    println!(
        "    {:>6}  {:>13}  {:>9}  {:>10}  {:>11}  {:>8}",
        "time", "ready/desired", "in flight", "requests/s", "first token", "failures"
    );
    let tally = Tally {
        began: Instant::now(),
        stop: AtomicBool::new(false),
        answers: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        first_token_micros: AtomicU64::new(0),
    };
    let outcome = std::thread::scope(|scope| {
        for client in 0..clients {
            let (tally, chat) = (&tally, Chat::new(url, model));
            scope.spawn(move || ask_until_stopped(&chat, client, tally));
        }
        let grown = watch(cluster, name, &tally, GROW, |pool| pool.ready >= pool.most && pool.desired >= pool.most);
        let stayed = grown.and_then(|()| watch(cluster, name, &tally, GROW, hold(STAY)));
        tally.stop.store(true, Relaxed);
        stayed
    });
    outcome?;
    println!("    load stopped");
    watch(cluster, name, &tally, SHRINK, |pool| pool.ready <= pool.least && pool.desired <= pool.least)?;
    match tally.failures.load(Relaxed) {
        0 => Ok(()),
        some => Err(format!("{some} of {} requests failed", some + tally.answers.load(Relaxed)).into()),
    }
}

fn ask_until_stopped(chat: &Chat, client: i64, tally: &Tally) {
    for round in 0.. {
        if tally.stop.load(Relaxed) {
            return;
        }
        match chat.stream(&format!("Client {client} asks question {round}."), TOKENS, |_| ()) {
            Ok(answer) => {
                tally.answers.fetch_add(1, Relaxed);
                let micros = u64::try_from(answer.first_token.as_micros()).unwrap_or(u64::MAX);
                tally.first_token_micros.fetch_add(micros, Relaxed);
            }
            Err(error) => {
                if tally.failures.fetch_add(1, Relaxed) == 0 {
                    println!("    a request failed: {error}");
                }
            }
        }
    }
}

/// True once it has been asked for `length`.
fn hold(length: Duration) -> impl Fn(&Pool) -> bool {
    let start = Instant::now();
    move |_| start.elapsed() >= length
}

/// Prints a row every [`ROW`] until `enough` says so, and fails after `limit`.
fn watch(cluster: &Cluster, name: &str, tally: &Tally, limit: Duration, enough: impl Fn(&Pool) -> bool) -> Outcome {
    // Nothing is ever sent: the channel is a clock.
    let (_keep, clock_rings) = channel::<()>();
    let start = Instant::now();
    let mut before = (Instant::now(), tally.answers.load(Relaxed), tally.first_token_micros.load(Relaxed));
    loop {
        let pool = look(cluster, name)?;
        let now = (Instant::now(), tally.answers.load(Relaxed), tally.first_token_micros.load(Relaxed));
        print_row(tally.began.elapsed(), &pool, before, now, tally.failures.load(Relaxed));
        before = now;
        if enough(&pool) {
            return Ok(());
        }
        if start.elapsed() > limit {
            return Err(
                format!("the pool has {} of {} replicas after {}", pool.ready, pool.desired, clock(limit)).into()
            );
        }
        if clock_rings.recv_timeout(ROW) == Err(RecvTimeoutError::Disconnected) {
            return Err("the table's clock stopped".into());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people, of three digits")]
fn print_row(at: Duration, pool: &Pool, before: (Instant, u64, u64), now: (Instant, u64, u64), failures: u64) {
    let answers = now.1 - before.1;
    let seconds = now.0.duration_since(before.0).as_secs_f64();
    let rate = if seconds > 0.0 { answers as f64 / seconds } else { 0.0 };
    let first = match answers {
        0 => "-".to_owned(),
        some => format!("{:.0} ms", (now.2 - before.2) as f64 / some as f64 / 1000.0),
    };
    let in_flight = pool.in_flight.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let replicas = format!("{}/{}", pool.ready, pool.desired);
    println!("    {:>6}  {replicas:>13}  {in_flight:>9}  {rate:>10.1}  {first:>11}  {failures:>8}", clock(at));
}

fn look(cluster: &Cluster, name: &str) -> Outcome<Pool> {
    let text = cluster.ask(&[
        "get",
        "inferencepools.quartermaster.dev",
        name,
        "--namespace",
        "default",
        "--output",
        "json",
    ])?;
    let pool: Value = serde_json::from_str(&text)?;
    let (spec, status) = (&pool["spec"], &pool["status"]);
    Ok(Pool {
        ready: status["readyReplicas"].as_i64().unwrap_or(0),
        desired: spec["replicas"].as_i64().unwrap_or(0),
        in_flight: status["inFlight"].as_i64(),
        most: spec["scaling"]["maxReplicas"].as_i64().unwrap_or(1),
        least: spec["scaling"]["minReplicas"].as_i64().unwrap_or(1),
        per_replica: spec["scaling"]["target"]["inFlightPerReplica"].as_i64().unwrap_or(8),
    })
}
