//! Targets that are no pools and misbehave: when another is asked, when the same one is, and when neither (RU-04 to RU-07, RU-12).

use std::time::Duration;

use router_core::{Api, Reason, RemoteInput, Resilience};

use crate::bed::{ASK, Engine, STREAM, Wire, chunk, header, plain, post, status};
use crate::remote::{ASK_STREAM, DONE, ROLE, TOKEN, World, answer, ask, far, page, stream_of};
use crate::retry::Nobody;

/// The next target is asked for the reasons that the policy lists, and for no other; a client's own fault is never one.
#[tokio::test]
async fn the_reasons_that_are_listed_lead_to_the_next_target() {
    let quota = r#"{"error":{"message":"You exceeded","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let cases: Vec<(String, Option<Reason>, u16)> = vec![
        (answer("400 Bad Request", "", r#"{"error":{"message":"their words"}}"#), None, 400),
        (answer("413 Too Large", "", "{}"), None, 413),
        (answer("422 Unprocessable", "", "{}"), None, 422),
        (answer("401 Unauthorized", "", "{}"), Some(Reason::ServerError), 502),
        (answer("403 Forbidden", "", "{}"), Some(Reason::ServerError), 502),
        (answer("404 Not Found", "", "{}"), Some(Reason::ServerError), 404),
        (answer("408 Timeout", "", "{}"), Some(Reason::Timeout), 408),
        (answer("429 Too Many", "retry-after: 7\r\n", "{}"), Some(Reason::RateLimited), 429),
        (answer("429 Too Many", "", quota), Some(Reason::RateLimited), 429),
        (answer("500 Error", "", "{}"), Some(Reason::ServerError), 500),
        (answer("503 Busy", "", "{}"), Some(Reason::Overloaded), 503),
        (answer("529 Overloaded", "", "{}"), Some(Reason::Overloaded), 503),
        (answer("307 Elsewhere", "location: http://127.0.0.1:1/\r\n", ""), Some(Reason::ServerError), 502),
        (stream_of(&["data: {\"error\":{\"message\":\"no\"}}\n\n"]), Some(Reason::ServerError), 500),
        (stream_of(&[ROLE, overloaded]), Some(Reason::Overloaded), 503),
        (stream_of(&[ROLE]), Some(Reason::ServerError), 502),
        (format!("{STREAM}{}", chunk(ROLE)), Some(Reason::ServerError), 502),
        ("HTTP/1.1 200 OK\r\n".to_owned(), Some(Reason::ServerError), 502),
        ("not HTTP at all\r\n\r\n".to_owned(), Some(Reason::ServerError), 502),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            Some(Reason::ServerError),
            502,
        ),
    ];
    for (text, reason, alone) in cases {
        // Each answers once and closes.
        let failing = || {
            let text = text.clone();
            Engine::new(move |_, mut wire: Wire| {
                let text = text.clone();
                async move {
                    wire.asked().await;
                    wire.send(text).await;
                }
            })
        };
        let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
        let all = Resilience::default().fallback_on;
        let others: Vec<Reason> = all.iter().copied().filter(|other| Some(*other) != reason).collect();
        for (listed, falls_back) in [(all, reason.is_some()), (others, false)] {
            let bad = failing().await;
            let mut world = World::of(vec![far(Api::OpenAi, bad.address), far(Api::OpenAiCompatible, good.address)]);
            world.resilience.fallback_on = listed;
            let (code, _, body) = crate::wrong::answer(&mut world.bed().asking(ASK_STREAM).await).await;
            if falls_back {
                assert!(code == 200 && body.contains("Hi") && body.contains("[DONE]"), "{text:?}: {code} {body}");
            } else {
                assert_eq!(code, alone, "{text:?}: {body}");
            }
            assert_eq!(bad.connections(), 1, "{text:?}");
        }
        let bad = failing().await;
        let (head, body) = ask(&World::of(vec![far(Api::OpenAi, bad.address)]).bed(), ASK_STREAM).await;
        assert_eq!(status(&head), alone, "{text:?}: {body}");
        match alone {
            400 => assert!(body.contains("their words"), "{body}"),
            429 if text.contains("retry-after") => assert_eq!(header(&head, "retry-after"), Some("7")),
            429 => assert!(body.contains("insufficient_quota"), "{body}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn messages_keep_529() {
    let busy = answer("529 Overloaded", "", r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#);
    let engine = Engine::answering(busy).await;
    let bed = World::of(vec![far(Api::Anthropic, engine.address)]).bed();
    let mut client = bed.client().await;
    client.send(post("/v1/messages", "", r#"{"model":"m","max_tokens":1,"messages":[]}"#)).await;
    assert_eq!(status(&client.message().await.0), 529);
}

/// The engines of a pool cannot be reached, or fail: the provider answers, and the client does not notice.
#[tokio::test]
async fn a_pool_that_fails_is_stood_in_for() {
    let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
    let dead = Nobody::new();
    let dying = Engine::new(|_, mut wire| async move {
        wire.message().await;
    });
    let failing = Engine::answering(answer("500 Error", "", "{}")).await;
    let full = Engine::answering(answer("503 Full", "", "{}")).await;
    for address in [dead.address(), dying.await.address, failing.address, full.address] {
        let world = World { pool: true, engines: vec![address], ..World::of(vec![far(Api::OpenAi, good.address)]) };
        let bed = world.bed();
        for _ in 0..3 {
            let mut client = bed.asking(ASK_STREAM).await;
            assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
            assert!(client.read_to("0\r\n\r\n").await.contains("[DONE]"));
        }
        assert!(bed.figure(r#"quartermaster_router_fallbacks_total{policy="ml/route",pool="ml/p""#) < 1e-9);
        let page = page(&bed);
        assert!(page.contains(r#"fallbacks_total{policy="ml/route",pool="ml/p",reason=""#), "{page}");
        assert!(!page.contains("canary"));
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_after_its_first_token_ends_in_an_error_and_nothing_else() {
    let good = Engine::answering(plain("good")).await;
    let whole = stream_of(&[ROLE, TOKEN]);
    let half = format!("{STREAM}{}{}", chunk(ROLE), chunk(TOKEN));
    for text in [whole, half] {
        let cut = Engine::new(move |_, mut wire: Wire| {
            let text = text.clone();
            async move {
                wire.asked().await;
                wire.send(text).await;
            }
        })
        .await;
        let bed = World::of(vec![far(Api::OpenAi, cut.address), far(Api::OpenAi, good.address)]).bed();
        let mut client = bed.asking(ASK_STREAM).await;
        let head = client.read_to("\r\n\r\n").await;
        assert_eq!(status(&head), 200);
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("Hi") && body.contains("upstream_cut"), "{body}");
        assert!(!body.contains("[DONE]") && !body.contains("finish_reason") && !body.contains("good"), "{body}");
    }
}

#[tokio::test]
async fn each_timeout_has_its_figure_and_leads_on_while_that_is_possible() {
    let mute = || {
        Engine::new(|_, mut wire: Wire| async move {
            wire.asked().await;
            std::future::pending::<()>().await;
        })
    };
    let stalling = || {
        Engine::new(|_, mut wire: Wire| async move {
            wire.asked().await;
            wire.send(format!("{STREAM}{}", chunk(ROLE))).await;
            std::future::pending::<()>().await;
        })
    };
    let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
    let short = Some(Duration::from_millis(100));
    for slow in [mute().await, stalling().await] {
        let mut world = World::of(vec![far(Api::OpenAi, slow.address), far(Api::OpenAi, good.address)]);
        world.resilience.first_token = short;
        let bed = world.bed();
        let mut client = bed.asking(ASK_STREAM).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
        assert!(client.read_to("0\r\n\r\n").await.contains("[DONE]"));
        let missed = r#"quartermaster_router_timeouts_total{policy="ml/route",pool="far-0",timeout="first_token"}"#;
        assert!((bed.figure(missed) - 1.0).abs() < 1e-9);
    }
    let pausing = Engine::new(|_, mut wire: Wire| async move {
        wire.asked().await;
        wire.send(format!("{STREAM}{}", chunk(TOKEN))).await;
        std::future::pending::<()>().await;
    })
    .await;
    for (timeout, code) in [("idle", "upstream_timeout"), ("total", "upstream_total_timeout")] {
        let mut world = World::of(vec![far(Api::OpenAi, pausing.address)]);
        if timeout == "idle" {
            world.resilience.idle = short;
        } else {
            world.resilience.total = short;
        }
        let bed = world.bed();
        let mut client = bed.asking(ASK_STREAM).await;
        client.read_to("\r\n\r\n").await;
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("Hi") && body.contains(code), "{body}");
        let missed =
            format!(r#"quartermaster_router_timeouts_total{{policy="ml/route",pool="far-0",timeout="{timeout}"}}"#);
        assert!((bed.figure(&missed) - 1.0).abs() < 1e-9, "{timeout}");
    }
}

#[tokio::test]
async fn a_key_that_was_used_too_often_rests_as_long_as_it_was_told_to() {
    let limited = Engine::answering(answer("429 Too Many", "retry-after-ms: 300\r\n", "{}")).await;
    let good = Engine::answering(plain("good")).await;
    let other = RemoteInput { model: Some("other".to_owned()), ..far(Api::OpenAi, limited.address) };
    let stranger = RemoteInput { secret: None, ..far(Api::OpenAiCompatible, good.address) };
    let bed = World::of(vec![far(Api::OpenAi, limited.address), other, stranger]).bed();
    let asked = tokio::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(ask(&bed, ASK).await.1, "good");
    }
    if asked.elapsed() < Duration::from_millis(300) {
        assert_eq!(limited.connections(), 1, "neither target with this key was asked again");
    }
    let connections = || async {
        let _ = ask(&bed, ASK).await;
        bed.figure(r#"quartermaster_router_fallbacks_total{policy="ml/route",pool="far-0",reason="RateLimited"}"#)
    };
    let before = connections().await;
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert!(connections().await > before);

    // Nobody else is left: the client is told when to come again, and is not sent to the provider meanwhile.
    let limited = Engine::answering(answer("429 Too Many", "retry-after: 60\r\n", "{}")).await;
    let bed = World::of(vec![far(Api::OpenAi, limited.address)]).bed();
    assert_eq!(header(&ask(&bed, ASK).await.0, "retry-after"), Some("60"));
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!(status(&head), 429, "{body}");
    assert!(["59", "60"].contains(&header(&head, "retry-after").unwrap()), "{head}");
    assert_eq!(limited.connections(), 1);
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_alone_and_found_again() {
    let flaky = Engine::new(|_, mut wire: Wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            let code = if body.contains("please") { plain("well") } else { answer("500 Error", "", "{}") };
            wire.send(code).await;
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, flaky.address)]);
    world.resilience.breaker_failures = 3;
    world.resilience.ejection = Duration::from_millis(200);
    let bed = world.bed();
    for _ in 0..3 {
        assert_eq!(status(&ask(&bed, ASK).await.0), 500);
    }
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("1")), "{body}");
    assert!(body.contains("upstream_resting"), "{body}");
    let usable = r#"quartermaster_router_target_usable{policy="ml/route",pool="far-0"}"#;
    assert!(bed.figure(usable) < 0.5);
    let polite = r#"{"model":"m","messages":["please"]}"#;
    let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
    while status(&ask(&bed, polite).await.0) != 200 {
        assert!(tokio::time::Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bed.figure(usable) > 0.5);
}

#[tokio::test]
async fn the_last_target_is_asked_again_after_a_pause() {
    let flaky = Engine::new(|number, mut wire: Wire| async move {
        while wire.asked().await {
            wire.send(if number < 2 { answer("500 Error", "connection: close\r\n", "{}") } else { plain("well") })
                .await;
            if number < 2 {
                return;
            }
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, flaky.address)]);
    world.resilience.attempts = 2;
    assert_eq!(ask(&world.bed(), ASK).await.1, "well");
    assert_eq!(flaky.connections(), 3);
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    let page = "<html>please wait</html>";
    let length = page.len();
    let text =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{page}");
    let engine = Engine::answering(text).await;
    let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!(status(&head), 502, "{body}");
    assert!(body.contains("upstream_strange") && !body.contains("please wait"), "{body}");
}
