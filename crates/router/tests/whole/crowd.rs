//! RC-02: ten thousand clients at once that cost patience. Each kind is ended by the deadline that is meant for it, never
//! before it, and a client that behaves well is answered all the while.

use std::time::Duration;

use router::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::alone::{alone, beside, files, is_for, memory};
use crate::bed::{ASK, Bed, Engine, STREAM, calm, chat, chunk, status, until};

const CROWD: &str = "crowd::the_clients";
/// Where they are to go.
const ROUTER: &str = "ROUTER_TEST_ADDRESS";
/// How long each kind has, and how often those that send do so.
const DEADLINE: Duration = Duration::from_secs(4);
const BEAT: Duration = Duration::from_secs(1);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Clients that say nothing, that send a byte of a head or of a body every beat, and that read a byte of an answer.
const KINDS: [(Kind, u32); 4] = [(Kind::Silent, 3200), (Kind::Head, 3200), (Kind::Body, 3200), (Kind::Reader, 400)];
/// Most memory that they may add to a process that is router and engine in one.
const MEMORY: u64 = 200 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Silent,
    Head,
    Body,
    Reader,
}

#[test]
fn rc02_ten_thousand_slow_clients_are_ended_by_their_deadlines() {
    alone("crowd::rc02_ten_thousand_slow_clients_are_ended_by_their_deadlines", || async {
        let crowd: u32 = KINDS.iter().map(|(_, count)| count).sum();
        let count = usize::try_from(crowd).unwrap();
        if files() < count + 3000 {
            eprintln!("SKIPPED crowd::rc02: {} files may be open, {} are needed", files(), count + 3000);
            return;
        }
        let engine = engine().await;
        let settings = Settings {
            max_connections: 2 * count,
            max_in_flight: count,
            opening_timeout: DEADLINE,
            header_timeout: DEADLINE,
            body_grace: DEADLINE,
            write_timeout: DEADLINE,
            ..calm()
        };
        let bed = Bed::with(&settings, &[engine.address]);
        assert_eq!(status(&bed.asking(ASK).await.message().await.0), 200);
        let before = memory();
        let mut clients = beside(CROWD).env(ROUTER, bed.workers.address().to_string()).spawn().unwrap();
        let (mut worst, mut answers, mut most, mut open) = (Duration::ZERO, 0, before, 0.0f64);
        let begun = Instant::now();
        let mut client = bed.client().await;
        let ended = loop {
            if let Some(ended) = clients.try_wait().unwrap() {
                break ended;
            }
            assert!(begun.elapsed() < PATIENCE, "the crowd is still there");
            let asked = Instant::now();
            client.send(chat(ASK)).await;
            let answer = tokio::time::timeout(PATIENCE, client.message()).await.expect("others are answered meanwhile");
            assert_eq!(status(&answer.0), 200);
            (worst, answers) = (worst.max(asked.elapsed()), answers + 1);
            (most, open) = (most.max(memory()), open.max(bed.figure("quartermaster_router_connections ")));
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(ended.success(), "the clients saw something else");
        for (reason, kind) in [("opening_timeout", 0), ("header_timeout", 1), ("write_timeout", 3)] {
            let counted = format!(r#"quartermaster_router_closed_connections_total{{reason="{reason}"}}"#);
            until(reason, || (bed.figure(&counted) - f64::from(KINDS[kind].1)).abs() < 0.5).await;
        }
        let slow =
            r#"quartermaster_router_refusals_total{policy="",pool="",reason="body_too_slow",surface="completions"}"#;
        until("bodies", || (bed.figure(slow) - f64::from(KINDS[2].1)).abs() < 0.5).await;
        eprintln!(
            "SEEN {open} clients at once, {} MiB more memory, {} bytes each; {answers} others answered, within {worst:?}",
            (most - before) >> 20,
            (most - before) as f64 / open,
        );
        assert!(open > 0.9 * f64::from(crowd), "{open} at once are no crowd");
        assert!(most - before < MEMORY, "{} bytes", most - before);
        bed.settled().await;
    });
}

/// An engine that answers at once, but without an end to those who ask for a stream.
async fn engine() -> Engine {
    Engine::new(|_, mut wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            if body == ASK {
                wire.send(crate::bed::plain("{}")).await;
                continue;
            }
            wire.send(STREAM).await;
            let event = chunk(&format!("data: {}\n\n", "x".repeat(2000)));
            while wire.stream.write_all(event.as_bytes()).await.is_ok() {}
            return;
        }
    })
    .await
}

/// Not a test by itself: the clients, in a process of their own, because one may not have so many files open.
#[test]
#[ignore = "started by rc02"]
fn the_clients() {
    if !is_for(CROWD) {
        return;
    }
    let router: std::net::SocketAddr = std::env::var(ROUTER).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for (kind, count) in KINDS {
            for number in 0..count {
                let socket = TcpSocket::new_v4().unwrap();
                if kind == Kind::Reader {
                    // Else the kernel takes megabytes on the client's behalf.
                    socket.set_recv_buffer_size(4096).unwrap();
                }
                // The router's clock begins before a client hears that it is connected.
                let begun = Instant::now();
                let stream = socket.connect(router).await.unwrap();
                clients.spawn(client(kind, stream, begun));
                if number % 200 == 199 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    });
}

async fn client(kind: Kind, mut stream: TcpStream, begun: Instant) {
    let head = "POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 100000\r\n\r\n";
    let asking = chat(r#"{"model":"m","stream":true}"#);
    let (said, beat) = match kind {
        Kind::Silent => ("", ""),
        Kind::Head => ("", "P"),
        Kind::Body => (head, "x"),
        Kind::Reader => (asking.as_str(), ""),
    };
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut some = [0; 512];
    let mut heard = Vec::new();
    loop {
        // What was on its way to a reader comes before the word that the connection has ended.
        let slowly = kind == Kind::Reader && begun.elapsed() < 3 * DEADLINE;
        let room = if slowly { 1 } else { some.len() };
        match tokio::time::timeout(BEAT, stream.read(&mut some[..room])).await {
            Ok(Ok(count @ 1..)) => heard.extend_from_slice(&some[..count]),
            Ok(_) => break,
            Err(_) if beat.is_empty() => {}
            Err(_) => drop(stream.write_all(beat.as_bytes()).await),
        }
        if slowly {
            tokio::time::sleep(BEAT).await;
        }
    }
    assert!(begun.elapsed() >= DEADLINE, "{kind:?} was ended after {:?}", begun.elapsed());
    let heard = String::from_utf8_lossy(&heard);
    match kind {
        Kind::Silent | Kind::Head => assert_eq!(heard, ""),
        Kind::Body => assert!(heard.contains("body_too_slow"), "{heard}"),
        Kind::Reader => assert!(heard.starts_with('H'), "{heard}"),
    }
}
