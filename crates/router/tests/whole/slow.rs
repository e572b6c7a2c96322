//! RU-10, RU-11: a pool that is slow as a whole, one replica of many that is, and replicas that come and go all the time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use router::live::Live;
use router::settings::Settings;
use tokio::time::Instant;

use crate::bed::{ASK, Bed, Engine, calm, chat, plain, soon, status, table};

const QUICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(200);

/// An engine that thinks for so long, and counts what it is asked.
async fn thinking(time: Duration) -> (Engine, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let engine = Engine::new(move |_, mut wire| {
        let count = Arc::clone(&count);
        async move {
            while wire.asked().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(time).await;
                wire.send(plain("{}")).await;
            }
        }
    })
    .await;
    (engine, asked)
}

/// Engines that think for so long each, and a bed of them.
async fn pool(settings: &Settings, times: &[Duration]) -> (Bed, Vec<(Engine, Arc<AtomicUsize>)>) {
    let mut engines = Vec::new();
    for time in times {
        engines.push(thinking(*time).await);
    }
    let addresses: Vec<_> = engines.iter().map(|(engine, _)| engine.address).collect();
    (Bed::with(&Settings { max_lag: Duration::ZERO, ..settings.clone() }, &addresses), engines)
}

/// What `clients` clients are told that ask `times` times each, one after the other.
async fn ask(bed: &Bed, clients: usize, times: usize) -> Vec<u16> {
    let each = (0..clients).map(|_| async {
        let mut client = bed.client().await;
        let mut told = Vec::new();
        for _ in 0..times {
            client.send(chat(ASK)).await;
            told.push(status(&soon(client.message()).await.0));
        }
        told
    });
    futures::future::join_all(each).await.concat()
}

fn counts(engines: &[(Engine, Arc<AtomicUsize>)]) -> Vec<usize> {
    engines.iter().map(|(_, asked)| asked.load(Ordering::SeqCst)).collect()
}

fn ejections(bed: &Bed) -> f64 {
    bed.figure(r#"quartermaster_router_ejections_total{pool="ml/p"}"#)
}

/// Slow is not failed: while answers come in time, nothing is asked twice and nobody is left out.
#[tokio::test]
async fn ru10_a_pool_that_is_slow_as_a_whole_gets_no_more_than_is_offered() {
    let (bed, engines) = pool(&calm(), &[SLOW; 4]).await;
    let told = ask(&bed, 16, 6).await;
    assert!(told.iter().all(|code| *code == 200), "{told:?}");
    assert_eq!(counts(&engines).iter().sum::<usize>(), 96);
    assert!(ejections(&bed) < 0.5);
}

/// Slower than the router waits: each request is told so, and hardly any goes to a second replica.
#[tokio::test]
async fn ru10_a_pool_that_is_too_slow_as_a_whole_gets_no_storm_of_retries() {
    let settings = Settings { first_byte_timeout: SLOW / 2, ..calm() };
    let (bed, engines) = pool(&settings, &[Duration::from_secs(30); 4]).await;
    let told = ask(&bed, 16, 6).await;
    assert!(told.iter().all(|code| *code == 504), "{told:?}");
    let upstream = counts(&engines).iter().sum::<usize>();
    assert!(upstream * 10 <= told.len() * 11, "{upstream} at engines of {} offered", told.len());
    assert!(ejections(&bed) > 1.5, "who fails again and again is left alone");
}

#[tokio::test]
async fn ru10_one_slow_replica_of_eight_gets_fewer_requests() {
    let mut times = [QUICK; 8];
    times[3] = SLOW;
    let (bed, engines) = pool(&Settings { slow_start: Duration::ZERO, ..calm() }, &times).await;
    let told = ask(&bed, 16, 30).await;
    assert!(told.iter().all(|code| *code == 200), "{told:?}");
    let counts = counts(&engines);
    assert_eq!(counts.iter().sum::<usize>(), told.len(), "nothing is asked twice");
    // Its part would be 60.
    assert!(counts[3] * 2 <= told.len() / 8, "{counts:?}");
}

#[tokio::test]
async fn ru10_one_replica_of_eight_that_is_too_slow_is_ejected() {
    let mut times = [QUICK; 8];
    times[3] = Duration::from_secs(30);
    let mut settings = Settings { first_byte_timeout: Duration::from_secs(1), slow_start: Duration::ZERO, ..calm() };
    settings.ejection.first = Duration::from_secs(60);
    let (bed, engines) = pool(&settings, &times).await;
    // Until it has failed five times in a row, as each of its requests does.
    let give_up = Instant::now() + Duration::from_secs(60);
    let (mut offered, mut late) = (0, 0);
    while ejections(&bed) < 0.5 {
        assert!(Instant::now() < give_up, "it was never ejected: {:?}", counts(&engines));
        let told = ask(&bed, 16, 4).await;
        offered += told.len();
        late += told.iter().filter(|code| **code == 504).count();
    }
    let before = counts(&engines);
    assert!(before.iter().sum::<usize>() * 10 <= offered * 11, "{before:?} of {offered} offered");
    assert_eq!(late, before[3], "only its own requests failed");
    let told = ask(&bed, 16, 4).await;
    assert!(told.iter().all(|code| *code == 200), "{told:?}");
    assert_eq!(counts(&engines)[3], before[3], "it is left alone");
}

/// Replicas change four times a second, under clients that never rest: one that is gone for a second gets nothing more.
#[tokio::test]
async fn ru11_a_replica_that_is_gone_is_asked_nothing() {
    /// When a replica was taken away last; `None` while it is there.
    type Gone = Arc<Mutex<Option<Instant>>>;
    let late = Arc::new(AtomicUsize::new(0));
    let (mut engines, mut gone) = (Vec::new(), Vec::<Gone>::new());
    for _ in 0..6 {
        let left = Gone::default();
        let (seen, since) = (Arc::clone(&late), Arc::clone(&left));
        let engine = Engine::new(move |_, mut wire| {
            let (seen, since) = (Arc::clone(&seen), Arc::clone(&since));
            async move {
                while wire.asked().await {
                    let gone = *since.lock().unwrap();
                    if gone.is_some_and(|gone| gone.elapsed() > Duration::from_secs(1)) {
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    wire.send(plain("{}")).await;
                }
            }
        });
        engines.push(engine.await);
        gone.push(left);
    }
    let addresses: Vec<_> = engines.iter().map(|engine| engine.address).collect();
    let bed = Bed::new(&addresses[..2]);
    let (rounds, stop) = (24, std::cell::Cell::new(false));
    let changing = async {
        for round in 0..rounds {
            let here = [round % 6, (round + 1) % 6];
            for (place, gone) in gone.iter().enumerate() {
                let mut gone = gone.lock().unwrap();
                *gone = if here.contains(&place) { None } else { gone.or_else(|| Some(Instant::now())) };
            }
            let new = table(&here.map(|place| addresses[place]), &bed.live.load().table);
            bed.live.store(Arc::new(Live::new(new, &bed.metrics)));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        stop.set(true);
    };
    let asking = futures::future::join_all((0..4).map(|_| async {
        let (mut client, mut answers) = (bed.client().await, 0usize);
        while !stop.get() {
            client.send(chat(ASK)).await;
            assert_eq!(status(&soon(client.message()).await.0), 200);
            answers += 1;
        }
        answers
    }));
    let (answers, ()) = tokio::join!(asking, changing);
    assert!(answers.iter().sum::<usize>() > rounds, "{answers:?}");
    assert_eq!(late.load(Ordering::SeqCst), 0, "requests at replicas that were gone");
}
