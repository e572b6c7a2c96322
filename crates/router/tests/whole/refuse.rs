//! What is refused, and that it hurts nobody else.

use std::time::Duration;

use router::live::Live;
use router::settings::Settings;

use crate::bed::{ASK, Bed, Engine, Wire, calm, chat, chunk, header, plain, post, status};

fn error(body: &str) -> (String, String, Option<String>) {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{body:?}: {e}"));
    let text = |key: &str| body["error"][key].as_str().map(str::to_owned);
    assert!(!text("message").unwrap().is_empty());
    (text("type").unwrap(), text("code").unwrap(), text("param"))
}

#[tokio::test]
async fn a_caller_s_mistakes_have_their_own_answers() {
    let engine = Engine::answering(plain("{}")).await;
    let settings = Settings { max_body: 1000, ..calm() };
    let bed = Bed::with(&settings, &[engine.address]);
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(1000));
    let cases = [
        (chat("{\"model\":"), 400, "invalid_json", None),
        (chat("[]"), 400, "invalid_json", None),
        (chat(""), 400, "invalid_json", None),
        (chat(r#"{"model":"m","model":"m"}"#), 400, "invalid_value", Some("model")),
        (chat(r#"{"model":"m","n":1000000000}"#), 400, "invalid_value", Some("n")),
        (chat(r#"{"model":"m","max_tokens":-1}"#), 400, "invalid_value", Some("max_tokens")),
        (chat(r#"{"model":"m","stream":"true"}"#), 400, "invalid_value", Some("stream")),
        (chat("\u{feff}{}"), 400, "invalid_json", None),
        (post("/v1/audio/transcriptions", "", ASK), 400, "invalid_form", None),
        (
            post("/v1/audio/translations", "content-type: multipart/form-data; boundary=b\r\n", "--b--\r\n"),
            400,
            "missing_model",
            Some("model"),
        ),
        (chat("{}"), 400, "missing_model", Some("model")),
        (chat(r#"{"model":3}"#), 400, "missing_model", Some("model")),
        (chat(r#"{"model":"other"}"#), 404, "model_not_found", Some("model")),
        (chat(r#"{"model":"M"}"#), 404, "model_not_found", Some("model")),
        (chat(&long), 413, "body_too_large", None),
        (post("/v1/embedding", "", ASK), 404, "unknown_path", None),
        (post("/sleep", "", ASK), 404, "unknown_path", None),
        (post("/v1/responses/resp_1/cancel", "", ""), 404, "not_routed", None),
        (post("/v1/load_lora_adapter", "", ASK), 404, "unknown_path", None),
        (post("/", "", ASK), 404, "unknown_path", None),
        (post("/v1/models", "", ASK), 405, "method_not_allowed", None),
        (post("/v1/completions", "content-encoding: gzip\r\n", ASK), 415, "encoded_body", None),
        (chat(r#"{"model":"cold"}"#), 503, "no_replica_ready", None),
    ];
    for (request, code, word, param) in cases {
        let mut client = bed.client().await;
        client.send(&request).await;
        let (head, body) = client.message().await;
        let kind = if code < 500 { "invalid_request_error" } else { "server_error" };
        assert_eq!(status(&head), code, "{request}");
        assert_eq!(error(&body), (kind.to_owned(), word.to_owned(), param.map(str::to_owned)), "{request}");
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        assert_eq!(header(&head, "x-request-id").map(str::len), Some(32));
        assert_eq!(header(&head, "allow"), (code == 405).then_some("GET, HEAD, OPTIONS"));
        assert_eq!(header(&head, "retry-after"), (code == 503).then_some("5"));
    }
    assert_eq!(engine.connections(), 0, "none of it reached the engine");
    let message = bed.asking(r#"{"model":"cold"}"#).await.message().await.1;
    assert!(message.contains("pool ml/empty has no replicas"), "{message}");
    let mut client = bed.client().await;
    client.send("GET /v1/completions HTTP/1.1\r\nhost: router\r\n\r\n").await;
    let (head, _) = client.message().await;
    assert_eq!((status(&head), header(&head, "allow")), (405, Some("POST, OPTIONS")));
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    for (body, code) in [("{", 400), (ASK, 200), (r#"{"model":"x"}"#, 404), (ASK, 200)] {
        client.send(chat(body)).await;
        assert_eq!(status(&client.message().await.0), code);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let bed = Bed::with(&Settings { max_body: 1000, ..calm() }, &[]);
    // Announced: refused before a byte of it was sent.
    let mut client = bed.client().await;
    client.send("POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 10000000000\r\n\r\n").await;
    assert_eq!(status(&client.message().await.0), 413);
    assert_eq!(client.read_all().await, "", "the connection is closed");
    // Chunked: refused as soon as it is over the limit, with no end in sight.
    let mut client = bed.client().await;
    client.send("POST /v1/completions HTTP/1.1\r\nhost: router\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send(chunk(&"x".repeat(1001))).await;
    assert_eq!(status(&client.message().await.0), 413);
}

#[tokio::test]
async fn a_client_that_writes_first_and_reads_later_still_hears_why() {
    let bed = Bed::with(&Settings { max_body: 1000, ..calm() }, &[]);
    let mut client = bed.asking(&"x".repeat(20 << 20)).await;
    assert_eq!(status(&client.message().await.0), 413);
}

#[tokio::test]
async fn slow_clients_are_closed() {
    let timeout = Duration::from_millis(200);
    let settings = Settings { header_timeout: timeout, body_timeout: timeout, ..calm() };
    let bed = Bed::with(&settings, &[]);
    for start in ["", "POST /v1/comp", "POST /v1/completions HTTP/1.1\r\nhost: router\r\nx: "] {
        let mut client = bed.client().await;
        client.send(start).await;
        assert_eq!(client.read_all().await, "", "{start:?}");
    }
    let mut client = bed.client().await;
    client.send("POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 10\r\n\r\nabc").await;
    let (head, body) = client.message().await;
    assert_eq!((status(&head), error(&body).1.as_str()), (408, "body_timeout"));
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = Bed::with(&Settings { max_connections: 1, ..calm() }, &[engine.address]);
    let mut first = bed.asking(ASK).await;
    assert_eq!(status(&first.message().await.0), 200);
    let mut second = bed.client().await;
    let (head, body) = second.message().await;
    assert_eq!((status(&head), error(&body).1.as_str()), (503, "too_many_connections"));
    assert_eq!(header(&head, "retry-after"), Some("1"));
    first.send(chat(ASK)).await;
    assert_eq!(status(&first.message().await.0), 200);
}

#[tokio::test]
async fn before_the_cluster_was_read_every_model_is_unknown_for_now() {
    let bed = Bed::new(&[]);
    bed.live.store(std::sync::Arc::new(Live::unknown()));
    for request in [chat(ASK), "GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n".to_owned()] {
        let mut client = bed.client().await;
        client.send(request).await;
        let (head, body) = client.message().await;
        assert_eq!((status(&head), error(&body).1.as_str()), (503, "router_starting"));
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let bed = Bed::new(&[]);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, code) in [("nonsense\r\n\r\n", 400), ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400), (&long, 431)] {
        let mut client: Wire = bed.client().await;
        client.send(bytes).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), code, "{:?}", &bytes[..20.min(bytes.len())]);
    }
}
