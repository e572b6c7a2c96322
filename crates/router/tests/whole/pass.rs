//! What passes, and how.

use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, chat, chunk, header, plain, post, soon, status};

#[tokio::test]
async fn a_plain_answer_passes_byte_for_byte() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            loop {
                asked.send(wire.message().await).unwrap();
                let answer = "HTTP/1.1 201 Whatever\r\nserver: uvicorn\r\nconnection: keep-alive, x-inner\r\nx-inner: 1\r\n\
                              x-request-id: engine\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
                wire.send(answer).await;
            }
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    let headers = "authorization: Bearer secret\r\nx-request-id: mine\r\ncontent-type: application/json\r\n\
                   connection: x-hop\r\nx-hop: 1\r\ntraceparent: 00-aa-bb-01\r\n";
    for _ in 0..2 {
        client.send(post("/v1/completions?trace=1", headers, ASK)).await;
        let (head, body) = client.message().await;
        assert_eq!((status(&head), body.as_str()), (201, "{\"a\":1}"));
        assert_eq!((header(&head, "x-request-id"), header(&head, "server")), (Some("mine"), Some("uvicorn")));
        assert_eq!((header(&head, "x-inner"), header(&head, "connection")), (None, None));
        let (head, body) = soon(requests.recv()).await.unwrap();
        let want = format!(
            "POST /v1/completions?trace=1 HTTP/1.1\r\nhost: {}\r\nx-request-id: mine\r\ncontent-length: {}\r\n\
             content-type: application/json\r\ntraceparent: 00-aa-bb-01\r\n\r\n",
            engine.address,
            ASK.len()
        );
        assert_eq!((head, body.as_str()), (want, ASK));
    }
    assert_eq!(engine.connections(), 1, "the connection is used again");
    bed.settled().await;
    let line = r#"quartermaster_router_requests_total{code="2xx",policy="ml/route",pool="ml/p",surface="completions"}"#;
    assert!((bed.figure(line) - 2.0).abs() < 1e-9);
}

