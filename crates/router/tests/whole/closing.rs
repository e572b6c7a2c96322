//! How the router leaves.

use std::sync::Arc;
use std::time::Duration;

use prometheus::TextEncoder;
use router::live::Live;
use router::metrics::Metrics;
use router::workers::Workers;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::bed::{ASK, Bed, Engine, STREAM, Wire, calm, chat, chunk, header, soon, status, table, until};

/// An engine that sends half of a stream, and the rest when it is told to.
async fn halfway(go: &Arc<Notify>) -> Engine {
    let go = Arc::clone(go);
    Engine::new(move |_, mut wire| {
        let go = Arc::clone(&go);
        async move {
            while wire.asked().await {
                wire.send(format!("{STREAM}{}", chunk("data: a\n\n"))).await;
                go.notified().await;
                wire.send(chunk("data: [DONE]\n\n") + "0\r\n\r\n").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_drain_loses_nothing() {
    let go = Arc::new(Notify::new());
    let engine = halfway(&go).await;
    let bed = Bed::new(&[engine.address]);
    let mut streaming = bed.asking(ASK).await;
    streaming.read_to("data: a\n\n\r\n").await;
    let mut resting = bed.client().await;
    resting.send("GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n").await;
    assert_eq!(header(&resting.message().await.0, "connection"), None);

    // Leaving: everything is still served, and every answer asks its client to go.
    bed.workers.leave();
    resting.send("GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n").await;
    assert_eq!(header(&resting.message().await.0, "connection"), Some("close"));
    assert_eq!(resting.read_all().await, "");
    let mut late = bed.asking(ASK).await;
    assert_eq!(header(&late.read_to("data: a\n\n\r\n").await, "connection"), Some("close"));
    let mut silent = bed.client().await;

    // Closing: nobody new comes in, who says nothing is let go, who streams is let finish.
    bed.workers.close();
    assert_eq!(silent.read_all().await, "");
    until("the router no longer accepts", || {
        std::net::TcpStream::connect_timeout(&bed.workers.address(), Duration::from_millis(100)).is_err()
    })
    .await;
    go.notify_waiters();
    for client in [&mut streaming, &mut late] {
        assert_eq!(client.read_all().await, chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    }
    until("no connection is open", || bed.figure("quartermaster_router_connections ") < 0.5).await;
}

#[tokio::test]
async fn the_drain_timeout_ends_what_does_not_end() {
    let go = Arc::new(Notify::new());
    let engine = halfway(&go).await;
    let metrics = Metrics::new().unwrap();
    let live = Live::new(table(&[engine.address], &router_core::Table::default()), &metrics).shared();
    let listen = "127.0.0.1:0".parse().unwrap();
    let drain = Duration::from_millis(200);
    let workers = Workers::start(listen, 2, &calm(), &live, &metrics, drain).unwrap();
    let mut client = Wire::new(TcpStream::connect(workers.address()).await.unwrap());
    client.send(chat(ASK)).await;
    client.read_to("data: a\n\n\r\n").await;
    workers.close();
    soon(tokio::task::spawn_blocking(move || workers.join())).await.unwrap();
    let rest = client.read_all().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "an unfinished answer must not look finished: {rest:?}");
    let page = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
    assert!(page.contains("quartermaster_router_connections 0"), "{page}");
}

#[tokio::test]
async fn workers_share_one_port() {
    let metrics = Metrics::new().unwrap();
    let live = Live::new(table(&[], &router_core::Table::default()), &metrics).shared();
    let listen = "127.0.0.1:0".parse().unwrap();
    let workers = Workers::start(listen, 3, &calm(), &live, &metrics, Duration::ZERO).unwrap();
    for _ in 0..50 {
        let mut client = Wire::new(TcpStream::connect(workers.address()).await.unwrap());
        client.send("GET /v1/models HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n").await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    workers.close();
    soon(tokio::task::spawn_blocking(move || workers.join())).await.unwrap();
}
