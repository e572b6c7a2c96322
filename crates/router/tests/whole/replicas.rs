//! Which replica a request goes to, seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use router::live::Live;
use router::settings::Settings;
use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, calm, chat, chunk, plain, post, serving, soon, status, table, until};
use crate::retry::Nobody;

#[tokio::test]
async fn half_a_dead_pool_makes_no_storm() {
    const REQUESTS: usize = 600;
    let mut engines = Vec::new();
    for number in 0..8 {
        // Half of them take each request and die under it, which is the dearest way to fail.
        let engine = Engine::new(move |_, mut wire| async move {
            while wire.asked().await {
                if number % 2 == 0 {
                    return;
                }
                wire.send(plain("{}")).await;
            }
        });
        engines.push(engine.await);
    }
    let bed = Bed::new(&engines.iter().map(|engine| engine.address).collect::<Vec<_>>());
    let mut good = 0;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(bed.client().await);
    }
    for _ in 0..REQUESTS / clients.len() {
        for client in &mut clients {
            client.send(chat(ASK)).await;
        }
        for client in &mut clients {
            good += usize::from(status(&client.message().await.0) == 200);
        }
    }
    let retries = bed.figure(r#"quartermaster_router_retries_total{policy="ml/route",pool="ml/p"}"#);
    assert!(retries <= REQUESTS as f64 / 10.0, "{retries} retries of {REQUESTS}");
    let wasted: usize = engines.iter().step_by(2).map(Engine::connections).sum();
    assert!(wasted * 10 <= REQUESTS, "{wasted} attempts on dead engines");
    assert!(good * 100 >= REQUESTS * 95, "{good} of {REQUESTS} answered");
    assert!((bed.figure(r#"quartermaster_router_replicas{pool="ml/p",state="ejected"}"#) - 4.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_replica_that_recovers_is_found_out_by_one_request() {
    let mut settings = calm();
    settings.ejection.first = Duration::from_millis(300);
    let (asked, mut log) = mpsc::unbounded_channel();
    let sick = Engine::new(move |number, mut wire| {
        let asked = asked.clone();
        async move {
            while wire.asked().await {
                asked.send(()).unwrap();
                if number < 5 {
                    return;
                }
                wire.send(plain("back")).await;
            }
        }
    })
    .await;
    let well = Engine::answering(plain("well")).await;
    let bed = Bed::with(&settings, &[sick.address, well.address]);
    let mut client = bed.client().await;
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    while bed.figure(r#"quartermaster_router_ejections_total{pool="ml/p"}"#) < 0.5 {
        assert!(tokio::time::Instant::now() < give_up, "it was never ejected");
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    for _ in 0..5 {
        soon(log.recv()).await.unwrap();
    }
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        client.send(chat(ASK)).await;
        if client.message().await.1 == "back" {
            break;
        }
        assert!(tokio::time::Instant::now() < give_up, "it never got its trial");
    }
    assert!(bed.figure(r#"quartermaster_router_replicas{pool="ml/p",state="ejected"}"#) < 0.5);
}

#[tokio::test]
async fn half_a_pool_that_cannot_be_reached_costs_no_answer() {
    let good = [Engine::answering(plain("{}")).await, Engine::answering(plain("{}")).await];
    let (one, other) = (Nobody::new(), Nobody::new());
    let bed = Bed::new(&[one.address(), good[0].address, other.address(), good[1].address]);
    let mut client = bed.client().await;
    for _ in 0..60 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
}

#[tokio::test]
async fn a_slow_replica_holds_up_few() {
    // It takes requests and does not answer; the others answer at once.
    let (asked, mut held) = mpsc::unbounded_channel();
    let slow = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            wire.message().await;
            asked.send(()).unwrap();
            wire.read_all().await;
        }
    })
    .await;
    let mut engines = Vec::new();
    for _ in 0..7 {
        engines.push(Engine::answering(plain("{}")).await);
    }
    let addresses = engines.iter().map(|engine| engine.address).chain([slow.address]).collect::<Vec<_>>();
    let bed = Bed::new(&addresses);
    let mut waiting = Vec::new();
    // Until it holds one; after that it is the more loaded of any two.
    while held.try_recv().is_err() {
        let mut client = bed.asking(ASK).await;
        tokio::select! {
            (head, _) = client.message() => assert_eq!(status(&head), 200),
            _ = held.recv() => { waiting.push(client); break }
        }
    }
    let mut client = bed.client().await;
    for _ in 0..200 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    assert_eq!(slow.connections(), 1);
}

#[tokio::test]
async fn a_session_stays_at_its_replica() {
    let engines =
        [Engine::answering(plain("0")).await, Engine::answering(plain("1")).await, Engine::answering(plain("2")).await];
    let bed = Bed::new(&[engines[0].address, engines[1].address, engines[2].address]);
    let mut client = bed.client().await;
    let mut seen = [0; 3];
    for session in 0..30 {
        let mut at = None;
        for _ in 0..4 {
            client.send(post("/v1/chat/completions", &format!("x-session: {session}\r\n"), ASK)).await;
            let body = client.message().await.1;
            bed.settled().await;
            assert_eq!(at.get_or_insert_with(|| body.clone()), &body, "session {session}");
        }
        seen[at.unwrap().parse::<usize>().unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    let mut without = [0; 3];
    for _ in 0..60 {
        client.send(chat(ASK)).await;
        without[client.message().await.1.parse::<usize>().unwrap()] += 1;
    }
    assert!(without.iter().all(|count| *count > 0), "{without:?}");
}

#[tokio::test]
async fn connections_to_a_replica_that_is_gone_are_closed() {
    let (closed, mut log) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let closed = closed.clone();
        async move {
            while wire.asked().await {
                wire.send(plain("{}")).await;
            }
            closed.send(()).unwrap();
        }
    })
    .await;
    let settings = Settings { idle_timeout: Duration::from_secs(3600), ..calm() };
    let bed = Bed::with(&settings, &[engine.address]);
    bed.asking(ASK).await.message().await;
    let new = table(&[], &bed.live.load().table);
    bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
    soon(log.recv()).await.unwrap();
}

#[tokio::test]
async fn endpoints_that_change_under_load_lose_nothing() {
    let (mut engines, asked) = (Vec::new(), Arc::new([const { AtomicUsize::new(0) }; 4]));
    for number in 0..4 {
        let asked = Arc::clone(&asked);
        let engine = Engine::new(move |_, mut wire| {
            let asked = Arc::clone(&asked);
            async move {
                while wire.asked().await {
                    asked[number].fetch_add(1, Ordering::SeqCst);
                    wire.send(plain("{}")).await;
                }
            }
        });
        engines.push(engine.await);
    }
    let addresses: Vec<_> = engines.iter().map(|engine| engine.address).collect();
    let bed = Bed::new(&addresses);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(bed.client().await);
    }
    for round in 0..200 {
        // A pair of the four at a time, so that each change takes replicas away that have requests under way.
        for client in &mut clients {
            client.send(chat(ASK)).await;
        }
        let at = round % 3;
        let new = table(&addresses[at..at + 2], &bed.live.load().table);
        bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
        for client in &mut clients {
            assert_eq!(status(&client.message().await.0), 200, "round {round}");
        }
        let count = || asked.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let before = count();
        clients[0].send(chat(ASK)).await;
        assert_eq!(status(&clients[0].message().await.0), 200);
        for (place, (after, before)) in count().into_iter().zip(before).enumerate() {
            assert!(after == before || (at..at + 2).contains(&place), "round {round}: asked a removed endpoint");
        }
    }
}

#[tokio::test]
async fn a_request_sees_one_configuration() {
    let mut engines = Vec::new();
    for name in ["one", "two"] {
        // Each engine answers to its own name only.
        let engine = Engine::new(move |_, mut wire| async move {
            loop {
                let (head, body) = wire.message().await;
                if head.is_empty() {
                    return;
                }
                let fine = body.contains(&format!("\"model\":\"{name}\""));
                wire.send(plain(if fine { "fine" } else { "torn" })).await;
            }
        });
        engines.push(engine.await);
    }
    let bed = Bed::new(&[]);
    let addresses = [engines[0].address, engines[1].address];
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(bed.client().await);
    }
    let swap = |round: usize| {
        let at = round % 2;
        let new = serving(["one", "two"][at], addresses[at], &bed.live.load().table);
        bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
    };
    swap(0);
    for round in 1..100 {
        for client in &mut clients {
            client.send(chat(r#"{"model":"alias","messages":[]}"#)).await;
        }
        swap(round);
        for client in &mut clients {
            assert_eq!(client.message().await.1, "fine", "round {round}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_ended() {
    let total_timeout = Duration::from_millis(400);
    let settings = Settings { total_timeout, ..calm() };
    let event = "data: {\"a\":1}\n\n";
    let engine = Engine::new(move |number, mut wire| async move {
        wire.message().await;
        match number {
            // Says something all the time, falls silent after a while, never begins.
            0 => {
                wire.send(STREAM).await;
                loop {
                    if tokio::io::AsyncWriteExt::write_all(&mut wire.stream, chunk(event).as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
            1 => wire.send(format!("{STREAM}{}", chunk(event))).await,
            _ => {}
        }
        wire.read_all().await;
    })
    .await;
    let bed = Bed::with(&settings, &[engine.address]);
    for number in 0..3 {
        let began = tokio::time::Instant::now();
        let mut client = bed.client().await;
        client.send(post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
        let got = client.read_all().await;
        assert!(got.contains("upstream_total_timeout"), "{number}: {}", &got[got.len().saturating_sub(300)..]);
        assert!(began.elapsed() >= total_timeout);
        if number < 2 {
            assert!(got.ends_with("\n\n\r\n0\r\n\r\n"), "{number}");
        } else {
            assert_eq!(status(&got), 504);
        }
        until("the request has ended", || !busy(&bed)).await;
    }
}

fn busy(bed: &Bed) -> bool {
    bed.live.load().table.pools().iter().any(|pool| pool.ready.iter().any(|endpoint| endpoint.load.in_flight() > 0))
}
