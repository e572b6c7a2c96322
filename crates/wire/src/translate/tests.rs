//! What each translation gives, case by case, and what holds for all of them.

use serde_json::{Value, json};

use super::*;
use Shape::{Chat, Converse, Messages, Responses};

mod answers;
mod bedrock;
mod complaints;
mod openai;
mod requests;
mod splits;
mod streams;
mod strict;

const TARGET: Target<'_> = Target { model: "m-1", max_tokens: 4096, compatible: false };

fn asked(include_usage: bool) -> Asked {
    let request = request(Responses, Chat, br#"{"model":"x","input":"Hi"}"#, &TARGET).unwrap();
    let echo = Echo { include_usage, ..request.echo };
    Asked { id: "r1".to_owned(), created: 1_700_000_000, model: "assistant".to_owned(), echo }
}

/// The request as the target gets it.
fn to(from: Shape, to: Shape, body: &Value) -> Value {
    let translated = request(from, to, body.to_string().as_bytes(), &TARGET).unwrap();
    serde_json::from_slice(&translated.body).unwrap()
}

/// A stream in the client's shape, of events of the target's.
fn streamed(from: Shape, to: Shape, include_usage: bool, bytes: &[u8]) -> String {
    let mut stream = Stream::new(from, to, asked(include_usage)).unwrap();
    let mut out = Vec::new();
    push(&mut stream, from, bytes, &mut out);
    stream.finish(End::Closed, &mut out);
    String::from_utf8(out).unwrap()
}

/// Events of Converse are written here as `kind payload` lines: their binary framing is taken off elsewhere.
fn push(stream: &mut Stream, from: Shape, bytes: &[u8], out: &mut Vec<u8>) {
    if from != Converse {
        return stream.push(bytes, out);
    }
    for line in std::str::from_utf8(bytes).unwrap().lines().filter(|l| !l.is_empty()) {
        let (kind, payload) = line.split_once(' ').unwrap();
        stream.push_event(kind, payload.as_bytes(), out);
    }
}

/// Server-sent events of these data, each named by its `type` if `named`.
fn events(named: bool, data: &[Value]) -> String {
    let one = |value: &Value| match value["type"].as_str().filter(|_| named) {
        Some(kind) => format!("event: {kind}\ndata: {value}\n\n"),
        None => format!("data: {value}\n\n"),
    };
    data.iter().map(one).collect()
}

fn chat_chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// One answer in every shape: a thought, a text in two pieces, two calls.
fn sample(shape: Shape) -> String {
    match shape {
        Chat => {
            let usage = json!({"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3}});
            let call = |index: u32, more: Value| json!({"tool_calls": [{"index": index, "function": more}]});
            let begin = |index: u32, id: &str, name: &str| {
                json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]})
            };
            events(
                false,
                &[
                    chat_chunk(&json!({"role": "assistant", "content": ""}), None),
                    chat_chunk(&json!({"reasoning_content": "hm"}), None),
                    chat_chunk(&json!({"content": "Hel", "tool_calls": []}), None),
                    chat_chunk(&json!({"content": "lo \u{e9}\n"}), None),
                    chat_chunk(&begin(0, "call_a", "f"), None),
                    chat_chunk(&call(0, json!({"arguments": "{\"x\""})), None),
                    chat_chunk(&call(0, json!({"arguments": ":1}"})), None),
                    chat_chunk(&begin(1, "call_b", "g"), None),
                    chat_chunk(&json!({}), Some("tool_calls")),
                    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "choices": [], "usage": usage}),
                ],
            ) + "data: [DONE]\n\n"
        }
        Messages => {
            let block = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
            let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
            let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
            events(
                true,
                &[
                    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
                        "content": [], "stop_reason": null, "stop_sequence": null,
                        "usage": {"input_tokens": 15, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1}}}),
                    block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
                    json!({"type": "ping"}),
                    delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
                    delta(0, json!({"type": "signature_delta", "signature": "sig"})),
                    stop(0),
                    block(1, json!({"type": "text", "text": ""})),
                    delta(1, json!({"type": "text_delta", "text": "Hel"})),
                    delta(1, json!({"type": "text_delta", "text": "lo \u{e9}\n"})),
                    stop(1),
                    block(2, json!({"type": "tool_use", "id": "call_a", "name": "f", "input": {}})),
                    delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
                    delta(2, json!({"type": "input_json_delta", "partial_json": "{\"x\""})),
                    delta(2, json!({"type": "input_json_delta", "partial_json": ":1}"})),
                    stop(2),
                    block(3, json!({"type": "tool_use", "id": "call_b", "name": "g", "input": {}})),
                    stop(3),
                    json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                        "usage": {"output_tokens": 12, "output_tokens_details": {"thinking_tokens": 3}}}),
                    json!({"type": "message_stop"}),
                ],
            )
        }
        Responses => {
            let added = |index: u32, item: Value| json!({"type": "response.output_item.added", "output_index": index, "item": item});
            let done = |index: u32, item: Value| json!({"type": "response.output_item.done", "output_index": index, "item": item});
            let usage = json!({"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 42});
            let sealed = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "enc"});
            let call = |arguments: &str| json!({"type": "function_call", "id": "fc_1", "call_id": "call_a", "name": "f", "arguments": arguments});
            let other = |arguments: &str| json!({"type": "function_call", "id": "fc_2", "call_id": "call_b", "name": "g", "arguments": arguments});
            events(
                true,
                &[
                    json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-x", "status": "in_progress", "output": []}}),
                    json!({"type": "response.in_progress", "response": {"id": "resp_1", "model": "gpt-x", "status": "in_progress", "output": []}}),
                    added(0, json!({"type": "reasoning", "id": "rs_1", "summary": []})),
                    json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0}),
                    json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "hm"}),
                    done(0, sealed.clone()),
                    added(1, json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []})),
                    json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hel"}),
                    json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "lo \u{e9}\n"}),
                    json!({"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Hello \u{e9}\n"}),
                    added(2, call("")),
                    json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"x\""}),
                    json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"}),
                    json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"x\":1}"}),
                    done(2, call("{\"x\":1}")),
                    // As some servers do: the whole call at once.
                    done(3, other("{}")),
                    json!({"type": "response.completed", "response": {"id": "resp_1", "model": "gpt-x", "status": "completed", "output": [], "usage": usage}}),
                ],
            )
        }
        Converse => [
            r#"messageStart {"role":"assistant"}"#,
            r#"contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#,
            r#"contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}}}"#,
            r#"contentBlockStop {"contentBlockIndex":0}"#,
            r#"contentBlockDelta {"contentBlockIndex":1,"delta":{"text":"Hel"}}"#,
            r#"contentBlockDelta {"contentBlockIndex":1,"delta":{"text":"lo \u00e9\n"}}"#,
            r#"contentBlockStop {"contentBlockIndex":1}"#,
            r#"contentBlockStart {"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"call_a","name":"f"}}}"#,
            r#"contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"x\""}}}"#,
            r#"contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}"#,
            r#"contentBlockStop {"contentBlockIndex":2}"#,
            r#"contentBlockStart {"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"call_b","name":"g"}}}"#,
            r#"contentBlockStop {"contentBlockIndex":3}"#,
            r#"messageStop {"stopReason":"tool_use"}"#,
            r#"metadata {"usage":{"inputTokens":15,"outputTokens":12,"totalTokens":42,"cacheReadInputTokens":10,"cacheWriteInputTokens":5},"metrics":{"latencyMs":3}}"#,
        ]
        .join("\n"),
        Shape::Completions | Shape::Embeddings => String::new(),
    }
}

const WAYS: [(Shape, Shape); 9] = [
    (Chat, Messages),
    (Chat, Responses),
    (Messages, Chat),
    (Messages, Responses),
    (Responses, Chat),
    (Responses, Messages),
    (Converse, Chat),
    (Converse, Messages),
    (Converse, Responses),
];
