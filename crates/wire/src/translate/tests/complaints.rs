//! What users of other gateways reported, each as the test that would have found it. Numbers are those of our list.

use super::strict::read;
use super::*;

fn stream(from: Shape, data: &[Value]) -> String {
    events(from != Chat, data) + if from == Chat { "data: [DONE]\n\n" } else { "" }
}

/// 5.21 (Bifrost 1.6.7): dead streams were reported as a clean `[DONE]`.
#[test]
fn c5_21_a_dead_stream_is_not_done() {
    for count in 1..17 {
        let cut: String = sample(Messages).split_inclusive("\n\n").take(count).collect();
        let out = streamed(Messages, Chat, true, cut.as_bytes());
        assert!(!out.contains("[DONE]") && !out.contains("finish_reason\":\""), "{count}: {out}");
        assert!(out.trim_end().ends_with(r#""code":"upstream_cut"}}"#), "{count}: {out}");
    }
}

/// 5.22 (LiteLLM #25321, #25561, #25836): arguments of calls were lost for clients of messages, on three paths: in pieces, told
/// only when they are done, told only with the whole item.
#[test]
fn c5_22_arguments_of_calls_arrive() {
    let whole = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"x\":1}"});
    let named = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": ""});
    let created = json!({"type": "response.created", "response": {"model": "m"}});
    let added = json!({"type": "response.output_item.added", "output_index": 0, "item": named});
    let piece =
        |text: &str| json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": text});
    let done = json!({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{\"x\":1}"});
    let item = json!({"type": "response.output_item.done", "output_index": 0, "item": whole});
    let end = json!({"type": "response.completed", "response": {"status": "completed"}});
    let responses = [
        vec![&added, &piece("{\"x\""), &piece(":1}"), &done, &item].into_iter().cloned().collect::<Vec<_>>(),
        vec![added.clone(), done.clone(), item.clone()],
        vec![added, item.clone()],
        vec![item],
    ];
    for told in responses {
        let data: Vec<Value> = [created.clone()].into_iter().chain(told).chain([end.clone()]).collect();
        for to in [Messages, Chat] {
            let seen = read(to, &streamed(Responses, to, false, stream(Responses, &data).as_bytes()));
            assert_eq!(seen.calls, [("a".to_owned(), "f".to_owned(), json!({"x": 1}))], "{to}: {data:?}");
        }
    }
}

/// 5.23 (LiteLLM #29286): vLLM sends content beside an empty list of calls, and clients saw an empty call.
#[test]
fn c5_23_an_empty_list_of_calls_is_no_call() {
    let said = chat_chunk(&json!({"role": "assistant", "content": "Hi", "tool_calls": []}), None);
    let data = [said, chat_chunk(&json!({"content": "", "tool_calls": []}), Some("stop"))];
    let out = streamed(Chat, Messages, false, stream(Chat, &data).as_bytes());
    let seen = read(Messages, &out);
    assert_eq!((seen.text.as_str(), seen.calls.len(), seen.stop.as_deref()), ("Hi", 0, Some("end_turn")));
    assert!(!out.contains("input_json_delta"));
}

/// 5.24 (LiteLLM #29518, #20433): reasoning was lost, in both directions.
#[test]
fn c5_24_reasoning_arrives() {
    for name in ["reasoning", "reasoning_content"] {
        let data = [chat_chunk(&json!({name: "hm"}), None), chat_chunk(&json!({"content": "a"}), Some("stop"))];
        assert_eq!(read(Messages, &streamed(Chat, Messages, false, stream(Chat, &data).as_bytes())).thoughts, "hm");
    }
    assert_eq!(read(Chat, &streamed(Messages, Chat, false, sample(Messages).as_bytes())).thoughts, "hm");
}

/// 5.25 (Portkey #1259, #1399): usage was lost at the end of streams, and the first chunk had no role.
#[test]
fn c5_25_the_first_chunk_has_a_role_and_the_last_the_usage() {
    for from in [Messages, Responses, Converse] {
        let out = streamed(from, Chat, true, sample(from).as_bytes());
        let chunks: Vec<&str> = out.split_terminator("\n\n").collect();
        assert!(chunks[0].contains(r#""delta":{"role":"assistant","content":""}"#), "{from}: {}", chunks[0]);
        let [.., usage, done] = chunks.as_slice() else { panic!("{out}") };
        assert!(
            usage.contains(r#""choices":[],"usage":{"prompt_tokens":30"#) && *done == "data: [DONE]",
            "{from}: {usage}"
        );
    }
}

/// 5.27, 5.28 (LiteLLM #11364, #11789; Bifrost #5354): tokens of caches were counted twice, at the beginning and the end of streams.
#[test]
fn c5_28_tokens_of_caches_are_counted_once() {
    let usage = |output: u64| {
        json!({"input_tokens": 15, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4}, "output_tokens": output})
    };
    let end = |output: u64| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage(output)});
    // The figures are cumulative, and the event may come more than once.
    let data = [
        json!({"type": "message_start", "message": {"model": "m", "usage": usage(1)}}),
        end(7),
        end(12),
        json!({"type": "message_stop"}),
    ];
    let mut translator = Stream::new(Messages, Chat, asked(true)).unwrap();
    translator.push(stream(Messages, &data).as_bytes(), &mut Vec::new());
    let want =
        Tokens { prompt: 15, cache_read: 10, cache_write: 5, cache_write_hour: 4, completion: 12, reasoning: None };
    assert_eq!((translator.tokens(), translator.done()), (Some(want), true));
    assert_eq!((want.whole_prompt(), want.total()), (30, 42));
}
