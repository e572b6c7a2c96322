//! Answers of providers that are odd and right, and those that are no answers: framing, line ends, compression, emptiness, errors in
//! places where nobody looks for them (RU-02, RU-03, RU-04, RU-05, RU-06).

use std::time::Duration;

use router_core::{Api, Resilience};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::bed::{Bed, Engine, STREAM, Wire, chunk, header, plain, post, status, until};
use crate::remote::World;
use crate::wrong::{Kind, Shape, Way, answer, once, streamed};

/// The same shape on both sides, and another one, for the events of two shapes.
const WAYS: [Way; 4] = [
    Way { client: Shape::Chat, kind: Kind::Provider(Api::OpenAi), target: Shape::Chat },
    Way { client: Shape::Messages, kind: Kind::Provider(Api::Anthropic), target: Shape::Messages },
    Way { client: Shape::Chat, kind: Kind::Provider(Api::Anthropic), target: Shape::Messages },
    Way { client: Shape::Messages, kind: Kind::Provider(Api::OpenAiCompatible), target: Shape::Chat },
];

fn events(shape: Shape) -> String {
    shape.opening() + &shape.token("Hel") + &shape.token("lo") + &shape.end()
}

/// A target that gives this answer once, asked for a stream.
async fn streams(way: Way, text: String) -> (u16, String, Bed) {
    let target = once(text).await;
    let bed = way.world(&target, None).bed();
    let (code, _, body) = way.asked(&bed, true, &json!({})).await;
    (code, body, bed)
}

fn is_whole(way: Way, code: u16, body: &str) -> bool {
    let ends = if way.client == Shape::Chat { "[DONE]" } else { "message_stop" };
    code == 200 && ["Hel", "lo", ends].iter().all(|part| body.contains(part)) && !body.contains("\"error\":{")
}

/// Legal ways to write a stream that few use.
#[tokio::test]
async fn streams_may_be_written_in_many_ways() {
    for way in WAYS {
        let text = events(way.target);
        let noisy = text.replace("\n\n", "\n\n: noise\n\nevent:\n\n");
        let named = text.replace("data:", ": a comment\nid: 7\nretry: 10\ndata:");
        let bare = |head: &str, text: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n{text}");
        let kind = "content-type: text/event-stream\r\n";
        let bytes: String = text.chars().map(|c| chunk(&c.to_string())).collect();
        let trailed = format!("{STREAM}{}0\r\nx-trailer: 1\r\n\r\n", chunk(&text));
        let cases = [
            ("CR LF", streamed(&text.replace('\n', "\r\n"))),
            ("CR", streamed(&text.replace('\n', "\r"))),
            ("CR LF, the last LF alone", {
                let text = text.replace('\n', "\r\n");
                format!("{STREAM}{}{}0\r\n\r\n", chunk(&text[..text.len() - 1]), chunk("\n"))
            }),
            ("comments and empty events", streamed(&noisy)),
            ("comments within events", streamed(&named)),
            ("a comment at the end", streamed(&(text.clone() + ": bye\n\n"))),
            ("a mark of byte order", streamed(&format!("\u{feff}{text}"))),
            ("no space behind the colon", streamed(&text.replace("data: ", "data:").replace("event: ", "event:"))),
            ("byte by byte", format!("{STREAM}{bytes}0\r\n\r\n")),
            ("no last empty line", streamed(text.trim_end())),
            ("a length", bare(&format!("{kind}content-length: {}\r\n", text.len()), &text)),
            ("until the connection ends", bare(&format!("{kind}connection: close\r\n"), &text)),
            ("HTTP/1.0", bare(kind, &text).replace("HTTP/1.1", "HTTP/1.0")),
            ("no type", bare(&format!("content-length: {}\r\n", text.len()), &text)),
            (
                "another case",
                bare(
                    &format!("content-type: Text/Event-Stream;charset=utf-8\r\ncontent-length: {}\r\n", text.len()),
                    &text,
                ),
            ),
            (
                "identity",
                STREAM.replace("\r\n\r\n", "\r\ncontent-encoding: identity\r\n\r\n") + &chunk(&text) + "0\r\n\r\n",
            ),
            ("trailers", trailed),
            ("odd chunk sizes", streamed(&text).replacen("\r\n\r\n", "\r\n\r\n000", 1)),
            (
                "interim answers",
                format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}", streamed(&text)),
            ),
            (
                "the last event twice",
                streamed(&(text.clone() + &text[text[..text.len() - 2].rfind("\n\n").unwrap() + 2..])),
            ),
            (
                "an unknown event",
                streamed(
                    &(way.target.opening()
                        + "event: from_the_future\ndata: {\"type\":\"from_the_future\",\"choices\":[]}\n\n"
                        + &text[way.target.opening().len()..]),
                ),
            ),
        ];
        for (name, text) in cases {
            let (code, body, bed) = streams(way, text).await;
            assert!(is_whole(way, code, &body), "{way:?} {name}: {code} {body}");
            // An event counts for a client once an empty line has ended it.
            assert!(
                body.ends_with("\n\n") || body.ends_with('\r') || body.ends_with("\r\n\r\n"),
                "{way:?} {name}: {body:?}"
            );
            let cut = r#"quartermaster_router_cut_answers_total{policy="ml/route",pool="far-0"}"#;
            assert!(bed.figure(cut) < 0.5, "{way:?} {name}");
        }
    }
}

