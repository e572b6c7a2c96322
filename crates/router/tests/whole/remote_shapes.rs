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
        let bed = World::of(vec![far(Api::OpenAiCompatible, engine.address)]).bed();
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

/// OpenAI's newer models call tools in responses only; what these cannot say is said in chat completions, and Azure's deployments have
/// nothing else.
#[tokio::test]
async fn messages_reach_openai_as_what_it_takes() {
    let response = r#"{"id":"resp_1","object":"response","model":"gpt","status":"completed","error":null,"output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"enc"},{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}"#;
    let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let messages = r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"Hello"}]}"#;
    let stopping = messages.replace("\"messages\"", "\"stop_sequences\":[\"#\"],\"messages\"");
    let responses = r#"{"model":"m","input":"Hello"}"#;
    let deployment = "/openai/deployments/d";
    for (surface, body, base, path, answer) in [
        ("/v1/messages", messages, "/v1", "/v1/responses", response),
        ("/v1/messages", &stopping, "/v1", "/v1/chat/completions", chat),
        ("/v1/messages", messages, deployment, "/openai/deployments/d/chat/completions", chat),
        ("/v1/responses", responses, deployment, "/openai/deployments/d/chat/completions", chat),
    ] {
        let (engine, mut asked) = showing(plain(answer)).await;
        let far = RemoteInput { path: base.to_owned(), ..far(Api::OpenAi, engine.address) };
        let bed = World::of(vec![far]).bed();
        let mut client = bed.client().await;
        client.send(post(surface, "", body)).await;
        let (head, got) = client.message().await;
        assert!(status(&head) == 200 && got.contains("\"Hi\""), "{surface} {base}: {got}");
        assert_eq!(got.contains("openai:rs_1:enc"), answer == response, "{got}");
        let (head, sent) = asked.recv().await.unwrap();
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert_eq!(sent.contains("\"input\""), answer == response, "{sent}");
        let tokens = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="far-0"}"#;
        assert!((bed.figure(tokens) - 2.0).abs() < 1e-9, "{surface} {base}");
    }
}

