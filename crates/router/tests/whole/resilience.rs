//! Targets that fail, under load and at the edges of what policies say: when they are asked again, how often, and how long a
//! request may take over several of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use router_core::{Api, RemoteInput, Resilience};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::{ASK, Bed, Engine, STREAM, Wire, chat, chunk, header, plain, post, soon, status, until};
use crate::leaving::Full;
use crate::remote::{ASK_STREAM, DONE, ROLE, TOKEN, World, answer, ask, far, stream_of};

/// An engine that gives this answer, and counts its requests.
async fn counting(answer: String) -> (Engine, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (count, answer) = (Arc::clone(&count), answer.clone());
        async move {
            while wire.asked().await {
                count.fetch_add(1, Ordering::SeqCst);
                wire.send(&answer).await;
            }
        }
    });
    (engine.await, asked)
}

/// After a 429 with these headers, the key rests for so many seconds as the next client is told; `None` where it does not rest.
#[tokio::test]
async fn every_form_of_when_to_come_again() {
    let hour = ["3600", "3599"];
    let cases: [(&str, Option<[&str; 2]>); 14] = [
        ("", Some(["1", "1"])),
        ("retry-after: 0\r\n", None),
        ("retry-after-ms: 0\r\n", None),
        ("retry-after: Sat, 21 Nov 2020 22:00:30 GMT\r\n", None),
        ("retry-after: 30\r\n", Some(["30", "29"])),
        ("retry-after-ms: 30000\r\nretry-after: 900\r\n", Some(["30", "29"])),
        ("retry-after: Sat, 21 Nov 2099 22:00:30 GMT\r\n", Some(hour)),
        ("retry-after: 99999999999999999999999999\r\n", Some(hour)),
        ("retry-after-ms: 1e300\r\n", Some(hour)),
        // What is no time is as if nothing were said.
        ("retry-after: -1\r\n", Some(["1", "1"])),
        ("retry-after-ms: -5\r\n", Some(["1", "1"])),
        ("retry-after: soon\r\n", Some(["1", "1"])),
        ("retry-after: inf\r\n", Some(["1", "1"])),
        (
            "retry-after: -1\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 30s\r\n",
            Some(["30", "29"]),
        ),
    ];
    for (headers, rests) in cases {
        let (limited, asked) = counting(answer("429 Too Many", headers, "{}")).await;
        let bed = World::of(vec![far(Api::OpenAi, limited.address)]).bed();
        let (head, body) = ask(&bed, ASK).await;
        assert_eq!(status(&head), 429, "{headers}: {body}");
        let (head, body) = ask(&bed, ASK).await;
        assert_eq!(status(&head), 429, "{headers}: {body}");
        assert_eq!(asked.load(Ordering::SeqCst), 2 - usize::from(rests.is_some()), "{headers}");
        if let Some(seconds) = rests {
            let told = header(&head, "retry-after").unwrap();
            assert!(seconds.contains(&told), "{headers}: {told}");
        }
    }
}

/// Clients ask without end while a target is left alone. When its time is over, one request of them all reaches it, and no other
/// until that has been answered.
#[tokio::test]
async fn of_many_clients_one_finds_out_whether_a_target_has_recovered() {
    let (asked, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, gate) = (Arc::clone(&asked), Arc::clone(&open));
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            while wire.asked().await {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    wire.send(answer("500 Error", "", "{}")).await;
                    continue;
                }
                gate.acquire().await.unwrap().forget();
                wire.send(plain("well")).await;
            }
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, engine.address)]);
    world.resilience.breaker_failures = 1;
    world.resilience.ejection = Duration::from_millis(100);
    let bed = Arc::new(world.bed());
    assert_eq!(status(&ask(&bed, ASK).await.0), 500);
    let (refused, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let (bed, refused, stop) = (Arc::clone(&bed), Arc::clone(&refused), Arc::clone(&stop));
        clients.spawn(async move {
            let mut client = bed.client().await;
            let mut well = 0;
            while !stop.load(Ordering::SeqCst) {
                client.send(chat(ASK)).await;
                match status(&client.message().await.0) {
                    200 => well += 1,
                    503 => drop(refused.fetch_add(1, Ordering::SeqCst)),
                    other => panic!("{other}"),
                }
            }
            well
        });
    }
    until("one is on trial", || asked.load(Ordering::SeqCst) == 2).await;
    let before = refused.load(Ordering::SeqCst);
    until("the others are sent away", || refused.load(Ordering::SeqCst) > before + 500).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one trial, whoever asks");
    open.add_permits(1 << 20);
    until("all are served", || asked.load(Ordering::SeqCst) > 200).await;
    stop.store(true, Ordering::SeqCst);
    let well: usize = clients.join_all().await.into_iter().sum();
    assert_eq!(well + 1, asked.load(Ordering::SeqCst));
}

