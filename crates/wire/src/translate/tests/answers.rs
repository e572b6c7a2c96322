//! Whole answers.

use super::*;

fn whole(from: Shape) -> Value {
    match from {
        Chat => json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-x",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hello",
                "refusal": null, "reasoning_content": "hm", "tool_calls": [
                    {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                    {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}}]}}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3}}}),
        Messages => json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "Hello"},
                {"type": "tool_use", "id": "call_a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "call_b", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 15, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5,
                "output_tokens": 12, "output_tokens_details": {"thinking_tokens": 3}}}),
        Responses => {
            json!({"id": "resp", "object": "response", "status": "completed", "model": "gpt-x", "error": null, "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "enc"},
                {"type": "message", "id": "msg", "role": "assistant", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
                {"type": "function_call", "id": "fc", "call_id": "call_a", "name": "f", "arguments": "{\"x\":1}"},
                {"type": "function_call", "id": "fc", "call_id": "call_b", "name": "g", "arguments": "{}"}],
            "usage": {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 42}})
        }
        _ => json!({"output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"text": "Hello"},
                {"toolUse": {"toolUseId": "call_a", "name": "f", "input": {"x": 1}}},
                {"toolUse": {"toolUseId": "call_b", "name": "g", "input": {}}}]}},
            "stopReason": "tool_use", "metrics": {"latencyMs": 1},
            "usage": {"inputTokens": 15, "outputTokens": 12, "totalTokens": 42, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 5}}),
    }
}

fn said(from: Shape, to: Shape, body: &Value) -> Result<Value, BadAnswer> {
    let whole = answer(from, to, body.to_string().as_bytes(), &asked(true))?;
    Ok(serde_json::from_slice(&whole.body).unwrap())
}

#[test]
fn thoughts_among_the_parts_of_a_content_are_thoughts() {
    let mut body = whole(Chat);
    let message = &mut body["choices"][0]["message"];
    message["reasoning_content"] = Value::Null;
    message["content"] =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]);
    let got = said(Chat, Messages, &body).unwrap();
    assert_eq!((&got["content"][0]["thinking"], &got["content"][1]["text"]), (&json!("hm"), &json!("Hi")), "{got}");
    let got = said(Chat, Responses, &body).unwrap();
    assert_eq!(got["output"][0]["summary"][0]["text"], "hm", "{got}");
}

#[test]
fn every_way_tells_the_same() {
    for (from, to) in WAYS {
        let got = said(from, to, &whole(from)).unwrap();
        let thought = if from == Converse { 0 } else { 3 };
        let model = match from {
            Converse => "assistant",
            Messages => "claude-x",
            _ => "gpt-x",
        };
        assert_eq!(got["model"], model, "{from} to {to}");
        let want = match to {
            Chat => {
                assert_eq!(got["choices"][0]["finish_reason"], "tool_calls");
                assert_eq!(got["usage"]["completion_tokens_details"]["reasoning_tokens"], thought);
                assert_eq!(got["usage"]["total_tokens"], 42);
                let message = &got["choices"][0]["message"];
                json!([
                    message["reasoning_content"],
                    message["content"],
                    message["tool_calls"][0]["function"]["name"],
                    message["tool_calls"][1]["function"]["arguments"]
                ])
            }
            Messages => {
                assert_eq!((&got["stop_reason"], &got["usage"]["input_tokens"]), (&json!("tool_use"), &json!(15)));
                json!([
                    got["content"][0]["thinking"],
                    got["content"][1]["text"],
                    got["content"][2]["name"],
                    got["content"][3]["input"].to_string()
                ])
            }
            _ => {
                assert_eq!((&got["status"], &got["usage"]["total_tokens"]), (&json!("completed"), &json!(42)));
                let output = &got["output"];
                json!([
                    output[0]["summary"][0]["text"],
                    output[1]["content"][0]["text"],
                    output[2]["name"],
                    output[3]["arguments"]
                ])
            }
        };
        assert_eq!(want, json!(["hm", "Hello", "f", "{}"]), "{from} to {to}");
    }
}

