//! Clients of HTTP/1.1 and 1.0: what they may send and how, and that what cannot be read in one way only is refused
//! (RC-01, RC-04).

use std::time::Duration;

use router::settings::Settings;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, Wire, calm, chat, chunk, header, plain, soon, status, until};

const MODELS: &str = "GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n";

/// An engine that answers with the body that it was asked with.
async fn echo() -> Engine {
    Engine::new(|_, mut wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            wire.send(plain(&body)).await;
        }
    })
    .await
}

fn body(number: usize) -> String {
    format!(r#"{{"model":"m","number":{number}}}"#)
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_order() {
    let engine = echo().await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    let all: String =
        (0..20).map(|number| if number % 3 == 0 { MODELS.to_owned() } else { chat(&body(number)) }).collect();
    client.send(all).await;
    for number in 0..20 {
        let (head, got) = client.message().await;
        assert_eq!(status(&head), 200);
        assert!(if number % 3 == 0 { got.contains("\"list\"") } else { got == body(number) }, "{number}: {got}");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let engine = echo().await;
    let bed = Bed::new(&[engine.address]);
    let chunked = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: router\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\nx: y\r\n\r\n",
        chunk(&body(1)[..5]),
        chunk(&body(1)[5..])
    );
    let mut client = bed.client().await;
    for request in [chat(&body(1)), chunked] {
        for byte in request.bytes() {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.message().await.1, body(1));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it_only_if_its_body_is_wanted() {
    let engine = echo().await;
    let bed = Bed::with(&Settings { max_body: 1000, ..calm() }, &[engine.address]);
    let head = |length: usize, path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut client = bed.client().await;
    for _ in 0..2 {
        client.send(head(ASK.len(), "/v1/completions")).await;
        assert_eq!(client.read_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(ASK).await;
        assert_eq!(client.message().await.1, ASK);
    }
    for (length, path, code) in [(5000, "/v1/completions", 413), (5, "/nowhere", 404)] {
        let mut client = bed.client().await;
        client.send(head(length, path)).await;
        let (head, _) = client.message().await;
        assert_eq!((status(&head), header(&head, "connection")), (code, Some("close")));
        assert_eq!(client.read_all().await, "");
    }
    // The body came along all the same, so nobody waits for a word.
    let mut client = bed.client().await;
    client.send(head(ASK.len(), "/v1/completions") + ASK).await;
    assert_eq!(status(&client.message().await.0), 200);
}

#[tokio::test]
async fn an_old_client_gets_no_chunks() {
    let engine = Engine::answering(format!("{STREAM}{}0\r\n\r\n", chunk("data: [DONE]\n\n"))).await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    client.send(format!("POST /v1/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{ASK}", ASK.len())).await;
    let head = client.read_to("\r\n\r\n").await;
    assert_eq!((header(&head, "transfer-encoding"), header(&head, "connection")), (None, Some("close")));
    assert_eq!(client.read_all().await, "data: [DONE]\n\n");

    let mut client = bed.client().await;
    client.send("GET /v1/models HTTP/1.0\r\n\r\n").await;
    assert_eq!(header(&client.message().await.0, "connection"), Some("close"));
    assert_eq!(client.read_all().await, "");

    let mut client = bed.client().await;
    for _ in 0..2 {
        client.send("GET /v1/models HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!(header(&client.message().await.0, "connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn an_answer_without_a_length_never_looks_complete_to_an_old_client() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.message().await;
        wire.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk("half"))).await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    client.send(format!("POST /v1/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{ASK}", ASK.len())).await;
    let error = loop {
        let mut some = [0; 1000];
        match soon(tokio::io::AsyncReadExt::read(&mut client.stream, &mut some)).await {
            Ok(0) => panic!("an orderly end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_head_alone_is_answered_by_a_head_alone() {
    let bed = Bed::new(&[]);
    let mut client = bed.client().await;
    client.send(format!("HEAD /nowhere HTTP/1.1\r\nhost: router\r\n\r\n{MODELS}")).await;
    let head = client.read_to("\r\n\r\n").await;
    assert_eq!(status(&head), 404);
    assert!(header(&head, "content-length").is_some_and(|length| length != "0"));
    assert_eq!(status(&client.message().await.0), 200, "the next answer follows at once");
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let engine = echo().await;
    let bed = Bed::new(&[engine.address]);
    let line = "POST /v1/completions HTTP/1.1\r\nhost: router\r\n";
    let smuggled = chat(&body(9));
    let many = "a: b\r\n".repeat(100);
    let cases = [
        (format!("{line}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "both_lengths"),
        (format!("{line}content-length: 5\r\ncontent-length: 5\r\n\r\n"), 400, "repeated_length"),
        (format!("{line}content-length: 5, 5\r\n\r\n"), 400, "bad_length"),
        (format!("{line}transfer-encoding: gzip, chunked\r\n\r\n"), 400, "unknown_transfer_encoding"),
        (format!("{line}transfer-encoding : chunked\r\n\r\n0\r\n\r\n"), 400, "bad_header"),
        (format!("{line}x: a\r\n b\r\n\r\n"), 400, "folded_header"),
        (format!("{line}x: a\n\r\n"), 400, "bare_line_feed"),
        (format!("{line}x: a\rb\r\n\r\n"), 400, "bad_header"),
        (format!("{line}x: \0\r\n\r\n"), 400, "bad_header"),
        (format!("{line}host: router\r\n\r\n"), 400, "repeated_host"),
        ("POST /v1/completions HTTP/1.1\r\n\r\n".to_owned(), 400, "missing_host"),
        ("GET / HTTP/3.0\r\nhost: router\r\n\r\n".to_owned(), 505, "bad_version"),
        ("CONNECT router:80 HTTP/1.1\r\nhost: router\r\n\r\n".to_owned(), 400, "bad_target"),
        (format!("{line}{many}\r\n"), 431, "too_many_headers"),
        (format!("{line}x: {}\r\n\r\n", "x".repeat(70_000)), 431, "head_too_long"),
        (format!("GET /{} HTTP/1.1\r\nhost: router\r\n\r\n", "x".repeat(9000)), 414, "target_too_long"),
        (format!("{line}expect: a-miracle\r\n\r\n"), 417, "unknown_expectation"),
        (format!("{line}transfer-encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n"), 400, "broken_body"),
        (format!("{line}transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"), 400, "broken_body"),
        (format!("{line}transfer-encoding: chunked\r\n\r\n5\r\nhelloX"), 400, "broken_body"),
        (format!("{line}transfer-encoding: chunked\r\n\r\n-1\r\n"), 400, "broken_body"),
        (format!("{line}transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"), 400, "broken_body"),
        (format!("{line}transfer-encoding: chunked\r\n\r\n1;{}\r\n", "x".repeat(300)), 400, "broken_body"),
    ];
    for (request, code, word) in cases {
        let name = &request[..request.len().min(120)];
        let mut client = bed.client().await;
        client.send(format!("{request}{smuggled}")).await;
        let (head, body) = client.message().await;
        assert_eq!((status(&head), header(&head, "connection")), (code, Some("close")), "{name:?}");
        assert!(body.contains(&format!("\"code\":\"{word}\"")), "{name:?}: {body}");
        assert_eq!(client.read_all().await, "", "{name:?}: nothing after it is answered");
        let counted = format!(r#"quartermaster_router_refusals_total{{policy="",pool="",reason="{word}",surface="#);
        let page = prometheus::TextEncoder::new().encode_to_string(&bed.metrics.registry.gather()).unwrap();
        assert!(page.contains(&counted), "{word}");
    }
    assert_eq!(engine.connections(), 0, "none of it reached the engine");
}

#[tokio::test]
async fn each_deadline_has_its_name() {
    let short = Duration::from_millis(150);
    let long = calm();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 10\r\n\r\n";
    let cases = [
        (Settings { opening_timeout: short, ..long.clone() }, String::new(), "opening_timeout", 0),
        (Settings { header_timeout: short, ..long.clone() }, head[..40].to_owned(), "header_timeout", 0),
        (Settings { keep_alive_timeout: short, ..long.clone() }, MODELS.to_owned(), "keep_alive_timeout", 200),
        (Settings { body_timeout: short, ..long.clone() }, format!("{head}abc"), "body_timeout", 408),
        (Settings { body_grace: short, ..long.clone() }, format!("{head}abc"), "body_too_slow", 408),
    ];
    for (settings, sent, name, code) in cases {
        let bed = Bed::with(&settings, &[]);
        let mut client = bed.client().await;
        client.send(sent).await;
        if code > 0 {
            assert_eq!(status(&client.message().await.0), code, "{name}");
        }
        assert_eq!(client.read_all().await, "", "{name}");
        let counted = if code == 408 {
            format!(r#"quartermaster_router_refusals_total{{policy="",pool="",reason="{name}",surface="completions"}}"#)
        } else {
            format!(r#"quartermaster_router_closed_connections_total{{reason="{name}"}}"#)
        };
        assert!((bed.figure(&counted) - 1.0).abs() < 1e-9, "{name}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_holds_up_its_engine_until_then() {
    let (wrote, mut written) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let wrote = wrote.clone();
        async move {
            wire.message().await;
            wire.send(STREAM).await;
            let event = chunk(&format!("data: {}\n\n", "x".repeat(60_000)));
            let mut total = 0;
            while wire.stream.write_all(event.as_bytes()).await.is_ok() {
                total += event.len();
            }
            wrote.send(total).unwrap();
        }
    })
    .await;
    let settings = Settings { write_timeout: Duration::from_millis(500), ..calm() };
    let bed = Bed::with(&settings, &[engine.address]);
    let client = bed.asking(ASK).await;
    let total = soon(written.recv()).await.unwrap();
    // What both pairs of sockets hold, which the kernel grows to some megabytes; not what an engine could write in that time.
    assert!(total < 64 << 20, "{total} bytes");
    let counted = r#"quartermaster_router_closed_connections_total{reason="write_timeout"}"#;
    until("counted", || (bed.figure(counted) - 1.0).abs() < 1e-9).await;
    drop(client);
    bed.settled().await;
}

#[tokio::test]
async fn one_request_too_many_is_refused_before_its_body_is_read() {
    let (go, wait) = (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
    let (gone, came) = (go.clone(), wait.clone());
    let engine = Engine::new(move |_, mut wire| {
        let (go, wait) = (go.clone(), wait.clone());
        async move {
            while wire.asked().await {
                wait.notify_one();
                go.notified().await;
                wire.send(plain("{}")).await;
            }
        }
    })
    .await;
    let bed = Bed::with(&Settings { max_in_flight: 1, ..calm() }, &[engine.address]);
    let mut first = bed.asking(ASK).await;
    soon(came.notified()).await;
    let mut second = bed.client().await;
    second.send("POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 1000\r\n\r\n").await;
    let (head, body) = second.message().await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("1")));
    assert!(body.contains("too_many_requests_in_flight"), "{body}");
    gone.notify_one();
    assert_eq!(status(&first.message().await.0), 200);
    gone.notify_one();
    assert_eq!(status(&bed.asking(ASK).await.message().await.0), 200);
}

#[tokio::test]
async fn bodies_together_have_a_limit() {
    let engine = echo().await;
    let bed = Bed::with(&Settings { max_held_bytes: 100_000, ..calm() }, &[engine.address]);
    let head = "POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 90000\r\n\r\n";
    let mut slow: Vec<Wire> = Vec::new();
    for _ in 0..3 {
        let mut client = bed.client().await;
        client.send(format!("{head}{}", "x".repeat(30_000))).await;
        slow.push(client);
    }
    // Three times 30,000 bytes fit; more do not, for whoever brings them.
    let mut refused = bed.client().await;
    refused.send(format!("{head}{}", "x".repeat(40_000))).await;
    let (head, body) = refused.message().await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("1")));
    assert!(body.contains("too_many_body_bytes"), "{body}");
    drop(slow);
    until("what is gone counts no more", || bed.figure("quartermaster_router_connections ") < 1.5).await;
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(bed.asking(&long).await.message().await.1, long);
}

#[tokio::test]
async fn half_a_head_a_half_body_or_a_slow_reader_does_not_hold_up_the_end() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.message().await;
        wire.send(STREAM).await;
        let event = chunk(&format!("data: {}\n\n", "x".repeat(60_000)));
        while wire.stream.write_all(event.as_bytes()).await.is_ok() {}
    })
    .await;
    let metrics = router::metrics::Metrics::new().unwrap();
    let live = router::live::Live::new(crate::bed::table(&[engine.address], &router_core::Table::default()), &metrics)
        .shared();
    let listen = "127.0.0.1:0".parse().unwrap();
    let drain = Duration::from_millis(300);
    let workers = router::workers::Workers::start(listen, 1, &calm(), &live, &metrics, drain).unwrap();
    let mut clients = Vec::new();
    let asking = chat(ASK);
    for sent in [&asking, "", "POST /v1", "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc"] {
        let mut client = Wire::new(soon(tokio::net::TcpStream::connect(workers.address())).await.unwrap());
        client.send(sent).await;
        clients.push(client);
    }
    let begin = tokio::time::Instant::now();
    workers.close();
    soon(tokio::task::spawn_blocking(move || workers.join())).await.unwrap();
    assert!(begin.elapsed() < drain + Duration::from_secs(1), "{:?}", begin.elapsed());
    for client in &mut clients {
        client.read_all().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_behind_refuses_a_share_at_once() {
    let engine = Engine::answering(plain("{}")).await;
    // Any lag is too much, so the share that is refused grows with each look.
    let bed = Bed::with(&Settings { max_lag: Duration::from_nanos(1), ..calm() }, &[engine.address]);
    let mut client = bed.client().await;
    let (mut answered, mut refused) = (0, 0);
    let refusal = soon(async {
        loop {
            client.send(chat(ASK)).await;
            let (head, body) = client.message().await;
            if status(&head) == 503 {
                refused += 1;
                if refused == 20 {
                    return (head, body);
                }
            } else {
                answered += 1;
            }
        }
    })
    .await;
    assert_eq!(header(&refusal.0, "retry-after"), Some("1"));
    assert!(refusal.1.contains("router_overloaded"), "{}", refusal.1);
    assert!(answered > 0, "the first is taken");
}