#[tokio::test]
async fn only_the_model_is_rewritten() {
    let engine = Engine::new(|_, mut wire| async move {
        let (_, body) = wire.message().await;
        wire.send(plain(&body)).await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    for (body, want) in [
        (r#"{ "model" : "alias", "x":[1.0, "é\u00e9"] }"#, r#"{ "model" : "m", "x":[1.0, "é\u00e9"] }"#),
        (r#"{"messages":[{"model":"any-x"}],"model":"any-x"}"#, r#"{"messages":[{"model":"any-x"}],"model":"m"}"#),
        (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
    ] {
        assert_eq!(bed.asking(body).await.message().await.1, want);
    }
}

#[tokio::test]
async fn a_large_body_passes_in_either_framing() {
    let engine = Engine::new(|_, mut wire| async move {
        loop {
            let (_, body) = wire.message().await;
            wire.send(plain(&body)).await;
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "0123456789".repeat(300_000));
    let mut client = bed.asking(&body).await;
    assert!(client.message().await.1 == body);
    client.send("POST /v1/completions HTTP/1.1\r\nhost: router\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for part in body.as_bytes().chunks(70_000) {
        client.send(chunk(std::str::from_utf8(part).unwrap())).await;
    }
    client.send("0\r\n\r\n").await;
    assert!(client.message().await.1 == body);
}

#[tokio::test]
async fn tokens_leave_as_they_arrive() {
    let (go, going) = async_gate();
    let engine = Engine::new(move |_, mut wire| {
        let going = going.clone();
        async move {
            wire.message().await;
            wire.send(STREAM).await;
            for token in ["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n"] {
                going.lock().await.recv().await.unwrap();
                wire.send(chunk(token)).await;
            }
            wire.send("0\r\n\r\n").await;
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.asking(r#"{"model":"m","stream":true}"#).await;
    // The head comes with the first token: until then another engine could still be asked.
    go.send(()).unwrap();
    let head = client.read_to("\r\n\r\n").await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    let first = chunk("data: a\n\n");
    assert_eq!(client.read_exactly(first.len()).await, first.as_bytes());
    // Each token is read before the engine may send the next one, so none waits for another.
    for token in ["data: b\n\n", "data: [DONE]\n\n"] {
        go.send(()).unwrap();
        let want = chunk(token);
        assert_eq!(client.read_exactly(want.len()).await, want.as_bytes());
    }
    assert_eq!(client.read_to("\r\n\r\n").await, "0\r\n\r\n");
    bed.settled().await;
    let line = r#"quartermaster_router_first_token_seconds_count{policy="ml/route",pool="ml/p"}"#;
    assert!((bed.figure(line) - 1.0).abs() < 1e-9);
}

type Gate = std::sync::Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>>;

fn async_gate() -> (mpsc::UnboundedSender<()>, Gate) {
    let (go, going) = mpsc::unbounded_channel();
    (go, std::sync::Arc::new(tokio::sync::Mutex::new(going)))
}

#[tokio::test]
async fn chunks_that_come_together_leave_as_one() {
    let burst: String = ["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n"].map(chunk).concat();
    let engine = Engine::answering(format!("{STREAM}{burst}0\r\nx-trailer: 1\r\n\r\n")).await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    for _ in 0..3 {
        client.send(chat(ASK)).await;
        client.read_to("\r\n\r\n").await;
        let want = chunk("data: a\n\ndata: b\n\ndata: [DONE]\n\n") + "0\r\n\r\n";
        assert_eq!(client.read_exactly(want.len()).await, want.as_bytes());
    }
    assert_eq!(engine.connections(), 1);
}

#[tokio::test]
async fn any_split_of_an_answer_gives_the_client_the_same() {
    let plain = plain("{\"a\":1}");
    let burst: String = ["data: a\n\n", "data: [DONE]\n\n"].map(chunk).concat();
    let stream = format!("{STREAM}{burst}0\r\n\r\n");
    let closed = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello".to_owned();
    for (answer, want) in [(plain, "{\"a\":1}"), (stream, "data: a\n\ndata: [DONE]\n\n"), (closed, "hello")] {
        for cut in 1..answer.len() {
            let halves = answer.split_at(cut);
            let halves = (halves.0.to_owned(), halves.1.to_owned());
            let engine = Engine::new(move |_, mut wire| {
                let halves = halves.clone();
                async move {
                    wire.message().await;
                    wire.send(halves.0).await;
                    tokio::task::yield_now().await;
                    wire.send(halves.1).await;
                }
            })
            .await;
            let bed = Bed::new(&[engine.address]);
            let mut client = bed.client().await;
            client.send(post("/v1/completions", "connection: close\r\n", ASK)).await;
            let head = client.read_to("\r\n\r\n").await;
            let body = client.read_all().await;
            let body = if header(&head, "transfer-encoding").is_some() { dechunked(&body) } else { body };
            assert_eq!((status(&head), body.as_str()), (200, want), "cut at {cut}");
        }
    }
}

/// The payload of a whole chunked body.
fn dechunked(mut body: &str) -> String {
    let mut payload = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk size");
        let size = usize::from_str_radix(size, 16).unwrap();
        payload.push_str(&rest[..size]);
        body = &rest[size + 2..];
        if size == 0 {
            assert!(body.is_empty(), "{body:?}");
            return payload;
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_whole_request_passes() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.read_to("\r\n\r\n").await;
        wire.send("HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno").await;
        // Nothing more is read, so the rest of the request stays in the sockets until the router gives it up.
        let _ = wire.stream.readable().await;
        std::future::pending::<()>().await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(12 << 20));
    let mut client = bed.asking(&body).await;
    let (head, answer) = client.message().await;
    assert!(status(&head) == 413 && answer.contains(r#""message":"no""#), "{answer}");
    // A connection in the middle of a request cannot serve another one.
    client.send(chat(ASK)).await;
    client.message().await;
    assert_eq!(engine.connections(), 2);
}

#[tokio::test]
async fn the_models_are_listed() {
    let bed = Bed::new(&[]);
    let mut client = bed.client().await;
    client.send("GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n").await;
    let (head, body) = client.message().await;
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["alias", "cold", "m"]);
    assert_eq!(list["data"][0]["owned_by"], "quartermaster");
    assert_eq!(list["data"][0]["created"], 1_700_000_000);
}