/// The client has all that there is: how the connection ends after that says nothing.
#[tokio::test]
async fn what_comes_after_the_last_event_does_not_matter() {
    for way in WAYS {
        let text = format!("{STREAM}{}", chunk(&events(way.target)));
        for reset in [false, true] {
            let text = text.clone();
            let target = Engine::new(move |_, mut wire: Wire| {
                let text = text.clone();
                async move {
                    wire.asked().await;
                    wire.send(text).await;
                    if reset {
                        wire.reset();
                    } else {
                        std::future::pending::<()>().await;
                    }
                }
            })
            .await;
            // Nor is it waited for until the target has been silent for too long, which is a minute.
            let (code, _, body) = way.asked(&way.world(&target, None).bed(), true, &json!({})).await;
            assert!(is_whole(way, code, &body), "{way:?} {reset}: {code} {body}");
        }
    }
}

/// Answers that are none. The target has failed: somebody else is asked, or the client is told so in its own shape.
#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    for way in WAYS {
        let whole = way.target.whole("Hi");
        let with =
            |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
        let json_type = "content-type: application/json\r\n";
        let long_header = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1024 * 1024));
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000) + &plain(&whole);
        let page = "<html>wait</html>";
        let cases = [
            ("204", "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 502),
            ("an empty body", with(json_type, ""), 502),
            ("a body of blanks", with(json_type, " \n "), 502),
            ("an empty chunked body", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 502),
            ("gzip unasked", with("content-type: application/json\r\ncontent-encoding: gzip\r\n", "\u{1f}gzip"), 502),
            ("a page", with("content-type: text/html\r\n", page), 502),
            ("a page by another name", with(json_type, page), 502),
            ("half of it", with(json_type, &whole[..whole.len() / 2]), 502),
            (
                "half of it, until the connection ends",
                format!("HTTP/1.1 200 OK\r\n{json_type}\r\n{}", &whole[..whole.len() / 2]),
                502,
            ),
            ("two of it", with(json_type, &whole.repeat(2)), 502),
            ("something else", with(json_type, r#"{"ok":true}"#), 502),
            ("something else, said to be text", with("content-type: text/plain\r\n", r#"{"ok":true}"#), 502),
            ("an error", with(json_type, &way.target.error("server_error", "x", "their words")), 500),
            (
                "an error, by OpenRouter",
                with(json_type, r#"{"user_id":"u","error":{"code":503,"message":"their words"}}"#),
                if way.target == Shape::Chat { 503 } else { 500 },
            ),
            ("cut", format!("HTTP/1.1 200 OK\r\n{json_type}content-length: 9999\r\n\r\n{whole}"), 502),
            (
                "cut in a chunk",
                format!("HTTP/1.1 200 OK\r\n{json_type}transfer-encoding: chunked\r\n\r\n{}", chunk(&whole)),
                502,
            ),
            (
                "a chunk without a size",
                format!("HTTP/1.1 200 OK\r\n{json_type}transfer-encoding: chunked\r\n\r\nxyz\r\n{whole}\r\n0\r\n\r\n"),
                502,
            ),
            (
                "a length and chunks",
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
                    chunk(&whole)
                ),
                502,
            ),
            ("a header of a megabyte", long_header, 502),
            ("a thousand interim answers", many, 502),
            ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), 502),
            ("101", "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n".to_owned(), 502),
            ("a stream", streamed(&events(way.target)), 502),
        ];
        for (name, text, want) in cases {
            let target = once(text.clone()).await;
            let (code, head, body) = way.asked(&way.world(&target, None).bed(), false, &json!({})).await;
            assert_eq!(code, want, "{way:?} {name}: {body}");
            assert_eq!(header(&head, "content-type"), Some("application/json"), "{way:?} {name}: {head}");
            assert!(!text.contains("their words") || body.contains("their words"), "{way:?} {name}: {body}");
            let _: serde_json::Value = serde_json::from_str(&body).unwrap();
            let spare = Engine::answering(plain(&way.client.whole("spare"))).await;
            let (code, _, body) = way.asked(&way.world(&target, Some(&spare)).bed(), false, &json!({})).await;
            assert!(code == 200 && body.contains("spare"), "{way:?} {name}: {code} {body}");
        }
        // What is no stream where one was asked for.
        for (name, text) in [
            ("a plain answer", plain(&whole)),
            (
                "a compressed stream",
                STREAM.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n") + &chunk("\u{1f}") + "0\r\n\r\n",
            ),
            ("204", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
            ("a page", with("content-type: text/html\r\n", page)),
        ] {
            let (code, body, _) = streams(way, text).await;
            assert!(code == 502 && body.contains("message"), "{way:?} {name}: {code} {body}");
        }
    }
}

/// Errors that are no JSON are told in the client's shape, with their words where they have some.
#[tokio::test]
async fn errors_that_no_sdk_could_read_are_put_into_words() {
    for way in WAYS {
        for (line, kind, body, want, words) in [
            ("502 Bad Gateway", "text/html", "<html><h1>502</h1></html>", 502, "502 Bad Gateway"),
            ("503 Unavailable", "text/plain", "upstream connect error", 503, "upstream connect error"),
            ("400 Bad Request", "text/plain", "no such parameter", 400, "no such parameter"),
            ("404 Not Found", "text/html", "", 404, "404 Not Found"),
            ("500 Error", "application/json", "", 500, "500 Internal Server Error"),
            ("400 Bad Request", "application/json", r#"{"detail":"no such parameter"}"#, 400, "no such parameter"),
            ("400 Bad Request", "application/json", r#"{"error":"no such parameter"}"#, 400, "no such parameter"),
            ("422 No", "application/json", r#"[{"error":{"message":"no such parameter"}}]"#, 422, "no such parameter"),
            ("400 Bad Request", "text/html", r#"{"error":{"message":"no such parameter"}}"#, 400, "no such parameter"),
            ("500 Error", "application/json", r#"{"error":{"mess"#, 500, "500 Internal Server Error"),
        ] {
            let text =
                format!("HTTP/1.1 {line}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let target = once(text).await;
            for stream in [false, true] {
                let (code, head, body) = way.asked(&way.world(&target, None).bed(), stream, &json!({})).await;
                assert_eq!(
                    (code, header(&head, "content-type")),
                    (want, Some("application/json")),
                    "{way:?} {line}: {body}"
                );
                let told: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert!(told["error"]["message"].as_str().unwrap().contains(words), "{way:?} {line}: {body}");
            }
        }
    }
}

/// The same of an engine of ours, which something may stand before.
#[tokio::test]
async fn errors_before_an_engine_are_put_into_words() {
    for (line, body, words) in [
        ("503 Unavailable", "upstream connect error", "upstream connect error"),
        ("502 Bad Gateway", "<html></html>", "502 Bad Gateway"),
        ("404 Not Found", r#"{"detail":"Not Found"}"#, "Not Found"),
        ("400 Bad Request", "", "400 Bad Request"),
    ] {
        for way in crate::wrong::ways().into_iter().filter(|way| way.kind == Kind::Pool) {
            let text =
                format!("HTTP/1.1 {line}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let target = once(text).await;
            let (code, head, told) = way.asked(&way.world(&target, None).bed(), false, &json!({})).await;
            assert_eq!(code.to_string(), line[..3], "{way:?}: {told}");
            assert_eq!(header(&head, "content-type"), Some("application/json"), "{way:?}: {head}");
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert!(told["error"]["message"].as_str().unwrap().contains(words), "{way:?} {line}: {told}");
        }
    }
    // An error with a status of 200 is one.
    let way = crate::wrong::ways()[0];
    let target = once(plain(&way.target.error("server_error", "x", "their words"))).await;
    let (code, _, body) = way.asked(&way.world(&target, None).bed(), false, &json!({})).await;
    assert!(code == 502 && body.contains("upstream_failed"), "{code} {body}");
}

/// What a content filter refuses is the client's own: its words arrive, and nobody else is asked (Azure, 400).
#[tokio::test]
async fn a_content_filter_is_a_400_with_all_that_it_says() {
    let way = WAYS[0];
    let body = json!({"error": {"message": "The response was filtered", "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": true, "severity": "medium"}}}}});
    let text = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    let (target, spare) = (once(text).await, Engine::answering(plain("{}")).await);
    let (code, _, told) = way.asked(&way.world(&target, Some(&spare)).bed(), false, &json!({})).await;
    assert_eq!((code, told), (400, body.to_string()));
    assert_eq!(spare.connections(), 0);
    // In a stream it is a reason to stop, not an error.
    let filtered = way.target.token("Hel") + &way.target.end().replace("\"stop\"", "\"content_filter\"");
    let (code, body, _) = streams(way, streamed(&filtered)).await;
    assert!(code == 200 && body.contains("content_filter") && body.contains("[DONE]"), "{body}");
    let refused = Shape::Messages.opening() + &Shape::Messages.end().replace("end_turn", "refusal");
    let (code, body, _) = streams(WAYS[2], streamed(&refused)).await;
    assert!(code == 200 && body.contains("\"finish_reason\":\"content_filter\"") && body.contains("[DONE]"), "{body}");
}

/// RU-05: before the first token signs of life are none; after it they are, until the time for the whole is over.
#[tokio::test]
async fn pings_alone_are_no_answer() {
    for way in WAYS {
        let ping =
            if way.target == Shape::Messages { "event: ping\ndata: {\"type\":\"ping\"}\n\n" } else { ": ping\n\n" };
        for (begun, limit) in
            [(way.target.opening(), "first_token"), (way.target.opening() + &way.target.token("Hi"), "total")]
        {
            let target = Engine::new(move |_, mut wire: Wire| {
                let begun = begun.clone();
                async move {
                    wire.asked().await;
                    wire.send(format!("{STREAM}{}", chunk(&begun))).await;
                    while wire.stream.write_all(chunk(ping).as_bytes()).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
            .await;
            let mut world = way.world(&target, None);
            world.resilience.first_token = Some(Duration::from_millis(300));
            world.resilience.idle = Some(Duration::from_millis(300));
            world.resilience.total = Some(Duration::from_millis(900));
            let bed = world.bed();
            let (code, _, body) = way.asked(&bed, true, &json!({})).await;
            if limit == "first_token" {
                assert_eq!(code, 504, "{way:?}: {body}");
            } else {
                assert!(code == 200 && body.contains("Hi") && body.contains("\"error\""), "{way:?}: {code} {body}");
                assert!(!body.contains("[DONE]") && !body.contains("message_stop"), "{way:?}: {body}");
            }
            let missed =
                format!(r#"quartermaster_router_timeouts_total{{policy="ml/route",pool="far-0",timeout="{limit}"}}"#);
            until("the timeout is counted", || bed.figure(&missed) > 0.5).await;
        }
    }
}

/// An event that is longer than any: nothing is held of it without end, and its client is not told that it was whole.
#[tokio::test]
async fn an_event_without_end_is_not_held() {
    for way in WAYS {
        let long = "x".repeat(1024 * 1024);
        let text = format!(
            "{STREAM}{}{}",
            chunk(&(way.target.opening() + &way.target.token("Hi"))),
            chunk(&format!("data: {{\"choices\":\"{long}"))
        );
        let target = once(text).await;
        let bed = way.world(&target, None).bed();
        let mut client = bed.client().await;
        let turns = json!([{"role": "user", "content": "Hi"}]);
        let (path, body) = match way.client {
            Shape::Chat => ("/v1/chat/completions", json!({"model": "m", "stream": true, "messages": turns})),
            _ => ("/v1/messages", json!({"model": "m", "max_tokens": 9, "stream": true, "messages": turns})),
        };
        client.send(post(path, "connection: close\r\n", &body.to_string())).await;
        let got = client.read_all().await;
        assert_eq!(status(&got), 200);
        // Within a line only a closed connection tells of the cut.
        assert!(
            got.contains("event: error") || got.contains("data: {\"error\"") || !got.ends_with("0\r\n\r\n"),
            "{way:?}"
        );
        assert!(!got.contains("[DONE]") && !got.contains("message_stop"), "{way:?}");
    }
}

/// 5.12: each pause is as long as the provider asked for that attempt, not for the first one.
#[tokio::test]
async fn each_retry_waits_for_its_own_word() {
    let way = WAYS[0];
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let whole = plain(&way.target.whole("Hi"));
    let target = Engine::new(move |number, mut wire: Wire| {
        let (tell, whole) = (tell.clone(), whole.clone());
        async move {
            wire.asked().await;
            tell.send(tokio::time::Instant::now()).unwrap();
            let busy = |after| format!("HTTP/1.1 503 Busy\r\nretry-after-ms: {after}\r\ncontent-length: 2\r\n\r\n{{}}");
            wire.send(match number {
                0 => busy("0"),
                1 => busy("700"),
                _ => whole,
            })
            .await;
        }
    })
    .await;
    let mut world = way.world(&target, None);
    world.resilience = Resilience { attempts: 3, ..Resilience::default() };
    let (code, _, body) = way.asked(&world.bed(), false, &json!({})).await;
    assert_eq!(code, 200, "{body}");
    let (first, second, third) = (told.recv().await.unwrap(), told.recv().await.unwrap(), told.recv().await.unwrap());
    assert!(third - second >= Duration::from_millis(700), "{:?} {:?}", second - first, third - second);
}

/// 5.16: a 503 leads on without any header.
#[tokio::test]
async fn a_503_without_a_word_of_when_leads_on() {
    for way in WAYS {
        let target = once("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
        let spare = Engine::answering(plain(&way.client.whole("spare"))).await;
        let (code, _, body) = way.asked(&way.world(&target, Some(&spare)).bed(), false, &json!({})).await;
        assert!(code == 200 && body.contains("spare"), "{way:?}: {code} {body}");
    }
}

/// 5.17: large bodies and large answers pass.
#[tokio::test]
async fn large_bodies_pass_both_ways() {
    for way in WAYS {
        let target = Engine::answering(plain(&way.target.whole(&"y".repeat(3_000_000)))).await;
        let bed = way.world(&target, None).bed();
        let turns = json!([{"role": "user", "content": "x".repeat(5_000_000)}]);
        let (code, _, body) = way.asked(&bed, false, &json!({"messages": turns})).await;
        assert!(code == 200 && body.len() > 3_000_000, "{way:?}: {code}");
    }
}

/// 5.18: one target that is dead holds up nobody.
#[tokio::test]
async fn a_dead_target_holds_up_no_other() {
    let way = WAYS[0];
    let mute = Engine::new(|_, wire: Wire| async move {
        let _wire = wire;
        std::future::pending::<()>().await;
    })
    .await;
    let spare = Engine::answering(plain(&way.client.whole("spare"))).await;
    let dead = way.world(&mute, None).bed();
    let mut waiting = dead.client().await;
    waiting.send(crate::bed::chat(crate::bed::ASK)).await;
    let World { remotes, .. } = way.world(&spare, None);
    let well = World::of(remotes).bed();
    for _ in 0..20 {
        let (code, _, _) = way.asked(&well, false, &json!({})).await;
        assert_eq!(code, 200);
    }
    // The same router, too.
    let mut client = dead.client().await;
    client.send("GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer(&mut client).await.0, 200);
}

/// Silence is transcribed as nothing.
#[tokio::test]
async fn nothing_is_an_answer_to_a_silent_recording() {
    let target = Engine::answering("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n").await;
    let bed = WAYS[0].world(&target, None).bed();
    let part = |name: &str, value: &str| format!("--x\r\ncontent-disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let form = part("name=\"model\"", "m") + &part("name=\"file\"; filename=\"a.wav\"", "RIFF") + "--x--\r\n";
    let mut client = bed.client().await;
    client.send(post("/v1/audio/transcriptions", "content-type: multipart/form-data; boundary=x\r\n", &form)).await;
    let (code, _, body) = answer(&mut client).await;
    assert_eq!((code, body.as_str()), (200, ""));
}
