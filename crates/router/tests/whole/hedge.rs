//! A second target beside one that takes long: whoever begins first gives the answer, and the other one is told to stop.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use prometheus::IntCounter;
use router::volume::Volumes;
use router_core::{Api, Resilience};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::alone::alone;
use crate::bed::{Engine, STREAM, Wire, calm, chat, chunk, plain, soon, status, until};
use crate::record::{attempts, lines, records};
use crate::remote::{ASK_STREAM, DONE, ROLE, TOKEN, World, far, stream_of};
use crate::rules::{Bed, ask, spec};
use crate::traces::{PARENT, collector, traces};

/// What a test sees of an engine, and lets it do.
pub(crate) struct Gate {
    told: UnboundedReceiver<&'static str>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) async fn tells(&mut self, what: &str) {
        assert_eq!(soon(self.told.recv()).await, Some(what));
    }

    /// As many as that go on.
    pub(crate) fn open(&self, count: usize) {
        self.open.add_permits(count);
    }
}

/// An engine that is silent until its gate is opened, and then gives this answer, or breaks off. It tells when it is asked, and
/// when its connection is closed before it has answered.
async fn gated(answer: Option<&'static str>) -> (Engine, Gate) {
    silent(answer.map(plain)).await
}

/// The same, with an answer as it is sent.
pub(crate) async fn silent(answer: Option<String>) -> (Engine, Gate) {
    let (tell, told) = unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let gate = Gate { told, open: Arc::clone(&open) };
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (tell, open, answer) = (tell.clone(), Arc::clone(&open), answer.clone());
        async move {
            while wire.next_message().await.is_some() {
                let _ = tell.send("asked");
                tokio::select! {
                    permit = open.acquire() => permit.unwrap().forget(),
                    more = wire.next_message() => {
                        assert_eq!(more, None);
                        let _ = tell.send("closed");
                        return;
                    }
                }
                let Some(answer) = &answer else { return };
                wire.send(answer).await;
            }
        }
    });
    (engine.await, gate)
}

pub(crate) fn bed(after: Option<u32>, a: Engine, b: Engine) -> Bed {
    let mut spec = spec(&json!([]));
    if let Some(after) = after {
        spec["hedge"] = json!({"afterMilliseconds": after});
        spec["retries"] = json!({"budgetPercent": 0});
    }
    Bed::with(&spec, &calm(), vec![("a", a), ("b", b)], &Volumes::default())
}

/// How often a second target had this outcome; the whole requests that this pool answered.
pub(crate) fn hedges(bed: &Bed, outcome: &str) -> Option<String> {
    bed.metric(&format!("hedges_total{{outcome=\"{outcome}\",policy=\"ml/route\",pool=\"ml/b\"}}"))
}

fn answered(bed: &Bed, pool: &str) -> Option<String> {
    let labels = format!("code=\"200\",policy=\"ml/route\",pool=\"ml/{pool}\",surface=\"chat_completions\"");
    bed.metric(&format!("requests_total{{{labels}}}"))
}

pub(crate) async fn nothing_under_way(bed: &Bed, pool: &str) {
    let figure = format!("in_flight{{pool=\"ml/{pool}\"}}");
    until("the attempt has ended", || bed.metric(&figure).as_deref() == Some("0")).await;
}

pub(crate) async fn counted(bed: &Bed, outcome: &str, count: &str) {
    until("the hedge is counted", || hedges(bed, outcome).as_deref() == Some(count)).await;
}

#[tokio::test]
async fn the_second_answers_where_the_first_is_slow() {
    let (slow, mut gate) = gated(None).await;
    let bed = bed(Some(20), slow, Engine::answering(plain("\"b\"")).await);
    let (head, answer) = bed.ask("", &ask("hi")).await;
    assert_eq!((status(&head), answer.as_str()), (200, "\"b\""));
    gate.tells("asked").await;
    gate.tells("closed").await;
    counted(&bed, "won", "1").await;
    assert_eq!((answered(&bed, "a"), answered(&bed, "b").as_deref()), (None, Some("1")), "it is one request");
    nothing_under_way(&bed, "a").await;
}

#[tokio::test]
async fn the_first_still_answers_if_it_begins_first() {
    let ((first, mut one), (second, mut two)) = (gated(Some("\"a\"")).await, gated(None).await);
    let bed = bed(Some(20), first, second);
    let body = ask("hi");
    let ((head, answer), ()) = join(bed.ask("", &body), async {
        one.tells("asked").await;
        two.tells("asked").await;
        one.open(1);
    })
    .await;
    assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
    two.tells("closed").await;
    counted(&bed, "lost", "1").await;
    assert_eq!((answered(&bed, "a").as_deref(), answered(&bed, "b")), (Some("1"), None), "it is one request");
    nothing_under_way(&bed, "b").await;
}

