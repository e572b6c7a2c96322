//! Copies of requests for a mirror: what it gets, what is counted, and that no client ever notices.

use std::future::pending;

use router::settings::Settings;
use router::volume::Volumes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bed::{Engine, Wire, calm, header, plain, status, until};
use crate::rules::{Bed, ask, spec};

fn mirrored(percent: u32) -> Value {
    spec(&json!([{"name": "all", "use": {"ordered": ["a"]}, "mirror": {"target": "b", "percent": percent}}]))
}

async fn bed(spec: Value, settings: &Settings, mirror: Engine) -> Bed {
    let answers = Engine::answering(plain("\"a\"")).await;
    Bed::with(&spec, settings, vec![("a", answers), ("b", mirror)], &Volumes::default())
}

#[tokio::test]
async fn a_mirror_gets_the_request_and_nobody_its_answer() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mirror = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            while let Some(asked) = wire.next_message().await {
                tell.send(asked).unwrap();
                wire.send(plain(r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#)).await;
            }
        }
    })
    .await;
    let bed = bed(mirrored(100), &calm(), mirror).await;
    let body = ask("hi");
    let (head, answer) = bed.ask("x-request-id: one\r\n", &body).await;
    assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
    assert_eq!(header(&head, "x-quartermaster-target"), Some("a"));
    let (head, copy) = crate::bed::soon(told.recv()).await.unwrap();
    assert_eq!((copy, header(&head, "x-request-id")), (body, Some("one")));
    let labels = r#"policy="ml/route",pool="ml/b""#;
    let answered = format!("mirrors_total{{outcome=\"answered\",{labels}}}");
    until("the copy is counted", || bed.metric(&answered).as_deref() == Some("1")).await;
    let tokens = |kind: &str| bed.metric(&format!("mirrored_tokens_total{{kind=\"{kind}\",{labels}}}"));
    assert_eq!((tokens("prompt").as_deref(), tokens("completion").as_deref()), (Some("7"), Some("3")));
    let as_asked = format!("requests_total{{code=\"200\",{labels},surface=\"chat_completions\"}}");
    assert_eq!(bed.metric(&as_asked), None, "a copy is no client's request");
    assert_eq!(bed.metric(&format!("tokens_total{{kind=\"prompt\",{labels}}}")).as_deref(), Some("0"));
}

#[tokio::test]
async fn a_mirror_that_hangs_costs_its_clients_nothing() {
    let mirror = Engine::new(|_, mut wire: Wire| async move {
        wire.next_message().await;
        pending::<()>().await;
    })
    .await;
    let bed = bed(mirrored(100), &calm(), mirror).await;
    for _ in 0..70 {
        let (head, answer) = bed.ask("", &ask("hi")).await;
        assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
    }
    // As many as a worker has under way at once, and no more.
    let dropped = r#"mirrors_total{outcome="dropped",policy="ml/route",pool="ml/b"}"#;
    assert_eq!(bed.metric(dropped).as_deref(), Some("6"));
}

#[tokio::test]
async fn a_mirror_ends_at_the_deadline_of_its_policy() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mirror = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            wire.next_message().await;
            // Nothing more comes but the end of the connection.
            assert_eq!(wire.next_message().await, None);
            tell.send(()).unwrap();
        }
    })
    .await;
    let mut spec = mirrored(100);
    spec["timeouts"] = json!({"total": "1s"});
    let bed = bed(spec, &calm(), mirror).await;
    assert_eq!(status(&bed.ask("", &ask("hi")).await.0), 200);
    crate::bed::soon(told.recv()).await.unwrap();
    let late = r#"mirrors_total{outcome="late",policy="ml/route",pool="ml/b"}"#;
    until("it is counted", || bed.metric(late).as_deref() == Some("1")).await;
}

#[tokio::test]
async fn a_mirror_that_fails_or_is_not_wanted_is_only_counted() {
    let mirror = Engine::new(|_, mut wire: Wire| async move {
        wire.next_message().await;
    })
    .await;
    let bed_of_failing = bed(mirrored(100), &calm(), mirror).await;
    assert_eq!(status(&bed_of_failing.ask("", &ask("hi")).await.0), 200);
    let failed = r#"mirrors_total{outcome="failed",policy="ml/route",pool="ml/b"}"#;
    until("it is counted", || bed_of_failing.metric(failed).as_deref() == Some("1")).await;

    // There is no room for any copy where half of what may be held is less than a body.
    let body = ask("hi");
    let settings = Settings { max_held_bytes: 2 * body.len() - 1, ..calm() };
    let full = bed(mirrored(100), &settings, Engine::answering(plain("{}")).await).await;
    assert_eq!(status(&full.ask("", &body).await.0), 200);
    let dropped = r#"mirrors_total{outcome="dropped",policy="ml/route",pool="ml/b"}"#;
    assert_eq!(full.metric(dropped).as_deref(), Some("1"));

    let unwanted = Engine::answering(plain("{}")).await;
    let bed = bed(mirrored(0), &calm(), unwanted).await;
    assert_eq!(status(&bed.ask("", &ask("hi")).await.0), 200);
    assert_eq!(bed.metric("mirrors_total"), None);
}
