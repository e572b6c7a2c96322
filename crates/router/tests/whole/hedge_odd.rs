//! A second target beside a slow first one, where more than slowness is wrong.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use http::Request;
use router::settings::Settings;
use router::volume::Volumes;
use router_core::Api;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::sync::mpsc::unbounded_channel;

use crate::bed::{ANSWER, ASK, Engine, STREAM, Wire, calm, chunk, plain, soon, status, until};
use crate::hedge::{bed, counted, hedges, nothing_under_way, silent};
use crate::remote::{ASK_STREAM, DONE, ROLE, TOKEN, World, answer, far, keys, stream_of};
use crate::rules::{Bed, ask, spec};

const TOO_LONG: &str = r#"{"error":{"message":"too long for me","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#;

/// One that answers at once, and tells when it has.
async fn telling(answer: String) -> (Engine, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (tell, told) = unbounded_channel();
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (tell, answer) = (tell.clone(), answer.clone());
        async move {
            while wire.asked().await {
                wire.send(&answer).await;
                let _ = tell.send(());
            }
        }
    });
    (engine.await, told)
}

/// A prompt that is long is slow at the first and too long for the second. Without hedging the first would have answered.
#[tokio::test]
async fn that_the_second_does_not_take_it_is_no_answer_while_the_first_may_give_one() {
    for (first, want, outcome) in [(Some("\"a\""), 200, "failed"), (None, 400, "won")] {
        let (slow, mut one) = silent(first.map(plain)).await;
        let (picky, mut answered) = telling(answer("400 Bad Request", "", TOO_LONG)).await;
        let bed = bed(Some(20), slow, picky);
        let body = ask("hi");
        let ((head, got), ()) = join(bed.ask("", &body), async {
            one.tells("asked").await;
            soon(answered.recv()).await.unwrap();
            // The worker has one thread: by the second of these it has read what lay there before the first.
            for _ in 0..2 {
                assert_eq!(status(&bed.ask("", "{").await.0), 400);
            }
            one.open(1);
        })
        .await;
        assert_eq!(status(&head), want, "{got}");
        assert!(got == "\"a\"" || got.contains("too long for me"), "{got}");
        counted(&bed, outcome, "1").await;
        for pool in ["a", "b"] {
            nothing_under_way(&bed, pool).await;
        }
    }
}

#[tokio::test]
async fn that_the_first_does_not_take_it_is_the_answer() {
    let (slow, mut one) = silent(Some(answer("400 Bad Request", "", TOO_LONG))).await;
    let (second, mut two) = silent(None).await;
    let bed = bed(Some(20), slow, second);
    let body = ask("hi");
    let ((head, got), ()) = join(bed.ask("", &body), async {
        one.tells("asked").await;
        two.tells("asked").await;
        one.open(1);
    })
    .await;
    assert!(status(&head) == 400 && got.contains("too long for me"), "{head}{got}");
    two.tells("closed").await;
    counted(&bed, "lost", "1").await;
}

#[tokio::test]
async fn whichever_target_is_slow_first_has_one_beside_it() {
    let failing = Engine::answering(answer("500 Error", "", "{}")).await;
    let (slow, mut gate) = silent(None).await;
    let good = Engine::answering(plain("\"c\"")).await;
    let mut spec = spec(&json!([]));
    // So long that the one that fails at once has done so, on a busy machine too.
    spec["hedge"] = json!({"afterMilliseconds": 1000});
    let engines = vec![("a", failing), ("b", slow), ("c", good)];
    let bed = Bed::with(&spec, &calm(), engines, &Volumes::default());
    let (head, got) = bed.ask("", &ask("hi")).await;
    assert_eq!((status(&head), got.as_str()), (200, "\"c\""));
    gate.tells("asked").await;
    gate.tells("closed").await;
    let won = r#"hedges_total{outcome="won",policy="ml/route",pool="ml/c"}"#;
    until("the hedge is counted", || bed.metric(won).as_deref() == Some("1")).await;
}

#[tokio::test]
async fn a_client_that_names_its_target_gets_no_other() {
    let slow = Engine::new(|_, mut wire: Wire| async move {
        wire.next_message().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.send(plain("\"a\"")).await;
        wire.next_message().await;
    });
    let other = Engine::answering(plain("\"b\"")).await;
    let mut spec = spec(&json!([]));
    spec["hedge"] = json!({"afterMilliseconds": 10});
    spec["allowTargetHeader"] = json!(true);
    let engines = vec![("a", slow.await), ("b", other)];
    let bed = Bed::with(&spec, &calm(), engines, &Volumes::default());
    let (head, got) = bed.ask("x-quartermaster-target: a\r\n", &ask("hi")).await;
    assert_eq!((status(&head), got.as_str()), (200, "\"a\""));
    assert_eq!(bed.metric("hedges_total"), None);
}

#[tokio::test]
async fn a_mirror_gets_one_copy_of_a_request_that_goes_two_ways() {
    let (slow, mut gate) = silent(None).await;
    let (copied, mut copies) = telling(plain(ANSWER)).await;
    let mut spec = spec(&json!([
        {"name": "all", "use": {"ordered": ["a", "b"]}, "mirror": {"target": "c", "percent": 100}},
    ]));
    spec["hedge"] = json!({"afterMilliseconds": 20});
    let engines = vec![("a", slow), ("b", Engine::answering(plain("\"b\"")).await), ("c", copied)];
    let bed = Bed::with(&spec, &calm(), engines, &Volumes::default());
    assert_eq!(bed.ask("", &ask("hi")).await.1, "\"b\"");
    gate.tells("asked").await;
    soon(copies.recv()).await.unwrap();
    let answered = r#"mirrors_total{outcome="answered",policy="ml/route",pool="ml/c"}"#;
    until("the copy is counted", || bed.metric(answered).as_deref() == Some("1")).await;
    assert!(copies.try_recv().is_err(), "one copy of one request");
}