#[tokio::test]
async fn where_one_fails_the_other_is_waited_for() {
    for (first_fails, answer, outcome) in [(true, "\"b\"", "won"), (false, "\"a\"", "failed")] {
        let (first, mut one) = gated((!first_fails).then_some("\"a\"")).await;
        let (second, mut two) = gated(first_fails.then_some("\"b\"")).await;
        let bed = bed(Some(20), first, second);
        let body = ask("hi");
        let ((head, got), ()) = join(bed.ask("", &body), async {
            two.tells("asked").await;
            one.tells("asked").await;
            let (failing, pool, other) = if first_fails { (&one, "a", &two) } else { (&two, "b", &one) };
            failing.open(1);
            nothing_under_way(&bed, pool).await;
            other.open(1);
        })
        .await;
        assert_eq!((status(&head), got.as_str()), (200, answer));
        counted(&bed, outcome, "1").await;
        let fallbacks = bed.metric("fallbacks_total{policy=\"ml/route\",pool=\"ml/a\",reason=\"ServerError\"}");
        assert_eq!(fallbacks.as_deref(), first_fails.then_some("1"));
    }
}

#[tokio::test]
async fn where_both_fail_the_last_one_s_word_counts() {
    for first_fails in [true, false] {
        let ((first, mut one), (second, mut two)) = (gated(None).await, gated(None).await);
        let bed = bed(Some(20), first, second);
        let body = ask("hi");
        let ((head, got), ()) = join(bed.ask("", &body), async {
            one.tells("asked").await;
            two.tells("asked").await;
            let (earlier, pool, later) = if first_fails { (&one, "a", &two) } else { (&two, "b", &one) };
            earlier.open(1);
            nothing_under_way(&bed, pool).await;
            later.open(1);
        })
        .await;
        assert_eq!(status(&head), 502);
        let last = if first_fails { "ml/b" } else { "ml/a" };
        assert!(got.contains("upstream_broke") && got.contains(last), "{got}");
        counted(&bed, "failed", "1").await;
    }
}

#[tokio::test]
async fn the_budget_of_retries_holds() {
    // Its floor is ten in ten seconds.
    let (first, mut gate) = gated(Some("\"a\"")).await;
    let bed = bed(Some(10), first, Engine::answering(plain("\"b\"")).await);
    let body = ask("hi");
    let (answers, ()) = join(join_all((0..11).map(|_| bed.ask("", &body))), async {
        // What is let go on must be the one connection that is left.
        let mut closed = 0;
        while closed < 10 {
            closed += usize::from(soon(gate.told.recv()).await == Some("closed"));
        }
        gate.open(1);
    })
    .await;
    let by_first = answers.iter().filter(|(head, answer)| status(head) == 200 && answer == "\"a\"").count();
    let by_second = answers.iter().filter(|(head, answer)| status(head) == 200 && answer == "\"b\"").count();
    assert_eq!((by_first, by_second), (1, 10));
    counted(&bed, "won", "10").await;
    counted(&bed, "refused", "1").await;
    assert_eq!(bed.metric("retries_refused_total").as_deref(), Some("0"), "a hedge that is refused is no failure");
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let ((first, mut one), (second, mut two)) = (gated(None).await, gated(None).await);
    let bed = bed(Some(20), first, second);
    let mut client = Wire::new(TcpStream::connect(bed.address()).await.unwrap());
    client.send(chat(&ask("hi"))).await;
    one.tells("asked").await;
    two.tells("asked").await;
    drop(client);
    one.tells("closed").await;
    two.tells("closed").await;
    counted(&bed, "left", "1").await;
}

#[tokio::test]
async fn a_first_that_is_in_time_is_alone_and_so_is_any_where_none_is_asked_for() {
    let second = Engine::answering(plain("\"b\"")).await;
    let hedged = bed(Some(60_000), Engine::answering(plain("\"a\"")).await, second);
    assert_eq!(hedged.ask("", &ask("hi")).await.1, "\"a\"");
    // One that is as slow as those above, where the policy says nothing of it.
    let slow = Engine::new(|_, mut wire: Wire| async move {
        wire.next_message().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.send(plain("\"a\"")).await;
        wire.next_message().await;
    });
    let bare = bed(None, slow.await, Engine::answering(plain("\"b\"")).await);
    assert_eq!(bare.ask("", &ask("hi")).await.1, "\"a\"");
    for bed in [hedged, bare] {
        assert_eq!((bed.metric("hedges_total"), answered(&bed, "b").as_deref()), (None, None));
    }
}

#[tokio::test]
async fn a_stream_begins_with_its_first_token() {
    // The first one has sent its head and who speaks, but no token.
    let (tell, mut told) = unbounded_channel();
    let first = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            wire.next_message().await;
            wire.send(format!("{STREAM}{}{}", chunk(": waiting\n\n"), chunk(ROLE))).await;
            assert_eq!(wire.next_message().await, None);
            tell.send(()).unwrap();
        }
    })
    .await;
    let second = Engine::answering(stream_of(&[TOKEN, TOKEN, DONE])).await;
    let mut world = World::of(vec![far(Api::OpenAi, first.address), far(Api::OpenAi, second.address)]);
    world.resilience.hedge_after = Some(Duration::from_millis(20));
    let bed = world.bed();
    let stream = bed.asking(ASK_STREAM).await.read_to("0\r\n\r\n").await;
    assert_eq!((status(&stream), stream.matches("HTTP/1.1").count()), (200, 1), "{stream}");
    assert_eq!((stream.matches("Hi").count(), stream.contains("waiting")), (2, false), "{stream}");
    soon(told.recv()).await.unwrap();
    let won = r#"quartermaster_router_hedges_total{outcome="won",policy="ml/route",pool="far-1"}"#;
    until("the hedge is counted", || (bed.figure(won) - 1.0).abs() < 1e-9).await;
}

