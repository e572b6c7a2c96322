//! RU-05: deadlines towards engines, by a clock that is moved in steps, and only while no byte is on its way between engine,
//! router and client: so it never overtakes what has happened, however slow the machine is.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use router_core::{EndpointInput, Moment, PolicyInput, PoolInput, Resilience, Table, TargetInput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::*;
use crate::live::Live;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::worker::Common;

/// By how much the clock moves at a time. What the kernel is asked before each step takes it milliseconds.
const STEP: Duration = Duration::from_secs(1);
/// Turns of all tasks before the kernel is asked: more than there are tasks that one wakes after the other without a socket.
const TURNS: u32 = 4;
/// How long, by the clock on the wall, bytes may be on their way before that counts as a fault of the test.
const PATIENCE: Duration = Duration::from_secs(60);
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n";

fn settings() -> Settings {
    Settings {
        first_byte_timeout: Duration::from_secs(60),
        silence_timeout: Duration::from_secs(20),
        total_timeout: Duration::from_secs(200),
        max_lag: Duration::ZERO,
        ..Settings::default()
    }
}

fn table(engine: SocketAddr) -> Table {
    let name = || "p".to_owned();
    let policy = PolicyInput {
        namespace: "ml".to_owned(),
        name: "route".to_owned(),
        created: 0,
        models: vec!["m".to_owned()],
        targets: vec![TargetInput::new("p", "ml", "p")],
        session_header: None,
        access: router_core::Access::anyone(),
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    };
    let pool = PoolInput { namespace: "ml".to_owned(), name: name(), served_model: "m".to_owned() };
    let endpoint = EndpointInput { namespace: "ml".to_owned(), pool: name(), address: engine, ready: true };
    Table::build(vec![policy], vec![pool], vec![endpoint], &Table::default(), Moment(0))
}

/// What an engine writes, each piece so long after the one before.
type Script = Vec<(Duration, String)>;

/// What a client got, how long after its request the answer ended, and the metrics.
struct Seen {
    got: String,
    after: Duration,
    metrics: Metrics,
}

/// Answers one request by this script.
fn answered(script: Script) -> Seen {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.unwrap().block_on(async move {
        let engine = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine_at = engine.local_addr().unwrap();
        let metrics = Metrics::new().unwrap();
        let live = Live::new(table(engine_at), &metrics).shared();
        let common = Common {
            settings: settings(),
            live,
            metrics: metrics.clone(),
            load: Arc::new(Load::default()),
            leaving: Arc::new(AtomicBool::new(false)),
        };
        let worker = Rc::new(Worker::new(common));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let router = listener.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = engine.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut some = [0; 4096];
            let _ = stream.read(&mut some).await.unwrap();
            for (pause, piece) in script {
                tokio::time::sleep(pause).await;
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
            }
            // Says nothing more, and stays.
            while matches!(stream.read(&mut some).await, Ok(1..)) {}
        });
        spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let open = Open::new(&worker);
            serve(worker, stream, open).await;
        });
        let over = Cell::new(false);
        let clock = async {
            while !over.get() {
                all_is_read(&[engine_at, router]).await;
                tokio::time::advance(STEP).await;
            }
        };
        let client = async {
            let mut client = TcpStream::connect(router).await.unwrap();
            let body = r#"{"model":"m","stream":true}"#;
            let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\nconnection: close\r\n";
            client.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
            let (asked, mut got) = (Instant::now(), Vec::new());
            while matches!(client.read_buf(&mut got).await, Ok(1..)) {}
            over.set(true);
            Seen { got: String::from_utf8(got).unwrap(), after: asked.elapsed(), metrics: metrics.clone() }
        };
        tokio::join!(client, clock).0
    })
}

/// Waits until all tasks have done what there is to do, and nothing is on its way to or from these addresses.
///
/// The runtime has one thread, which is here: while the kernel is asked, no task runs. What a task did before has left its trace
/// in a socket, so when nothing is found there, all tasks wait for the clock. The runtime never parks meanwhile, and so the
/// clock does not move by itself.
async fn all_is_read(addresses: &[SocketAddr]) {
    let began = std::time::Instant::now();
    loop {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        if !sockets.lines().skip(1).any(|line| is_on_its_way(line, addresses)) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "bytes are on their way for {PATIENCE:?}: {sockets}");
    }
}

