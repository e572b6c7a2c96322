//! A classifier's word on how hard a request is, and what becomes of requests when it says nothing of use.

use std::future::pending;

use router::volume::Volumes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bed::{Engine, Wire, calm, header, plain, soon, status};
use crate::rules::{Bed, ask, spec};

/// Hard requests go to `b`, batches to `a` without a look, and `c` has the classifier.
fn classified() -> Value {
    let mut spec = spec(&json!([
        {"name": "batch", "when": "request.headers['x-batch'] == 'true'", "use": {"ordered": ["a"]}},
        {"name": "hard", "when": "request.complexity == 'complex'", "use": {"ordered": ["b"]}},
    ]));
    spec["complexity"] = json!({"pool": {"name": "c"}, "model": "small", "deadlineMilliseconds": 400});
    spec
}

async fn bed(classifier: Option<Engine>) -> Bed {
    let mut engines =
        vec![("a", Engine::answering(plain("\"a\"")).await), ("b", Engine::answering(plain("\"b\"")).await)];
    engines.extend(classifier.map(|engine| ("c", engine)));
    Bed::with(&classified(), &calm(), engines, &Volumes::default())
}

fn saying(word: &str) -> String {
    plain(&json!({"choices": [{"message": {"role": "assistant", "content": word}}]}).to_string())
}

/// Who answers, and what is told of how hard the request is.
async fn outcome(bed: &Bed, text: &str) -> (String, String) {
    let (head, answer) = bed.ask("", &ask(text)).await;
    assert_eq!(status(&head), 200, "{head}");
    (answer, header(&head, "x-quartermaster-complexity").unwrap_or_default().to_owned())
}

#[tokio::test]
async fn its_word_counts_in_place_of_the_points() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let classifier = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            while let Some(asked) = wire.next_message().await {
                tell.send(asked).unwrap();
                wire.send(saying("Complex.")).await;
            }
        }
    })
    .await;
    let bed = bed(Some(classifier)).await;
    let (answer, told_client) = outcome(&bed, "Hello there!").await;
    assert_eq!(answer, "\"b\"", "by points it is trivial");
    assert_eq!(told_client, "complex; classifier=said; score=-2; light-task-1,short-1");
    let (head, asked) = soon(told.recv()).await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&asked["model"], &asked["temperature"]), (&json!("small"), &json!(0)));
    assert!(asked["messages"][0]["content"].as_str().unwrap().ends_with("<request>\nHello there!\n</request>"));

    let (head, answer) = bed.ask("x-batch: true\r\n", &ask("Hello there!")).await;
    assert_eq!((answer.as_str(), header(&head, "x-quartermaster-complexity")), ("\"a\"", None));
    assert!(told.try_recv().is_err(), "a rule that does not ask costs no question");
    let said = r#"classifications_total{outcome="said",policy="ml/route"}"#;
    assert_eq!(bed.metric(said).as_deref(), Some("1"));
    assert_eq!(bed.metric(r#"classification_seconds_count{policy="ml/route"}"#).as_deref(), Some("1"));
}

#[tokio::test]
async fn the_points_decide_when_it_says_nothing_of_use() {
    let error = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}".to_owned();
    for (answer, why) in [
        (saying("I think that it is hard"), "no_word"),
        (saying(""), "no_word"),
        (plain("<html>"), "no_word"),
        (plain(r#"{"choices":[]}"#), "no_word"),
        (error, "error_status"),
        ("SSH-2.0-x\r\n\r\n".to_owned(), "unreachable"),
    ] {
        let bed = bed(Some(Engine::answering(answer.clone()).await)).await;
        let want = format!("trivial; classifier={why}; score=-2; light-task-1,short-1");
        assert_eq!(outcome(&bed, "Hello there!").await, ("\"a\"".to_owned(), want), "{answer}");
        let counted = format!("classifications_total{{outcome=\"{why}\",policy=\"ml/route\"}}");
        assert_eq!(bed.metric(&counted).as_deref(), Some("1"), "{answer}");
    }
    let bed = bed(None).await;
    let (answer, told) = outcome(&bed, "Hello there!").await;
    assert_eq!((answer.as_str(), told.starts_with("trivial; classifier=no_replica;")), ("\"a\"", true), "{told}");
}

#[tokio::test]
async fn its_deadline_is_kept_and_the_question_taken_back() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let hangs = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            wire.next_message().await;
            assert_eq!(wire.next_message().await, None);
            tell.send("closed").unwrap();
            pending::<()>().await;
        }
    })
    .await;
    let bed = bed(Some(hangs)).await;
    let hard = "Design a distributed lock service and prove that it is correct under partitions.";
    let (answer, header) = outcome(&bed, hard).await;
    assert!(answer == "\"b\"" && header.starts_with("complex; classifier=deadline; score="), "{answer} {header}");
    assert_eq!(soon(told.recv()).await, Some("closed"));
}
