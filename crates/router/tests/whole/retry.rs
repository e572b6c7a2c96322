//! When another connection or another replica is tried, and when it must not be.

use std::net::SocketAddr;
use std::sync::Arc;

use router::live::Live;
use tokio::net::TcpSocket;

use crate::bed::{ASK, Bed, Engine, chat, plain, soon, status, table};

/// A port that is taken, so that no other test gets it, but where nobody listens.
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_replaced() {
    // Each connection answers once, takes the next request, and closes or resets instead of answering it.
    let engine = Engine::new(|number, mut wire| async move {
        wire.message().await;
        wire.send(plain("{}")).await;
        if wire.asked().await && number % 2 == 0 {
            wire.reset();
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    for asked in 1..=6 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200, "request {asked}");
        assert_eq!(engine.connections(), asked);
    }
    assert!((bed.figure("quartermaster_router_stale_connections_total ") - 5.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_connection_that_the_engine_closed_while_it_rested_is_not_used() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.message().await;
        wire.send(plain("{}")).await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    for _ in 0..200 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
}

#[tokio::test]
async fn a_request_that_engines_break_under_is_tried_twice_more_and_not_for_ever() {
    let mut engines = Vec::new();
    for _ in 0..4 {
        let dying = Engine::new(|_, mut wire| async move {
            wire.message().await;
        });
        engines.push(dying.await);
    }
    let bed = Bed::new(&engines.iter().map(|engine| engine.address).collect::<Vec<_>>());
    let (head, body) = bed.asking(ASK).await.message().await;
    assert_eq!(status(&head), 502);
    assert!(body.contains("upstream_broke"), "{body}");
    assert_eq!(engines.iter().map(Engine::connections).sum::<usize>(), 3, "it may be what broke them");
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_is_passed_over() {
    let engine = Engine::answering(plain("{}")).await;
    let (one, other) = (Nobody::new(), Nobody::new());
    let bed = Bed::new(&[engine.address, one.address()]);
    let mut client = bed.client().await;
    for _ in 0..20 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    let retries = bed.figure(r#"quartermaster_router_retries_total{policy="ml/route",pool="ml/p"}"#);
    assert!(retries > 0.0, "equal loads are drawn evenly, so some drew the dead one");

    let bed = Bed::new(&[one.address(), other.address()]);
    let (head, body) = bed.asking(ASK).await.message().await;
    assert_eq!(status(&head), 502);
    assert!(body.contains("No replica of pool ml/p could be reached."), "{body}");
    bed.settled().await;
}

#[tokio::test]
async fn load_is_spread_and_a_new_table_takes_over() {
    let engines = [Engine::answering(plain("one")).await, Engine::answering(plain("two")).await];
    let bed = Bed::new(&[engines[0].address]);
    let mut client = bed.client().await;
    client.send(chat(ASK)).await;
    assert_eq!(client.message().await.1, "one");
    let new = table(&[engines[1].address], &bed.live.load().table);
    bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
    client.send(chat(ASK)).await;
    assert_eq!(client.message().await.1, "two");
    let new = table(&[engines[0].address, engines[1].address], &bed.live.load().table);
    bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
    let mut answers = [0, 0];
    for _ in 0..200 {
        client.send(chat(ASK)).await;
        answers[usize::from(soon(client.message()).await.1 == "two")] += 1;
    }
    assert!(answers.iter().all(|count| *count > 50), "{answers:?}");
}
