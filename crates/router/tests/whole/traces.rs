//! Traces: what engines and collectors are told, and that a collector holds nobody up.

use prometheus::IntCounter;
use router::settings::Settings;
use router::traces::Traces;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, calm, chunk, header, plain, post, soon, status, until};

pub(crate) const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that answers every message so, and passes on what it was sent.
pub(crate) async fn collector(answer: &'static str) -> (Engine, mpsc::UnboundedReceiver<(String, String)>) {
    let (told, messages) = mpsc::unbounded_channel();
    let collector = Engine::new(move |_, mut wire| {
        let told = told.clone();
        async move {
            told.send(wire.message().await).unwrap();
            wire.send(answer).await;
        }
    })
    .await;
    (collector, messages)
}

pub(crate) fn traces(collector: &Engine, percent: u8, lost: &IntCounter) -> Settings {
    let at = format!("http://{}", collector.address).parse().unwrap();
    let (traces, export) = Traces::to(at, percent, lost.clone());
    tokio::spawn(export);
    Settings { traces: Some(traces), ..calm() }
}

#[tokio::test]
async fn a_request_and_its_attempts_are_told_to_the_collector() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            loop {
                asked.send(wire.message().await.0).unwrap();
                wire.send(plain(r#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#)).await;
            }
        }
    })
    .await;
    let (collector, mut messages) = collector("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let lost = IntCounter::new("lost", "lost").unwrap();
    let bed = Bed::with(&traces(&collector, 0, &lost), &[engine.address]);
    let mut client = bed.client().await;
    // The second is not recorded by whoever began the trace, the third begins none: their headers pass as they came.
    for (parent, passes) in [(Some(PARENT.to_owned()), false), (Some(PARENT.replace("-01", "-00")), true), (None, true)]
    {
        let line = parent.as_ref().map(|parent| format!("traceparent: {parent}\r\n")).unwrap_or_default();
        client.send(post("/v1/chat/completions", &line, ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
        let head = soon(requests.recv()).await.unwrap();
        let sent = header(&head, "traceparent").map(str::to_owned);
        assert_eq!(sent == parent, passes, "{parent:?} became {sent:?}");
        if passes {
            continue;
        }
        let sent = sent.unwrap();
        let (head, body) = soon(messages.recv()).await.unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&body).unwrap();
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let (attempt, request) = (&spans[0], &spans[1]);
        assert_eq!((&attempt["name"], &request["name"]), (&"attempt".into(), &"chat m".into()), "{body}");
        assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(attempt["parentSpanId"], request["spanId"]);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!((&attempt["traceId"], &request["traceId"]), (&trace.into(), &trace.into()));
        assert_eq!(sent, format!("00-{trace}-{}-01", attempt["spanId"].as_str().unwrap()));
        let attributes = request["attributes"].to_string();
        for want in [
            r#"{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}"#,
            r#"{"key":"gen_ai.provider.name","value":{"stringValue":"vllm"}}"#,
            r#"{"key":"gen_ai.request.model","value":{"stringValue":"m"}}"#,
            r#"{"key":"gen_ai.usage.input_tokens","value":{"intValue":"5"}}"#,
            r#"{"key":"gen_ai.usage.output_tokens","value":{"intValue":"7"}}"#,
            r#"{"key":"quartermaster.cost.nanodollars","value":{"intValue":"0"}}"#,
            r#"{"key":"http.response.status_code","value":{"intValue":"200"}}"#,
        ] {
            assert!(attributes.contains(want), "{attributes}");
        }
        let tried = attempt["attributes"].to_string();
        assert!(tried.contains("server.address") && tried.contains("quartermaster.target"), "{tried}");
    }
    assert!(messages.try_recv().is_err() && lost.get() == 0);
}

#[tokio::test]
async fn the_span_of_a_stream_tells_of_its_first_token() {
    let answer = format!("{STREAM}{}{}0\r\n\r\n", chunk("data: {\"choices\":[]}\n\n"), chunk("data: [DONE]\n\n"));
    let engine = Engine::answering(answer).await;
    let (collector, mut messages) = collector("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let lost = IntCounter::new("lost", "lost").unwrap();
    let bed = Bed::with(&traces(&collector, 100, &lost), &[engine.address]);
    let mut client = bed.asking(r#"{"model":"m","stream":true,"messages":[]}"#).await;
    soon(client.read_to("0\r\n\r\n")).await;
    let body: Value = serde_json::from_str(&soon(messages.recv()).await.unwrap().1).unwrap();
    let attributes = body["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["attributes"].as_array().unwrap();
    let value = |key: &str| attributes.iter().find(|told| told["key"] == key).map(|told| &told["value"]);
    assert_eq!(value("gen_ai.request.stream").unwrap()["boolValue"], true, "{body}");
    assert!(value("gen_ai.response.time_to_first_chunk").unwrap()["doubleValue"].as_f64().unwrap() > 0.0, "{body}");
}

#[tokio::test]
async fn a_collector_that_refuses_or_hangs_holds_nobody_up() {
    let engine = Engine::answering(plain("{}")).await;
    let (collector, mut messages) = collector("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    let lost = IntCounter::new("lost", "lost").unwrap();
    let bed = Bed::with(&traces(&collector, 100, &lost), &[engine.address]);
    assert_eq!(status(&bed.asking(ASK).await.message().await.0), 200);
    soon(messages.recv()).await.unwrap();
    until("two lost spans", || lost.get() == 2).await;

    // One that nobody empties: what does not fit is counted, and requests go on.
    let lost = IntCounter::new("lost", "lost").unwrap();
    let (traces, export) = Traces::to("http://10.255.255.1:4318".parse().unwrap(), 100, lost.clone());
    let bed = Bed::with(&Settings { traces: Some(traces), ..calm() }, &[engine.address]);
    let mut client = bed.client().await;
    for _ in 0..2100 {
        client.send(crate::bed::chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    until("lost spans", || lost.get() == 2 * 2100 - 4096).await;
    drop(export);
}
