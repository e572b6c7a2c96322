//! Names of hosts and the addresses behind them: slow, failing, changing, and of two families (RU-08, S20 to S22).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use router::outbound::Outbound;
use router::settings::Settings;
use router_core::{Api, Reach, RemoteInput};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::bed::{ANSWER, ASK, Bed, Engine, calm, plain, status};
use crate::remote::{World, far, keys};
use crate::retry::Nobody;

/// A router before a target called `provider.example`, whose addresses `resolve` gives, each time anew. `resolve` is told how often
/// it was asked before.
fn bed<F>(connect: Duration, resolve: impl Fn(usize) -> F + Send + Sync + 'static) -> Bed
where
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let reach = Reach::new(["127.0.0.1", "::1"].map(|range| range.parse().unwrap()).into());
    let outbound = Outbound::new(reach, Vec::new()).unwrap().resolved_by(Arc::new(move |host, _| {
        assert_eq!(host, "provider.example");
        Box::pin(resolve(asked.fetch_add(1, Ordering::SeqCst)))
    }));
    let any = far(Api::OpenAi, "127.0.0.1:1".parse().unwrap());
    let (host, authority) = ("provider.example".to_owned(), "provider.example".to_owned());
    let mut world = World::of(vec![RemoteInput { host, authority, ..any }]);
    world.resilience.connect = Some(connect);
    world.bed_as(&Settings { outbound, ..calm() }, &keys("sk-canary"))
}

async fn ask(bed: &Bed) -> (u16, String) {
    let (head, body) = bed.asking(ASK).await.message().await;
    (status(&head), body)
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_name_that_leads_nowhere_is_told_as_that() {
    let failing = bed(LONG, |_| async { Err(io::Error::other("the server failed")) });
    let empty = bed(LONG, |_| async { Ok(Vec::new()) });
    for bed in [failing, empty] {
        let (code, body) = ask(&bed).await;
        assert!(code == 502 && body.contains("the name of its host leads to no address"), "{code} {body}");
        assert!(body.contains("upstream_unreachable") && !body.contains("server failed"), "{body}");
    }
}

#[tokio::test]
async fn a_name_that_is_slow_has_the_time_of_a_connection() {
    let bed = bed(Duration::from_millis(100), |_| std::future::pending());
    let (code, body) = ask(&bed).await;
    assert!(code == 502 && body.contains("in time"), "{code} {body}");
    let late = r#"quartermaster_router_timeouts_total{policy="ml/route",pool="far-0",timeout="connect"}"#;
    assert!((bed.figure(late) - 1.0).abs() < 1e-9);
}

/// A name is judged each time that it is resolved, by all of its addresses, and only an address that was judged is connected to.
#[tokio::test]
async fn a_name_that_changes_to_a_hidden_address_is_not_followed() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.asked().await;
        wire.send(plain(ANSWER)).await;
    })
    .await;
    let good = engine.address;
    for hidden in ["127.0.0.2:80", "169.254.169.254:80", "10.0.0.1:443", "[fd00::1]:80", "[::ffff:169.254.169.254]:80"]
    {
        let hidden: SocketAddr = hidden.parse().unwrap();
        let bed = bed(LONG, move |time| async move {
            Ok(match time {
                0 => vec![good],
                1 => vec![hidden],
                _ => vec![good, hidden],
            })
        });
        let before = engine.connections();
        assert_eq!(ask(&bed).await.0, 200);
        for _ in 0..2 {
            let (code, body) = ask(&bed).await;
            assert!(code == 502 && body.contains("upstream_forbidden"), "{hidden}: {code} {body}");
        }
        assert_eq!(engine.connections(), before + 1, "{hidden}");
    }
}

/// A listener that takes no more connections, so that a further one waits for an answer without end.
async fn hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(listener.local_addr().unwrap())).await
    {
        filling.push(stream);
    }
    (listener, filling)
}

/// 5.18, and happy eyeballs: addresses that are dead or silent cost a moment, not the request.
#[tokio::test]
async fn an_address_that_is_dead_is_passed_over() {
    let engine = Engine::answering(plain(ANSWER)).await;
    let (nobody, (listener, _filling)) = (Nobody::new(), hole().await);
    let (good, refusing, silent) = (engine.address, nobody.address(), listener.local_addr().unwrap());
    let dead: SocketAddr = "[::1]:1".parse().unwrap();
    for addresses in [vec![dead, good], vec![refusing, good], vec![silent, good], vec![silent, dead, refusing, good]] {
        let began = tokio::time::Instant::now();
        let given = addresses.clone();
        let bed = bed(LONG, move |_| {
            let given = given.clone();
            async move { Ok(given) }
        });
        assert_eq!(ask(&bed).await.0, 200, "{addresses:?}");
        // One after the other, the silent one would have had half of the twenty seconds.
        assert!(began.elapsed() < LONG / 2, "{addresses:?}");
    }
    let bed = bed(LONG, move |_| async move { Ok(vec![dead, refusing]) });
    let (code, body) = ask(&bed).await;
    assert!(code == 502 && body.contains("it takes no connections"), "{code} {body}");
}

/// What killed a kept connection, while it rested or as it was used again, is no failure of anybody.
#[tokio::test]
async fn a_kept_connection_that_died_is_no_failure() {
    for reset in [false, true] {
        let engine = Engine::new(move |_, mut wire| async move {
            wire.asked().await;
            wire.send(plain(ANSWER)).await;
            if reset {
                wire.reset();
            }
        })
        .await;
        let mut world = World::of(vec![far(Api::OpenAi, engine.address)]);
        world.resilience.breaker_failures = 1;
        let bed = world.bed();
        for _ in 0..20 {
            let (code, body) = ask(&bed).await;
            assert_eq!(code, 200, "{body}");
        }
        assert!(bed.figure("quartermaster_router_ejections_total") < 0.5);
    }
}