#[tokio::test]
async fn both_attempts_are_told_to_the_collector() {
    let (slow, _gate) = gated(None).await;
    let (collector, mut messages) = collector("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let lost = IntCounter::new("lost", "lost").unwrap();
    let mut spec = spec(&json!([]));
    spec["hedge"] = json!({"afterMilliseconds": 20});
    let engines = vec![("a", slow), ("b", Engine::answering(plain("\"b\"")).await)];
    let bed = Bed::with(&spec, &traces(&collector, 0, &lost), engines, &Volumes::default());
    assert_eq!(bed.ask(&format!("traceparent: {PARENT}\r\n"), &ask("hi")).await.1, "\"b\"");
    let mut spans = Vec::new();
    while spans.len() < 3 {
        let body: Value = serde_json::from_str(&soon(messages.recv()).await.unwrap().1).unwrap();
        spans.extend(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    let names: Vec<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["attempt", "attempt", "chat m"]);
    assert!(spans[..2].iter().all(|attempt| attempt["parentSpanId"] == spans[2]["spanId"]), "{spans:?}");
    let cancelled: Vec<bool> = spans.iter().map(|span| span["attributes"].to_string().contains("cancelled")).collect();
    assert_eq!(cancelled, [true, false, false], "{spans:?}");
}

/// Reads a request, and tells that it was asked.
async fn asked(wire: &mut Wire, tells: &Semaphore) {
    wire.next_message().await.unwrap();
    tells.add_permits(1);
}

#[test]
fn the_log_line_has_both() {
    let log = alone("hedge::the_log_line_has_both", || async {
        let failed = "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}";
        let second_asked = Arc::new(Semaphore::new(0));
        let wait = Arc::clone(&second_asked);
        // Silent to the first request; answers the second one once the other target was asked; fails at the third in the same way.
        let first = Engine::new(move |number, mut wire: Wire| {
            let wait = Arc::clone(&wait);
            async move {
                if number == 0 {
                    wire.next_message().await;
                    assert_eq!(wire.next_message().await, None);
                    return;
                }
                for answer in [plain("{\"choices\":[{}]}"), failed.to_owned()] {
                    wire.next_message().await;
                    soon(wait.acquire()).await.unwrap().forget();
                    wire.send(answer).await;
                }
            }
        })
        .await;
        // Answers the first request, is silent to the second, and fails at the third.
        let second = Engine::new(move |number, mut wire: Wire| {
            let tells = Arc::clone(&second_asked);
            async move {
                if number == 0 {
                    wire.next_message().await;
                    wire.send(plain("{\"choices\":[{}]}")).await;
                    asked(&mut wire, &tells).await;
                    assert_eq!(wire.next_message().await, None);
                    return;
                }
                asked(&mut wire, &tells).await;
                wire.send(failed).await;
            }
        })
        .await;
        let third = Engine::answering(plain("{\"choices\":[{}]}")).await;
        let remotes = [&first, &second, &third].map(|engine| far(Api::OpenAi, engine.address));
        let hedge_after = Some(Duration::from_millis(20));
        let resilience = Resilience { attempts: 0, hedge_after, ..Resilience::default() };
        let world = World { resilience, ..World::of(remotes.to_vec()) };
        let asks = [(); 3].map(|()| ("/v1/chat/completions", "", ask("hi")));
        lines(world, &asks).await;
    });
    let Some(log) = log else { return };
    let records = records(&log);
    let told: Vec<Value> = records
        .iter()
        .map(|record| json!([record["hedge"], record["target"], record["status"], attempts(record)]))
        .collect();
    // Of a prompt of 32 bytes and an answer of 512 tokens, at 15 and 60 cents per million.
    let cost = 8 * 150 + 512 * 600;
    let want = [
        json!(["won", "far-1", 200, [
            {"target": "far-0", "reason": "cancelled", "expected_nanodollars": cost}, {"target": "far-1", "status": 200},
        ]]),
        json!(["lost", "far-0", 200, [
            {"target": "far-1", "reason": "cancelled", "expected_nanodollars": cost}, {"target": "far-0", "status": 200},
        ]]),
        json!(["failed", "far-2", 200, [
            {"target": "far-0", "status": 500, "reason": "ServerError"},
            {"target": "far-1", "status": 500, "reason": "ServerError"},
            {"target": "far-2", "status": 200},
        ]]),
    ];
    assert_eq!(told, want, "{log}");
    assert!(records[0]["attempts"][0]["ms"].is_f64(), "{}", records[0]);
}
