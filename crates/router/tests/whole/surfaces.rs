//! Every surface, its own way of saying what goes wrong, and its own way of ending a stream.

use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, chunk, header, plain, post, soon, status, until};

const JSON: [&str; 15] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/score",
    "/v1/score",
    "/classify",
    "/pooling",
    "/tokenize",
    "/detokenize",
];

#[tokio::test]
async fn every_surface_passes_byte_for_byte() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            loop {
                let (head, body) = wire.message().await;
                let answer = plain(&body);
                asked.send((head, body)).unwrap();
                wire.send(answer).await;
            }
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    let body = r#"{ "model":"m", "unknown":{"x":[1e5, "é\u00e9"]} ,"n":1}"#;
    for path in JSON {
        let headers = "content-type: application/json\r\nanthropic-version: 2023-06-01\r\nx-data-parallel-rank: 1\r\n\
                       traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n\
                       x-forwarded-for: 1.2.3.4\r\nx-quartermaster-caller: root\r\nx-api-key: secret\r\n";
        client.send(post(path, headers, body)).await;
        let (head, answer) = client.message().await;
        assert_eq!((status(&head), answer.as_str()), (200, body), "{path}");
        let (head, sent) = soon(requests.recv()).await.unwrap();
        assert_eq!(sent, body, "{path}");
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        for (name, want) in [
            ("anthropic-version", Some("2023-06-01")),
            ("x-data-parallel-rank", Some("1")),
            ("traceparent", Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
            ("tracestate", Some("a=b")),
            ("x-forwarded-for", None),
            ("x-quartermaster-caller", None),
            ("x-api-key", None),
        ] {
            assert_eq!(header(&head, name), want, "{path} {name}");
        }
    }
}

