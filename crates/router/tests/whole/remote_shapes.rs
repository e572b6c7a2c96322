//! Targets of another shape than the client's: plain, streamed, refused, cut.

use router_core::{Api, RemoteInput};

use crate::bed::{Engine, STREAM, Wire, chunk, header, plain, post, status, until};
use crate::remote::{DONE, KEY, World, answer, ask, far, showing, stream_of};

/// A client of one shape is answered by a target of another: plain, streamed, refused, cut.
#[tokio::test]
async fn a_target_of_another_shape_answers_in_the_client_s() {
    let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let (engine, mut asked) = showing(plain(message)).await;
    let claude = RemoteInput { model: Some("claude".to_owned()), ..far(Api::Anthropic, engine.address) };
    let bed = World::of(vec![claude.clone()]).bed();
    let question =
        r#"{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hello"}]}"#;
    let mut client = bed.client().await;
    client.send(post("/v1/chat/completions?x=y", "anthropic-beta: theirs\r\n", question)).await;
    let (head, body) = client.message().await;
    assert_eq!((status(&head), header(&head, "content-type")), (200, Some("application/json")), "{body}");
    assert!(
        body.contains(r#""chat.completion""#) && body.contains("Hi") && body.contains(r#""prompt_tokens":3"#),
        "{body}"
    );
    let (head, body) = asked.recv().await.unwrap();
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n") && !head.contains("theirs"), "{head}");
    assert_eq!(header(&head, "x-api-key"), Some(KEY));
    assert!(body.contains(r#""model":"claude""#) && body.contains("Be kind.") && body.contains("max_tokens"), "{body}");
    let tokens = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="far-0"}"#;
    assert!((bed.figure(tokens) - 2.0).abs() < 1e-9);

    // What the target cannot do is refused with the field, and asked of another target if there is one.
    let more = question.replace("\"messages\"", "\"logprobs\":true,\"messages\"");
    let (head, body) = ask(&bed, &more).await;
    assert_eq!(status(&head), 400);
    assert!(body.contains("unsupported_by_target") && body.contains("logprobs"), "{body}");
    let same = Engine::answering(plain("same")).await;
    let bed = World::of(vec![claude, far(Api::OpenAi, same.address)]).bed();
    assert_eq!(ask(&bed, &more).await.1, "same");
}

#[tokio::test]
async fn a_stream_of_another_shape_passes_event_for_event_and_says_when_it_was_cut() {
    let delta = |text: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let stop = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";
    let question = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hello"}]}"#;
    let whole = stream_of(&[&delta("Hel"), &delta("lo"), stop, usage, DONE]);
    let cut = format!("{STREAM}{}{}", chunk(&delta("Hel")), chunk(&delta("lo")));
    let silent_end = stream_of(&[&delta("Hel"), &delta("lo")]);
    for (text, ends_well) in [(whole, true), (cut, false), (silent_end, false)] {
        let engine = Engine::new(move |_, mut wire: Wire| {
            let text = text.clone();
            async move {
                wire.asked().await;
                wire.send(text).await;
            }
        })
        .await;
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
        let mut client = bed.client().await;
        client.send(post("/v1/messages", "", question)).await;
        let head = client.read_to("\r\n\r\n").await;
        assert_eq!((status(&head), header(&head, "content-type")), (200, Some("text/event-stream; charset=utf-8")));
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("event: message_start") && body.contains("Hel") && body.contains("\"lo\""), "{body}");
        assert_eq!(body.contains("event: message_stop"), ends_well, "{body}");
        assert_eq!(body.contains("event: error"), !ends_well, "{body}");
        assert!(!body.contains("[DONE]"), "{body}");
        let cut = r#"quartermaster_router_cut_answers_total{policy="ml/route",pool="far-0"}"#;
        until("it is counted", || (bed.figure(cut) < 0.5) == ends_well).await;
    }
}

#[tokio::test]
async fn errors_of_another_shape_keep_their_class() {
    let anthropic =
        |kind: &str, words: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{words}"}}}}"#);
    let cases = [
        ("400 Bad", anthropic("invalid_request_error", "their words"), 400, "their words"),
        ("429 Slow", anthropic("rate_limit_error", "slow down"), 429, "rate_limit"),
        ("529 Busy", anthropic("overloaded_error", "Overloaded"), 503, "Overloaded"),
        ("401 Who", anthropic("authentication_error", "bad key"), 502, "upstream_credentials_refused"),
        ("500 Oh", anthropic("api_error", "oh"), 500, "oh"),
    ];
    for (line, body, want, words) in cases {
        let engine = Engine::answering(answer(line, "retry-after: 7\r\n", &body)).await;
        let bed = World::of(vec![far(Api::Anthropic, engine.address)]).bed();
        let (head, body) = ask(&bed, r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).await;
        assert_eq!(status(&head), want, "{line}: {body}");
        assert!(body.starts_with("{\"error\":{") && body.contains(words), "{line}: {body}");
        if want == 429 {
            assert_eq!(header(&head, "retry-after"), Some("7"));
        }
    }
}