/// A conversation that another target answered once can come back to Anthropic, which refuses what it did not seal itself.
#[tokio::test]
async fn thoughts_of_another_target_are_kept_from_anthropic() {
    let (engine, mut asked) = showing(plain(r#"{"content":[]}"#)).await;
    let bed = World::of(vec![far(Api::Anthropic, engine.address)]).bed();
    let thought = |seal: &str| format!(r#"{{"type":"thinking","thinking":"hm","signature":"{seal}"}},"#);
    let body = |thought: &str, model: &str| {
        format!(
            r#"{{"model":"{model}","max_tokens":50,"odd":1.0,"messages":[{{"role":"assistant","content":[{thought}{{"type":"text","text":"a"}}]}}]}}"#
        )
    };
    let vllm = "7bc08f0e1c2f4d0fb5c0a5dd2e6c1a9b";
    for (seal, kept) in [("openai:rs_1:enc", ""), ("", ""), (vllm, ""), ("Eq0=", &*thought("Eq0="))] {
        let mut client = bed.client().await;
        client.send(post("/v1/messages", "", &body(&thought(seal), "m"))).await;
        assert_eq!(status(&client.message().await.0), 200);
        assert_eq!(asked.recv().await.unwrap().1, body(kept, "gpt-4o-mini"), "{seal}");
    }
}

/// The same for responses: OpenAI refuses what it did not seal, and an engine whatever is sealed.
#[tokio::test]
async fn thoughts_of_another_target_are_kept_from_openai_and_from_engines() {
    let own = r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},"#;
    let claude = r#"{"type":"reasoning","id":"rs_2_0","summary":[],"encrypted_content":"anthropic:Eq0="},"#;
    let engine = r#"{"type":"reasoning","id":"rs_3","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},"#;
    let body = |thoughts: &str, model: &str| {
        format!(r#"{{"model":"{model}","odd":1.0,"input":[{thoughts}{{"role":"user","content":"a"}}]}}"#)
    };
    for (api, kept) in [(Api::OpenAi, own), (Api::Engine, engine)] {
        let (server, mut asked) = showing(plain(r#"{"object":"response","output":[]}"#)).await;
        let bed = World::of(vec![far(api, server.address)]).bed();
        for thoughts in [[own, claude, engine].concat(), kept.to_owned()] {
            let mut client = bed.client().await;
            client.send(post("/v1/responses", "", &body(&thoughts, "m"))).await;
            let (head, got) = client.message().await;
            assert_eq!(status(&head), 200, "{got}");
            assert_eq!(asked.recv().await.unwrap().1, body(kept, "gpt-4o-mini"), "{api:?}");
        }
    }
}

/// Anthropic's SDK has the server keep the conversations of its loops of tools, until it is told that it does not. A target that does
/// not know the field would answer the next turn without the ones before.
#[tokio::test]
async fn only_anthropic_keeps_conversations() {
    let body =
        r#"{"model":"m","max_tokens":50,"thread":{"type":"create"},"messages":[{"role":"user","content":"Hello"}]}"#;
    let engine = Engine::answering(plain(r#"{"content":[]}"#)).await;
    let pool = || World { pool: true, engines: vec![engine.address], ..World::of(Vec::new()) };
    let remote = |api| World::of(vec![far(api, engine.address)]);
    for (world, passes) in [
        (pool(), false),
        (remote(Api::Engine), false),
        (remote(Api::OpenAi), false),
        (remote(Api::Anthropic), true),
        // Who can is asked.
        (World { remotes: vec![far(Api::Anthropic, engine.address)], ..pool() }, true),
    ] {
        let bed = world.bed();
        let mut client = bed.client().await;
        client.send(post("/v1/messages", "", body)).await;
        let (head, got) = client.message().await;
        assert_eq!(status(&head), if passes { 200 } else { 400 }, "{got}");
        let told = r#""details":{"error_code":"thread_unsupported_request","unsupported":["thread"]}"#;
        assert_eq!(got.contains(told), !passes, "{got}");
    }
}

/// Many servers speak as OpenAI does and have no responses.
#[tokio::test]
async fn who_has_no_responses_is_asked_for_chat_completions() {
    let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let messages = r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"Hello"}]}"#;
    let responses = r#"{"model":"m","input":"Hello"}"#;
    let kept = r#"{"model":"m","input":"Hello","previous_response_id":"resp_1"}"#;
    let gone = r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#;
    for (refusal, body, surface, code, paths) in [
        (r#"{"detail":"Not Found"}"#, messages, "/v1/messages", 200, "responses chat/completions | chat/completions"),
        ("404 page not found", responses, "/v1/responses", 200, "responses chat/completions | chat/completions"),
        // What cannot be told in chat completions has its own answer.
        ("404 page not found", kept, "/v1/responses", 404, "responses | responses"),
        (gone, messages, "/v1/messages", 404, "responses | responses"),
    ] {
        let (told, mut paths_asked) = tokio::sync::mpsc::unbounded_channel();
        let engine = Engine::new(move |_, mut wire: Wire| {
            let told = told.clone();
            async move {
                loop {
                    let (head, _) = wire.message().await;
                    let path = head.split(' ').nth(1).unwrap().trim_start_matches("/v1/").to_owned();
                    let answer = if path == "responses" {
                        format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{refusal}", refusal.len())
                    } else {
                        plain(chat)
                    };
                    told.send(path).unwrap();
                    wire.send(answer).await;
                }
            }
        })
        .await;
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
        let mut seen = Vec::new();
        for turn in 0..2 {
            let mut client = bed.client().await;
            client.send(post(surface, "", body)).await;
            let (head, got) = client.message().await;
            assert_eq!(status(&head), code, "{surface}: {got}");
            if turn == 1 {
                seen.push("|".to_owned());
            }
            while let Ok(path) = paths_asked.try_recv() {
                seen.push(path);
            }
        }
        assert_eq!(seen.join(" "), paths, "{refusal}");
    }
}