/// A full outage: of a provider whose breaker never opens, and of a pool's replicas. Each may try every request three times; all
/// together get a tenth more than was offered.
#[tokio::test]
async fn an_outage_is_not_made_worse_by_trying_again() {
    const OFFERED: usize = 1000;
    let (failing, asked) = counting(answer("500 Error", "", "{}")).await;
    let mut provider = World::of(vec![far(Api::OpenAi, failing.address)]);
    provider.resilience = Resilience { attempts: 2, breaker_failures: u16::MAX, ..Resilience::default() };
    let pooled = Arc::new(AtomicUsize::new(0));
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let count = Arc::clone(&pooled);
        let dying = Engine::new(move |_, mut wire: Wire| {
            let count = Arc::clone(&count);
            async move {
                wire.asked().await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        replicas.push(dying.await);
    }
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    for (bed, asked) in [(provider.bed(), asked), (Bed::new(&addresses), pooled)] {
        let begun = Instant::now();
        let requests = (0..OFFERED / 50).map(|_| async {
            let mut client = bed.client().await;
            for _ in 0..50 {
                client.send(chat(ASK)).await;
                assert!(status(&soon(client.message()).await.0) >= 500);
            }
        });
        join_all(requests).await;
        let attempts = asked.load(Ordering::SeqCst);
        // So many in ten seconds, however long a busy machine takes.
        let spans = 1 + usize::try_from(begun.elapsed().as_secs() / 10).unwrap();
        let most = OFFERED + spans * OFFERED / 10;
        assert!((OFFERED..=most).contains(&attempts), "{attempts} attempts of {OFFERED} requests, at most {most}");
        let refused = bed.figure("quartermaster_router_retries_refused_total ");
        assert!(refused > 0.0);
    }
}

/// Failures between which answers come are not failures in a row: plain answers of another shape, too, and errors that are the
/// client's own.
#[tokio::test]
async fn whatever_shows_that_a_target_is_well_ends_a_row_of_failures() {
    let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","stop_reason":"end_turn","stop_sequence":null,"content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
    let wrong = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
    let body = r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hello"}]}"#;
    for (api, path, good) in [
        (Api::OpenAi, "/v1/chat/completions", plain(chat)),
        (Api::Anthropic, "/v1/chat/completions", plain(message)),
        (Api::OpenAiCompatible, "/v1/messages", plain(chat)),
        (Api::Anthropic, "/v1/messages", answer("400 Bad", "", wrong)),
        (Api::Anthropic, "/v1/chat/completions", answer("400 Bad", "", wrong)),
        (Api::OpenAi, "/v1/chat/completions", answer("404 Gone", "", "<html>")),
    ] {
        let well = status(&good);
        let turns = Arc::new(AtomicUsize::new(0));
        let engine = Engine::new(move |_, mut wire: Wire| {
            let (good, turns) = (good.clone(), Arc::clone(&turns));
            async move {
                while wire.asked().await {
                    let bad = answer("500 Error", "", "{}");
                    wire.send(if turns.fetch_add(1, Ordering::SeqCst) % 2 == 0 { &bad } else { &good }).await;
                }
            }
        })
        .await;
        let mut world = World::of(vec![far(api, engine.address)]);
        world.resilience.breaker_failures = 2;
        let bed = world.bed();
        let mut client = bed.client().await;
        for turn in 0..10 {
            client.send(post(path, "", body)).await;
            let (head, got) = client.message().await;
            let want = if turn % 2 == 0 { 500 } else { well };
            assert_eq!(status(&head), want, "{api:?} {path} {turn}: {got}");
        }
    }
}

/// A target that is on trial and answers with what is the client's own mistake has recovered.
#[tokio::test]
async fn a_trial_ends_with_an_error_that_is_the_client_s_own() {
    let engine = Engine::new(|number, mut wire: Wire| async move {
        let words = r#"{"type":"error","error":{"type":"x","message":"no"}}"#;
        wire.asked().await;
        wire.send(answer(if number == 0 { "500 Error" } else { "400 Bad" }, "connection: close\r\n", words)).await;
    })
    .await;
    let mut world = World::of(vec![far(Api::Anthropic, engine.address)]);
    world.resilience.breaker_failures = 1;
    world.resilience.ejection = Duration::from_millis(50);
    let bed = world.bed();
    // Another shape, so that the error is told in the router's own words.
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#;
    assert_eq!(status(&ask(&bed, body).await.0), 500);
    let give_up = Instant::now() + Duration::from_secs(10);
    while status(&ask(&bed, body).await.0) != 400 {
        assert!(Instant::now() < give_up, "it has no trial");
    }
    let usable = r#"quartermaster_router_target_usable{policy="ml/route",pool="far-0"}"#;
    assert!(bed.figure(usable) > 0.5);
}

/// A new value of a key has a clean record, at every target that uses it; a target with another key keeps its own.
#[tokio::test]
async fn the_breaker_and_the_rest_belong_to_a_target_its_model_and_its_key() {
    let (failing, asked) = counting(answer("500 Error", "", "{}")).await;
    let model = |name: &str| RemoteInput { model: Some(name.to_owned()), ..far(Api::OpenAi, failing.address) };
    let mut world = World::of(vec![model("one"), model("two")]);
    world.resilience.breaker_failures = 2;
    world.resilience.fallback_on = Vec::new();
    let bed = world.bed();
    let usable =
        |at: usize| bed.figure(&format!("quartermaster_router_target_usable{{policy=\"ml/route\",pool=\"far-{at}\"}}"));
    for _ in 0..2 {
        assert_eq!(status(&ask(&bed, ASK).await.0), 500);
    }
    assert!(usable(0) < 0.5 && usable(1) > 0.5, "another model at the same host, with the same key");
    assert_eq!(status(&ask(&bed, ASK).await.0), 503);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    for remote in &mut world.remotes {
        remote.key_version = 2;
    }
    let live = world.live(&bed.live.load().table, &bed.metrics, &crate::remote::keys("sk-new"));
    bed.live.store(Arc::new(live));
    assert!(usable(0) > 0.5);
    assert_eq!(status(&ask(&bed, ASK).await.0), 500, "it is asked again");

    // The same of a key that rests.
    let (limited, asked) = counting(answer("429 Too Many", "retry-after: 600\r\n", "{}")).await;
    let mut world = World::of(vec![far(Api::OpenAi, limited.address)]);
    let bed = world.bed();
    for _ in 0..2 {
        assert_eq!(status(&ask(&bed, ASK).await.0), 429);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    world.remotes[0].key_version = 2;
    let live = world.live(&bed.live.load().table, &bed.metrics, &crate::remote::keys("sk-new"));
    bed.live.store(Arc::new(live));
    assert_eq!(status(&ask(&bed, ASK).await.0), 429);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Silent for ever.
async fn mute() -> Engine {
    Engine::new(|_, mut wire: Wire| async move {
        wire.asked().await;
        std::future::pending::<()>().await;
    })
    .await
}

fn missed(bed: &Bed, target: &str, timeout: &str) -> f64 {
    bed.figure(&format!(
        "quartermaster_router_timeouts_total{{policy=\"ml/route\",pool=\"{target}\",timeout=\"{timeout}\"}}"
    ))
}

/// The first is silent, the second fails, the last one is late but within the time that the request has.
#[tokio::test]
async fn a_last_target_that_is_late_still_answers() {
    let late = Engine::new(|_, mut wire: Wire| async move {
        wire.asked().await;
        // Behind what is left to a target that is asked anew.
        tokio::time::sleep(Duration::from_millis(150)).await;
        wire.send(stream_of(&[ROLE, TOKEN, DONE])).await;
        wire.asked().await;
    })
    .await;
    let failing = Engine::answering(answer("500 Error", "", "{}")).await;
    let silent = mute().await;
    let mut world = World::of([&silent, &failing, &late].map(|engine| far(Api::OpenAi, engine.address)).into());
    world.resilience.first_token = Some(Duration::from_millis(300));
    world.resilience.total = Some(Duration::from_secs(10));
    let bed = world.bed();
    let mut client = bed.asking(ASK_STREAM).await;
    assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
    assert!(client.read_to("0\r\n\r\n").await.contains("[DONE]"));
    assert!((missed(&bed, "far-0", "first_token") - 1.0).abs() < 1e-9);
}

/// `total` is for all targets together, not for each.
#[tokio::test]
async fn the_time_for_everything_is_shared_by_all_attempts() {
    for body in [ASK_STREAM, ASK] {
        let silent = [mute().await, mute().await, mute().await];
        let mut world = World::of(silent.iter().map(|engine| far(Api::OpenAi, engine.address)).collect());
        let streams = body == ASK_STREAM;
        // A plain answer begins when it is finished, so the first one may have all of the time.
        world.resilience.first_token = Some(Duration::from_millis(200));
        world.resilience.total = Some(Duration::from_millis(300));
        let bed = world.bed();
        let (head, got) = ask(&bed, body).await;
        assert_eq!(status(&head), 504, "{got}");
        assert!(got.contains("upstream_total_timeout"), "{got}");
        let (last, others) = if streams { ("far-1", 1.0) } else { ("far-0", 0.0) };
        assert!((missed(&bed, "far-0", "first_token") - others).abs() < 1e-9);
        assert!((missed(&bed, last, "total") - 1.0).abs() < 1e-9);
        assert_eq!(silent[2].connections(), 0, "there was no time left for it");
    }
}

/// No connection in time, for a plain answer and for a stream: the next target answers, and the figure says why.
#[tokio::test]
async fn a_connection_that_takes_too_long() {
    let full = Full::new().await;
    let good = Engine::answering(plain("good")).await;
    let streams = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
    for (body, answers) in [(ASK, &good), (ASK_STREAM, &streams)] {
        let mut world = World::of(vec![far(Api::OpenAi, full.address), far(Api::OpenAi, answers.address)]);
        world.resilience.connect = Some(Duration::from_millis(100));
        let bed = world.bed();
        let mut client = bed.asking(body).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
        assert!((missed(&bed, "far-0", "connect") - 1.0).abs() < 1e-9);
        let fallen = r#"quartermaster_router_fallbacks_total{policy="ml/route",pool="far-0",reason="ConnectFailure"}"#;
        assert!((bed.figure(fallen) - 1.0).abs() < 1e-9);

        let pooled =
            World { pool: true, engines: vec![full.address], ..World::of(vec![far(Api::OpenAi, answers.address)]) };
        let mut pooled = pooled;
        pooled.resilience.connect = Some(Duration::from_millis(100));
        let bed = pooled.bed();
        let mut client = bed.asking(body).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
        assert!((missed(&bed, "ml/p", "connect") - 1.0).abs() < 1e-9);
    }
}

/// A plain answer that pauses in its body, and one that goes on for too long: it ends by the timeout that it missed, and never
/// looks whole.
#[tokio::test]
async fn plain_answers_that_pause_or_go_on() {
    let long = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n";
    for (timeout, drips) in [("idle", false), ("total", true)] {
        let engine = Engine::new(move |_, mut wire: Wire| async move {
            wire.asked().await;
            // More than is waited for as a whole.
            wire.send(format!("{long}{}", "x".repeat(100_000))).await;
            while drips && tokio::io::AsyncWriteExt::write_all(&mut wire.stream, b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            wire.read_all().await;
        })
        .await;
        let mut world = World::of(vec![far(Api::OpenAi, engine.address)]);
        world.resilience.idle = Some(Duration::from_millis(if drips { 10_000 } else { 100 }));
        world.resilience.total = Some(Duration::from_millis(if drips { 300 } else { 10_000 }));
        let bed = world.bed();
        let mut client = bed.asking(ASK).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
        let got = client.read_all().await;
        assert!(got.len() >= 100_000 && got.len() < 900_000, "{} bytes", got.len());
        assert!((missed(&bed, "far-0", timeout) - 1.0).abs() < 1e-9, "{timeout}");
    }
}

/// A stream of nothing but signs of life has an end.
#[tokio::test]
async fn a_stream_that_only_says_that_it_lives() {
    let engine = Engine::new(|_, mut wire: Wire| async move {
        wire.asked().await;
        wire.send(format!("{STREAM}{}", chunk(TOKEN))).await;
        while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, chunk(": alive\n\n").as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, engine.address)]);
    world.resilience.idle = Some(Duration::from_secs(5));
    world.resilience.total = Some(Duration::from_millis(300));
    let bed = world.bed();
    let mut client = bed.asking(ASK_STREAM).await;
    let got = client.read_to("0\r\n\r\n").await;
    assert!(got.contains("upstream_total_timeout") && !got.contains("[DONE]"), "{got}");
    assert!((missed(&bed, "far-0", "total") - 1.0).abs() < 1e-9);
}
