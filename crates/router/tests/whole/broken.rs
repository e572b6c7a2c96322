//! Engines that break off, fall silent or speak nonsense, and clients that leave.

use std::time::Duration;

use router::settings::Settings;
use tokio::sync::mpsc;

use crate::bed::{ASK, Bed, Engine, STREAM, calm, chunk, plain, post, soon, status, until};

const EVENTS: [&str; 3] = ["data: {\"a\":1}\n\n", "data: {\"b\":2}\n\n", "data: [DONE]\n\n"];

/// How an engine ends before its answer does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Close,
    Reset,
}

/// What a client gets of an answer that an engine ends after so many bytes.
async fn cut(answer: &str, after: usize, end: End) -> (String, Bed) {
    let part = answer[..after].to_owned();
    let engine = Engine::new(move |_, mut wire| {
        let part = part.clone();
        async move {
            wire.message().await;
            wire.send(part).await;
            if end == End::Reset {
                wire.reset();
            }
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    client.send(post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
    (client.read_all().await, bed)
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_ends_in_an_error_event() {
    let body: String = EVENTS.map(chunk).concat() + "0\r\n\r\n";
    let answer = format!("{STREAM}{body}");
    let begun = STREAM.len() + chunk(EVENTS[0]).len() - 2;
    for after in 0..answer.len() {
        let end = if after % 2 == 0 { End::Close } else { End::Reset };
        let (got, bed) = cut(&answer, after, end).await;
        let (head, got) = got.split_once("\r\n\r\n").unwrap();
        if status(head) == 502 {
            // Before the first event the client has nothing, so it is told in the plainest way. A reset may overtake bytes.
            assert!(after < begun || end == End::Reset, "cut after {after}: {got:?}");
            assert!(got.contains("\"code\":\"upstream_broke\""), "cut after {after}: {got:?}");
            bed.settled().await;
            continue;
        }
        assert!(after >= begun, "cut after {after}: {got:?}");
        assert!(got.ends_with("\n\n\r\n0\r\n\r\n"), "cut after {after}: {got:?}");
        let events: Vec<&str> = got.lines().filter(|line| line.starts_with("data: ")).collect();
        let (last, whole) = events.split_last().unwrap();
        if *last == EVENTS[2].trim_end() {
            // The client has the whole answer; how its framing ends says nothing.
            assert_eq!(events, EVENTS.map(str::trim_end), "cut after {after}");
            bed.settled().await;
            continue;
        }
        assert!(last.contains("\"code\":\"upstream_cut\""), "cut after {after}: {got:?}");
        for (event, want) in whole.iter().zip(EVENTS) {
            assert_eq!(*event, want.trim_end(), "cut after {after}");
        }
        bed.settled().await;
    }
}

#[tokio::test]
async fn a_cut_never_looks_like_an_end() {
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let until_close = format!("{sse}{}", EVENTS[..2].concat());
    let whole = format!("{sse}{}", EVENTS.concat());
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk("hello"));
    let long = plain(&format!("{}hello", " ".repeat(69_995)));
    // The answer, how much of it comes, how it ends; then what the client's bytes must and must not end with.
    let cases = [
        (&until_close, until_close.len(), End::Close, "0\r\n\r\n", "upstream_cut"),
        (&until_close, until_close.len(), End::Reset, "0\r\n\r\n", "upstream_cut"),
        (&whole, whole.len(), End::Close, "data: [DONE]\n\n\r\n0\r\n\r\n", "[DONE]"),
        (&chunked, chunked.len(), End::Close, "hello\r\n", "hello"),
        (&chunked, chunked.len(), End::Reset, "", ""),
        (&long, long.len() - 1, End::Close, "hell", "content-length: 70000"),
    ];
    for (answer, after, end, tail, holds) in cases {
        let (got, _bed) = cut(answer, after, end).await;
        assert!(got.ends_with(tail) && got.contains(holds), "{end:?} {answer:?} gave {got:?}");
        if answer == &chunked {
            assert!(!got.ends_with("0\r\n\r\n"), "{got:?}");
        }
    }
    // A short answer is waited for, so its client need not be told by a cut.
    let short = plain("hello");
    for end in [End::Close, End::Reset] {
        for after in 0..short.len() {
            let (got, _bed) = cut(&short, after, end).await;
            assert_eq!(status(&got), 502, "{end:?} after {after}: {got:?}");
        }
    }
}

#[tokio::test]
async fn nonsense_from_an_engine_is_a_502_and_is_not_used_again() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let cases = [
        "garbage\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(20),
        format!("{ok}content-length: 1\r\ncontent-length: 1\r\n\r\nx"),
        format!("{ok}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{ok}content-length: one\r\n\r\nx"),
        format!("{ok}transfer-encoding: gzip\r\n\r\nx"),
        format!("{ok}x: y\r\n folded\r\n\r\n"),
        format!("{ok}x: {}\r\n\r\n", "y".repeat(100_000)),
        "HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\nx".to_owned(),
        "HTTP/1.1 200 OK\n\n".to_owned(),
    ];
    for answer in cases {
        let name = answer[..answer.len().min(70)].to_owned();
        let engine = Engine::answering(answer).await;
        let bed = Bed::new(&[engine.address]);
        let mut client = bed.asking(ASK).await;
        for connections in 1..=2 {
            let (head, body) = client.message().await;
            assert_eq!(status(&head), 502, "{name:?}");
            assert!(body.contains("upstream_malformed"), "{name:?}: {body}");
            assert_eq!(engine.connections(), connections, "{name:?}");
            client.send(crate::bed::chat(ASK)).await;
        }
    }
}

#[tokio::test]
async fn bytes_after_an_answer_are_never_another_s() {
    let engine = Engine::answering(format!("{}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", plain("good"))).await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    for asked in 1..=5 {
        client.send(crate::bed::chat(ASK)).await;
        assert_eq!(client.message().await.1, "good");
        assert_eq!(engine.connections(), asked);
    }
}

#[tokio::test]
async fn a_silent_engine_is_given_up() {
    let timeout = Duration::from_millis(200);
    let settings = Settings { first_byte_timeout: timeout, silence_timeout: timeout, ..calm() };
    let (gone, mut left) = mpsc::unbounded_channel();
    let engine = Engine::new(move |number, mut wire| {
        let gone = gone.clone();
        async move {
            wire.message().await;
            match number {
                0 => {}
                1 => wire.send(format!("{STREAM}{}", chunk(EVENTS[0]))).await,
                _ => wire.send("HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\nhel").await,
            }
            wire.read_all().await;
            gone.send(()).unwrap();
        }
    })
    .await;
    let bed = Bed::with(&settings, &[engine.address]);
    let (head, body) = bed.asking(ASK).await.message().await;
    assert_eq!(status(&head), 504);
    assert!(body.contains("upstream_timeout"), "{body}");
    let got = bed.asking(ASK).await.read_to("0\r\n\r\n").await;
    assert!(got.contains(EVENTS[0]) && got.contains("upstream_timeout"), "{got:?}");
    let got = bed.asking(ASK).await.read_all().await;
    assert!(got.ends_with("\r\n\r\nhel"), "{got:?}");
    for _ in 0..3 {
        soon(left.recv()).await.unwrap();
    }
    bed.settled().await;
    assert!(
        (bed.figure(r#"quartermaster_router_cut_answers_total{policy="ml/route",pool="ml/p"}"#) - 2.0).abs() < 1e-9
    );
}

#[tokio::test]
async fn a_stream_outlives_the_allowed_silence_while_it_speaks() {
    let settings = Settings { silence_timeout: Duration::from_millis(300), ..calm() };
    let engine = Engine::new(move |_, mut wire| async move {
        wire.message().await;
        wire.send(STREAM).await;
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..15 {
            beat.tick().await;
            wire.send(chunk(EVENTS[0])).await;
        }
        wire.send(chunk(EVENTS[2]) + "0\r\n\r\n").await;
    })
    .await;
    let bed = Bed::with(&settings, &[engine.address]);
    let got = bed.asking(ASK).await.read_to("0\r\n\r\n").await;
    assert_eq!(got.matches(EVENTS[0]).count(), 15);
    assert!(!got.contains("error"), "{got:?}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_engine_s_work() {
    // What the engine has said by then: nothing, the head of a stream, some of a plain answer.
    let said = [
        "".to_owned(),
        format!("{STREAM}{}", chunk(EVENTS[0])),
        "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\nhal".to_owned(),
    ];
    for said in said {
        for reset in [false, true] {
            let (seen, mut engine_saw) = mpsc::unbounded_channel();
            let text = said.clone();
            let engine = Engine::new(move |_, mut wire| {
                let (seen, text) = (seen.clone(), text.clone());
                async move {
                    wire.message().await;
                    wire.send(text).await;
                    seen.send("asked").unwrap();
                    wire.read_all().await;
                    seen.send("left alone").unwrap();
                }
            })
            .await;
            let bed = Bed::new(&[engine.address]);
            let mut client = bed.asking(ASK).await;
            assert_eq!(soon(engine_saw.recv()).await, Some("asked"));
            if !said.is_empty() {
                client.read_to("\r\n\r\n").await;
            }
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let before = tokio::time::Instant::now();
            assert_eq!(soon(engine_saw.recv()).await, Some("left alone"));
            assert!(before.elapsed() < Duration::from_secs(2), "after {:?}", before.elapsed());
            bed.settled().await;
            until("the connection is gone", || bed.figure("quartermaster_router_connections ") < 0.5).await;
        }
    }
}

/// An engine whose every connection gives this once, and stays open.
async fn once(answer: String) -> Engine {
    Engine::new(move |_, mut wire| {
        let answer = answer.clone();
        async move {
            wire.message().await;
            wire.send(answer).await;
            wire.read_all().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_never_looks_complete_and_is_not_used_again() {
    let first = chunk(EVENTS[0]);
    let stream = |rest: &str| format!("{STREAM}{first}{rest}");
    let long = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{first}{rest}");
    let bad = [
        "zz\r\nx\r\n0\r\n\r\n".to_owned(),
        "-1\r\nx\r\n0\r\n\r\n".to_owned(),
        "0x1\r\nx\r\n0\r\n\r\n".to_owned(),
        "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n".to_owned(),
        "1\r\nxy0\r\n\r\n".to_owned(),
        "1\nx\r\n0\r\n\r\n".to_owned(),
        format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(300)),
        format!("0\r\nx-t: {}\r\n\r\n", "t".repeat(9_000)),
    ];
    for (answer, events) in bad.iter().map(|bad| (stream(bad), true)).chain(bad.iter().map(|bad| (long(bad), false))) {
        let name = &answer[answer.len().min(100)..answer.len().min(170)];
        let engine = once(answer.clone()).await;
        let bed = Bed::new(&[engine.address]);
        for connections in 1..=2 {
            let mut client = bed.client().await;
            client.send(post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
            let got = client.read_all().await;
            if status(&got) == 200 {
                assert_eq!(got.contains("\"code\":\"upstream_cut\""), events, "{name:?}: {got:?}");
                assert_eq!(got.ends_with("\r\n0\r\n\r\n"), events, "{name:?}: {got:?}");
            } else {
                // All of it came in one read, so the client can be told in the plainest way.
                assert!(got.contains("\"code\":\"upstream_cut\""), "{name:?}: {got:?}");
            }
            assert_eq!(engine.connections(), connections, "{name:?}");
        }
        bed.settled().await;
    }
}

#[tokio::test]
async fn what_follows_a_body_without_one_is_not_read_as_the_next_answer() {
    for head in ["204 No Content\r\n", "304 Not Modified\r\ncontent-length: 4\r\n"] {
        let engine = Engine::answering(format!("HTTP/1.1 {head}\r\nevil")).await;
        let bed = Bed::new(&[engine.address]);
        for asked in 1..=3 {
            let mut client = bed.asking(ASK).await;
            let got = client.read_to("\r\n\r\n").await;
            assert_eq!(status(&got), head[..3].parse::<u16>().unwrap());
            assert_eq!(engine.connections(), asked);
        }
    }
}

#[tokio::test]
async fn a_length_that_is_too_long_ends_in_a_deadline_and_no_complete_answer() {
    let settings = Settings {
        first_byte_timeout: Duration::from_millis(200),
        silence_timeout: Duration::from_millis(200),
        ..calm()
    };
    for (length, whole) in [(7, true), (90_000, false)] {
        let engine = once(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nshort")).await;
        let bed = Bed::with(&settings, &[engine.address]);
        let mut client = bed.client().await;
        client.send(post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
        let got = client.read_all().await;
        assert_eq!(status(&got), if whole { 504 } else { 200 });
        assert!(whole || (got.contains("content-length: 90000") && got.ends_with("short")), "{got:?}");
    }
}