/// Whether a line of the kernel's table of sockets tells of bytes that were sent and not taken, or of a connection that is
/// not made or not accepted, at one of these addresses.
fn is_on_its_way(line: &str, addresses: &[SocketAddr]) -> bool {
    const SYN_SENT: &str = "02";
    const SYN_RECEIVED: &str = "03";
    const CLOSE_WAIT: &str = "08";
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_, local, remote, state, queues, ..] = words.as_slice() else { return false };
    let at = |end: &str| addresses.iter().any(|address| end.ends_with(&format!(":{:04X}", address.port())));
    let Some((unacknowledged, unread)) = queues.split_once(':').filter(|_| at(local) || at(remote)) else {
        return false;
    };
    let some = |figure: &str| figure.bytes().any(|digit| digit != b'0');
    // The end of what the other side says counts as a byte that is never read.
    let unread = some(unread) && !(state == CLOSE_WAIT && unread == "00000001");
    [SYN_SENT, SYN_RECEIVED].contains(&state) || some(unacknowledged) || unread
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The request took as long as this deadline is, neither less nor more than a tenth more.
fn at(seen: &Seen, seconds: u64, name: &str) {
    let want = Duration::from_secs(seconds);
    // The clock stands at the end of a step when something is seen, and the deadline may have begun at the start of one.
    assert!(seen.after + STEP >= want, "{name}: early, after {:?}", seen.after);
    assert!(seen.after <= want + want / 10, "{name}: late, after {:?}", seen.after);
}

#[test]
fn ru05_an_engine_that_does_not_begin_is_given_up_at_its_deadline() {
    for script in
        [vec![], vec![(Duration::from_secs(600), STREAM.to_owned())], vec![(Duration::ZERO, "HTTP/1.1 200".to_owned())]]
    {
        let seen = answered(script);
        assert!(seen.got.starts_with("HTTP/1.1 504") && seen.got.contains("upstream_timeout"), "{}", seen.got);
        at(&seen, 60, "before the head");
    }
    // A stream whose head comes and whose first event does not.
    let seen = answered(vec![(Duration::from_secs(30), STREAM.to_owned())]);
    assert!(seen.got.starts_with("HTTP/1.1 504"), "{}", seen.got);
    at(&seen, 60, "before the first event");
}

#[test]
fn ru05_a_pause_within_an_answer_is_measured_from_the_last_byte() {
    let event = || chunk(EVENT);
    let pause = Duration::from_secs;
    // Ten minutes of silence after some events, the last of which came at this time.
    let script = vec![
        (pause(1), STREAM.to_owned() + &event()),
        (pause(15), event()),
        (pause(19), event()),
        (pause(600), event()),
    ];
    let seen = answered(script);
    assert_eq!(seen.got.matches(EVENT).count(), 3, "{}", seen.got);
    assert!(seen.got.contains("upstream_timeout") && seen.got.ends_with("\r\n0\r\n\r\n"), "{}", seen.got);
    at(&seen, 1 + 15 + 19 + 20, "a pause in a stream");
    let tokens = seen.metrics.registry.gather();
    let page = prometheus::TextEncoder::new().encode_to_string(&tokens).unwrap();
    let counted = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="ml/p"} 1"#;
    assert!(page.contains(counted), "what was told by then is counted: {page}");

    let plain = "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n";
    let seen = answered(vec![(pause(2), plain.to_owned()), (pause(3), "x".repeat(100)), (pause(600), "x".to_owned())]);
    assert!(seen.got.ends_with('x') && !seen.got.contains("upstream"), "{}", seen.got);
    at(&seen, 2 + 3 + 20, "a pause in a plain answer");
}

#[test]
fn ru05_an_answer_without_end_ends_at_its_deadline() {
    let mut script = vec![(Duration::from_secs(1), STREAM.to_owned() + &chunk(EVENT))];
    script.extend((0..100).map(|_| (Duration::from_secs(10), chunk(EVENT))));
    let seen = answered(script);
    assert!(seen.got.contains("upstream_total_timeout") && seen.got.ends_with("\r\n0\r\n\r\n"), "{}", seen.got);
    at(&seen, 200, "a stream without end");

    // A byte at a time, which keeps any silence short.
    let mut script = vec![(Duration::from_secs(1), "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n".to_owned())];
    script.extend((0..1000).map(|_| (Duration::from_secs(1), "x".to_owned())));
    let seen = answered(script);
    assert!(seen.got.starts_with("HTTP/1.1 200") && seen.got.ends_with('x'), "{}", seen.got);
    at(&seen, 200, "a plain answer by the byte");
}