#[test]
fn reasons_to_stop() {
    let cases = [
        ("end_turn", "stop", "completed"),
        ("stop_sequence", "stop", "completed"),
        ("max_tokens", "length", "max_output_tokens"),
        ("model_context_window_exceeded", "length", "max_output_tokens"),
        ("refusal", "content_filter", "content_filter"),
        ("pause_turn", "stop", "completed"),
        ("some_new_one", "stop", "completed"),
    ];
    for (reason, chat, responses) in cases {
        let mut body = whole(Messages);
        body["content"] = json!([{"type": "text", "text": "a"}]);
        body["stop_reason"] = json!(reason);
        assert_eq!(said(Messages, Chat, &body).unwrap()["choices"][0]["finish_reason"], chat, "{reason}");
        let got = said(Messages, Responses, &body).unwrap();
        let why = got["incomplete_details"]["reason"].as_str().unwrap_or("completed");
        assert_eq!(why, responses, "{reason}");
    }
    for (reason, chat, messages) in
        [("max_output_tokens", "length", "max_tokens"), ("content_filter", "content_filter", "refusal")]
    {
        let mut body = whole(Responses);
        body["output"].as_array_mut().unwrap().truncate(2);
        body["status"] = json!("incomplete");
        body["incomplete_details"] = json!({"reason": reason});
        assert_eq!(said(Responses, Chat, &body).unwrap()["choices"][0]["finish_reason"], chat);
        assert_eq!(said(Responses, Messages, &body).unwrap()["stop_reason"], messages);
    }
    let converse = [("end_turn", "stop"), ("max_tokens", "length"), ("guardrail_intervened", "content_filter")];
    for (reason, want) in converse {
        let mut body = whole(Converse);
        body["stopReason"] = json!(reason);
        assert_eq!(said(Converse, Chat, &body).unwrap()["choices"][0]["finish_reason"], want);
    }
    for (reason, want) in [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")] {
        let mut body = whole(Chat);
        body["choices"][0] = json!({"message": {"content": "a"}, "finish_reason": reason});
        assert_eq!(said(Chat, Messages, &body).unwrap()["stop_reason"], want);
    }
}

#[test]
fn half_a_call_is_not_made() {
    let mut body = whole(Chat);
    body["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"] = json!("{\"x\": ");
    assert_eq!(said(Chat, Messages, &body), Err(BadAnswer::Arguments));
    body["choices"][0]["finish_reason"] = json!("length");
    let got = said(Chat, Messages, &body).unwrap();
    assert_eq!((got["content"].as_array().unwrap().len(), &got["stop_reason"]), (3, &json!("max_tokens")));
}

#[test]
fn what_is_no_answer() {
    let shape = |from| Some(BadAnswer::Shape(from));
    let cases = [
        (Chat, json!({}), shape(Chat)),
        (Chat, json!({"choices": []}), shape(Chat)),
        (Chat, json!([]), shape(Chat)),
        (Messages, json!({"type": "message"}), shape(Messages)),
        (Responses, json!({"output": null}), shape(Responses)),
        (Converse, json!({"output": {}}), shape(Converse)),
        (Chat, json!({"error": {"message": "m", "code": "overloaded"}}), None),
        (Messages, json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}), None),
        (Responses, json!({"status": "failed", "error": {"message": "m", "code": "server_error"}, "output": []}), None),
    ];
    for (from, body, want) in cases {
        let to = if from == Messages { Chat } else { Messages };
        let got = said(from, to, &body).unwrap_err();
        match want {
            Some(want) => assert_eq!(got, want, "{body}"),
            None => assert!(matches!(&got, BadAnswer::Failed(failure) if failure.message == "m"), "{body}: {got:?}"),
        }
    }
}

#[test]
fn thoughts_that_only_the_total_has_are_written_tokens() {
    let mut body = whole(Chat);
    // As Gemini's compatible endpoint has it.
    body["usage"] = json!({"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 142});
    let got = said(Chat, Messages, &body).unwrap();
    assert_eq!((&got["usage"]["input_tokens"], &got["usage"]["output_tokens"]), (&json!(30), &json!(112)));
    assert_eq!(got["usage"]["output_tokens_details"]["thinking_tokens"], 100);
}