#[tokio::test]
async fn a_form_passes_byte_for_byte_but_for_the_model() {
    let engine = Engine::new(|_, mut wire| async move {
        loop {
            let (_, body) = wire.message().await;
            wire.send(plain(&body)).await;
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    let form = |model: &str| {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
             RIFF\r\n--xy\r\n\r\n--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--xyz\r\n\
             Content-Disposition: form-data; name=\"stream\"\r\n\r\nfalse\r\n--xyz--\r\n"
        )
    };
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        for model in ["m", "alias"] {
            client.send(post(path, "content-type: multipart/form-data; boundary=xyz\r\n", &form(model))).await;
            let (head, answer) = client.message().await;
            assert_eq!((status(&head), answer), (200, form("m")), "{path}");
        }
    }
}

#[tokio::test]
async fn each_surface_refuses_in_its_own_shape() {
    let bed = Bed::new(&[]);
    for (path, anthropic) in [
        ("/v1/messages", true),
        ("/v1/messages/count_tokens", true),
        ("/v1/messages/batches", true),
        ("/v1/responses", false),
        ("/v1/embeddings", false),
    ] {
        let mut client = bed.client().await;
        client.send(post(path, "x-request-id: mine\r\n", r#"{"model":"nobody"}"#)).await;
        let (head, body) = client.message().await;
        assert_eq!(status(&head), 404, "{path}");
        assert_eq!(header(&head, "x-request-id"), Some("mine"), "{path}");
        assert_eq!(header(&head, "request-id"), anthropic.then_some("mine"), "{path}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        if anthropic {
            let shape = (&body["type"], &body["error"]["type"], &body["request_id"]);
            assert_eq!(shape, (&"error".into(), &"not_found_error".into(), &"mine".into()), "{path}");
        } else {
            assert_eq!((&body["error"]["code"], &body["type"]), (&"model_not_found".into(), &().into()), "{path}");
        }
    }
}

#[tokio::test]
async fn each_surface_has_its_own_end_of_a_stream() {
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let (delta, stop) = ("event: content_block_delta\ndata: {}\n\n", "event: message_stop\ndata: {}\n\n");
    let completed = "event: response.completed\ndata: {\"response\":{}}\n\n";
    let failed = "event: response.failed\ndata: {}\n\n";
    // The path, what comes before the engine closes the connection, and whether that is all of the stream.
    let cases = [
        ("/v1/messages", format!("{delta}{stop}"), true),
        ("/v1/messages", delta.to_owned(), false),
        ("/v1/messages", "data: [DONE]\n\n".to_owned(), false),
        ("/v1/responses", format!("{delta}{completed}"), true),
        ("/v1/responses", failed.to_owned(), true),
        ("/v1/responses", delta.to_owned(), false),
        ("/v1/responses", stop.to_owned(), false),
        ("/v1/completions", "data: {}\n\ndata: [DONE]\n\n".to_owned(), true),
        ("/v1/completions", stop.to_owned(), false),
    ];
    for (path, events, whole) in cases {
        let answer = format!("{sse}{events}");
        let engine = Engine::new(move |_, mut wire| {
            let answer = answer.clone();
            async move {
                wire.message().await;
                wire.send(answer).await;
            }
        })
        .await;
        let bed = Bed::new(&[engine.address]);
        let mut client = bed.client().await;
        client.send(post(path, "connection: close\r\nx-request-id: mine\r\n", ASK)).await;
        let got = client.read_all().await;
        assert_eq!(got.contains("did not finish"), !whole, "{path} {events:?}: {got}");
        if !whole {
            let last = match path {
                "/v1/messages" => "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
                "/v1/responses" => "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_cut\"",
                _ => "data: {\"error\":{\"message\"",
            };
            assert!(got.contains(&format!("\r\n{last}")), "{path} {events:?}: {got}");
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_and_the_count_is_kept_from_who_has_not_asked() {
    let count = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":13,\"completion_tokens\":4}}\n\n";
    let parts = ["data: {\"choices\":[{}]}\n\n", "data: {\"choices\":[{}]}\n\n", count, "data: [DONE]\n\n"];
    let completed = "event: response.completed\ndata: {}\n\n";
    let (asked, mut requests) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            loop {
                let (head, body) = wire.message().await;
                asked.send(body).unwrap();
                wire.send(STREAM).await;
                for part in parts {
                    let end = part.contains("[DONE]") && head.contains("/v1/responses");
                    wire.send(chunk(if end { completed } else { part })).await;
                    tokio::task::yield_now().await;
                }
                wire.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let (hidden, shown) = (parts.concat().replace(count, ""), parts.concat());
    let responses = parts[..3].concat() + completed;
    let cases = [
        (
            "/v1/chat/completions",
            r#"{"model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            &hidden,
        ),
        (
            "/v1/completions",
            r#"{"model":"alias","stream_options":null,"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage":true},"stream":true}"#,
            &hidden,
        ),
        (
            "/v1/completions",
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            &shown,
        ),
        ("/v1/completions", r#"{"model":"m"}"#, r#"{"model":"m"}"#, &shown),
        ("/v1/responses", r#"{"model":"m","stream":true}"#, r#"{"model":"m","stream":true}"#, &responses),
    ];
    for (path, body, want, events) in cases {
        let mut client = bed.client().await;
        client.send(post(path, "connection: close\r\n", body)).await;
        client.read_to("\r\n\r\n").await;
        let event = |line: &&str| line.starts_with("data") || line.starts_with("event");
        let got: String = client.read_all().await.split("\r\n").filter(event).collect();
        assert_eq!(soon(requests.recv()).await.unwrap(), want);
        assert_eq!(&got, events, "{path} {body}");
    }
    bed.settled().await;
    for (kind, each) in [("prompt", 13.0), ("completion", 4.0), ("cached", 0.0)] {
        let line = format!(r#"quartermaster_router_tokens_total{{kind="{kind}",policy="ml/route",pool="ml/p"}}"#);
        let want = each * cases.len() as f64;
        until(kind, || (bed.figure(&line) - want).abs() < 1e-9).await;
    }
    // One of them is no stream.
    let line = r#"quartermaster_router_token_gap_seconds_count{policy="ml/route",pool="ml/p"}"#;
    assert!((bed.figure(line) - 4.0).abs() < 1e-9, "{}", bed.figure(line));
}

#[tokio::test]
async fn one_model_is_told_and_methods_behave() {
    let bed = Bed::new(&[]);
    let mut client = bed.client().await;
    let model = r#"{"id":"m","object":"model","created":1700000000,"owned_by":"quartermaster","type":"model","display_name":"m","created_at":"2023-11-14T22:13:20Z"}"#;
    let cases = [
        ("GET", "/v1/models/m", 200, model),
        (
            "GET",
            "/v1/models/any%2Dx/y",
            200,
            r#"{"id":"any-x/y","object":"model","created":0,"owned_by":"quartermaster","type":"model","display_name":"any-x/y","created_at":"1970-01-01T00:00:00Z"}"#,
        ),
        ("OPTIONS", "/v1/messages", 204, ""),
    ];
    for (method, path, code, want) in cases {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: router\r\n\r\n")).await;
        let (head, body) = client.message().await;
        assert_eq!((status(&head), body.as_str()), (code, want), "{path}");
        assert_eq!(header(&head, "allow"), (code == 204).then_some("POST, OPTIONS"));
    }
    client.send("GET /v1/models/nobody HTTP/1.1\r\nhost: router\r\n\r\n").await;
    let (head, body) = client.message().await;
    assert!(status(&head) == 404 && body.contains("model_not_found"), "{body}");
    client.send("HEAD /v1/models/m HTTP/1.1\r\nhost: router\r\n\r\n").await;
    let head = client.read_to("\r\n\r\n").await;
    assert_eq!((status(&head), header(&head, "content-length")), (200, Some(&*model.len().to_string())));
    // What follows is the next answer, not a body.
    client.send("HEAD /v1/completions HTTP/1.1\r\nhost: router\r\n\r\n").await;
    assert_eq!(status(&client.read_to("\r\n\r\n").await), 405);
}