/// Both are asked, and answer in the same moment: the client gets one of the answers, and it is one request.
#[tokio::test]
async fn two_that_answer_at_once_are_one_answer() {
    let both = Arc::new(Barrier::new(2));
    let racing = |name: &'static str| {
        let both = Arc::clone(&both);
        Engine::new(move |_, mut wire: Wire| {
            let both = Arc::clone(&both);
            async move {
                while wire.asked().await {
                    both.wait().await;
                    // The connection may be gone by then.
                    let _ = wire.stream.write_all(plain(name).as_bytes()).await;
                }
            }
        })
    };
    let bed = bed(Some(10), racing("\"a\"").await, racing("\"b\"").await);
    // As many as the budget lets.
    for _ in 0..10 {
        let (head, got) = bed.ask("", &ask("hi")).await;
        assert!(status(&head) == 200 && (got == "\"a\"" || got == "\"b\""), "{head}{got}");
    }
    let of = |outcome| hedges(&bed, outcome).map_or(0, |count| count.parse::<u32>().unwrap());
    until("all are counted", || of("won") + of("lost") == 10).await;
    for pool in ["a", "b"] {
        nothing_under_way(&bed, pool).await;
    }
}

/// The second one's first event is an error; the first one's stream comes as if there had been nothing.
#[tokio::test]
async fn an_error_for_a_first_token_of_the_second_is_not_heard() {
    let (slow, mut one) = silent(Some(stream_of(&[ROLE, TOKEN, DONE]))).await;
    let error =
        "data: {\"error\":{\"message\":\"broken inside\",\"type\":\"server_error\",\"code\":null,\"param\":null}}\n\n";
    let (bad, mut answered) = telling(format!("{STREAM}{}{}0\r\n\r\n", chunk(ROLE), chunk(error))).await;
    let mut world = World::of(vec![far(Api::OpenAi, slow.address), far(Api::OpenAi, bad.address)]);
    world.resilience.hedge_after = Some(Duration::from_millis(20));
    let bed = world.bed();
    let mut client = bed.asking(ASK_STREAM).await;
    one.tells("asked").await;
    soon(answered.recv()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(status(&crate::remote::ask(&bed, "{").await.0), 400);
    }
    one.open(1);
    let got = client.read_to("0\r\n\r\n").await;
    assert!(got.contains("Hi") && got.contains("[DONE]") && !got.contains("broken inside"), "{got}");
    let failed = r#"quartermaster_router_hedges_total{outcome="failed",policy="ml/route",pool="far-1"}"#;
    until("the hedge is counted", || (bed.figure(failed) - 1.0).abs() < 1e-9).await;
}

/// A target whose ejection is over gets one request to show that it has recovered. One that a faster target ended says nothing:
/// the next request has the trial.
#[tokio::test]
async fn a_trial_that_is_cancelled_is_given_back() {
    let (tell, mut told) = unbounded_channel();
    let first = Engine::new(move |number, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            wire.asked().await;
            if number == 0 {
                wire.send(answer("500 Error", "connection: close\r\n", "{}")).await;
                return;
            }
            tell.send("asked").unwrap();
            assert!(!wire.asked().await);
            tell.send("closed").unwrap();
        }
    })
    .await;
    let good = Engine::answering(plain("good")).await;
    let mut world = World::of(vec![far(Api::OpenAi, first.address), far(Api::OpenAi, good.address)]);
    world.resilience.hedge_after = Some(Duration::from_millis(20));
    world.resilience.breaker_failures = 1;
    world.resilience.ejection = Duration::from_millis(50);
    let bed = world.bed();
    let answered = || async { crate::remote::ask(&bed, ASK).await.1 };
    assert_eq!(answered().await, "good");
    for _ in 0..2 {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
        while told.try_recv() != Ok("asked") {
            assert!(tokio::time::Instant::now() < give_up, "it has no trial");
            assert_eq!(answered().await, "good");
        }
        assert_eq!(soon(told.recv()).await, Some("closed"));
    }
}

#[tokio::test]
async fn a_stream_of_http2_that_is_reset_ends_both() {
    let ((first, mut one), (second, mut two)) = (silent(None).await, silent(None).await);
    let mut world = World::of(vec![far(Api::OpenAi, first.address), far(Api::OpenAi, second.address)]);
    world.resilience.hedge_after = Some(Duration::from_millis(20));
    let settings = Settings { http2: true, ..calm() };
    let bed = world.bed_with(settings, &keys("sk-key"));
    let stream = soon(TcpStream::connect(bed.workers.address())).await.unwrap();
    let (sender, connection) = soon(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut sender = soon(sender.ready()).await.unwrap();
    let asking = Request::post("http://router/v1/chat/completions").body(()).unwrap();
    let (response, mut out) = sender.send_request(asking, false).unwrap();
    out.send_data(ASK.into(), true).unwrap();
    one.tells("asked").await;
    two.tells("asked").await;
    out.send_reset(h2::Reason::CANCEL);
    drop(response);
    one.tells("closed").await;
    two.tells("closed").await;
}
