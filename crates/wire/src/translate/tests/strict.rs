//! Parsers of each shape's streams that take nothing which its definition does not allow.

use serde_json::{Value, json};

use super::*;

/// What a client has understood of a stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) text: String,
    pub(super) thoughts: String,
    pub(super) seals: Vec<String>,
    /// Id, name and arguments.
    pub(super) calls: Vec<(String, String, Value)>,
    pub(super) stop: Option<String>,
    pub(super) usage: Option<Value>,
    pub(super) error: Option<String>,
    pub(super) ended: bool,
}

/// The events of a stream as an ordinary client splits them.
fn split(stream: &str) -> Vec<(Option<String>, String)> {
    let mut all = Vec::new();
    for event in stream.split_terminator("\n\n") {
        let mut name = None;
        let mut data = None;
        for line in event.split('\n') {
            match line.split_once(": ").unwrap() {
                ("event", value) => assert!(name.replace(value.to_owned()).is_none(), "{event}"),
                ("data", value) => assert!(data.replace(value.to_owned()).is_none(), "{event}"),
                _ => panic!("{event}"),
            }
        }
        all.push((name, data.unwrap()));
    }
    assert!(stream.is_empty() || stream.ends_with("\n\n"));
    all
}

pub(super) fn read(shape: Shape, stream: &str) -> Seen {
    match shape {
        Chat => chat(stream),
        Messages => messages(stream),
        _ => responses(stream),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

fn chat(stream: &str) -> Seen {
    let mut seen = Seen::default();
    let mut calls: Vec<(String, String, String)> = Vec::new();
    let mut first = true;
    for (name, data) in split(stream) {
        assert!(name.is_none() && !seen.ended && seen.error.is_none(), "{data}");
        if data == "[DONE]" {
            seen.ended = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(&data).unwrap();
        if let Some(error) = chunk.get("error") {
            seen.error = Some(text(&error["message"]));
            continue;
        }
        assert_eq!((text(&chunk["id"]).as_str(), &chunk["object"]), ("chatcmpl-r1", &json!("chat.completion.chunk")));
        assert_eq!(chunk["created"], 1_700_000_000);
        text(&chunk["model"]);
        if chunk["usage"].is_object() {
            assert_eq!(chunk["choices"], json!([]));
            seen.usage = Some(chunk["usage"].clone());
            continue;
        }
        let [choice] = chunk["choices"].as_array().unwrap().as_slice() else { panic!("{data}") };
        assert_eq!(choice["index"], 0);
        assert!(seen.stop.is_none(), "nothing follows the finish reason: {data}");
        let delta = choice["delta"].as_object().unwrap();
        if first {
            assert_eq!(delta["role"], "assistant");
        }
        first = false;
        for (key, value) in delta {
            match key.as_str() {
                "role" => assert_eq!(value, "assistant"),
                "content" => seen.text += &text(value),
                "reasoning_content" => seen.thoughts += &text(value),
                "thinking_blocks" => seen.seals.push(text(&value[0]["signature"])),
                "tool_calls" => {
                    for call in value.as_array().unwrap() {
                        let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                        if at == calls.len() {
                            assert_eq!(call["type"], "function");
                            calls.push((text(&call["id"]), text(&call["function"]["name"]), String::new()));
                        } else {
                            assert!(call.get("id").is_none() && at + 1 == calls.len(), "{data}");
                        }
                        calls[at].2 += &text(&call["function"]["arguments"]);
                    }
                }
                other => panic!("{other}"),
            }
        }
        seen.stop = choice["finish_reason"].as_str().map(str::to_owned);
    }
    seen.calls = calls.into_iter().map(|(id, name, args)| (id, name, arguments(&args))).collect();
    seen
}

fn messages(stream: &str) -> Seen {
    let mut seen = Seen::default();
    let mut open: Option<(Value, String)> = None;
    let (mut index, mut started) = (0, false);
    for (name, data) in split(stream) {
        assert!(!seen.ended && seen.error.is_none(), "{data}");
        let event: Value = serde_json::from_str(&data).unwrap();
        let kind = text(&event["type"]);
        assert_eq!(name.as_deref(), Some(kind.as_str()));
        assert!(started || matches!(kind.as_str(), "message_start" | "error"), "{data}");
        assert!(seen.stop.is_none() || matches!(kind.as_str(), "message_stop" | "error"), "{data}");
        match kind.as_str() {
            "message_start" => {
                assert!(!started);
                started = true;
                let message = &event["message"];
                assert_eq!(
                    (&message["id"], &message["type"], &message["role"]),
                    (&json!("msg_r1"), &json!("message"), &json!("assistant"))
                );
                assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
                assert!(message["usage"]["input_tokens"].is_u64() && message["usage"]["output_tokens"].is_u64());
                text(&message["model"]);
            }
            "content_block_start" => {
                assert!(open.is_none() && event["index"] == index, "{data}");
                let block = event["content_block"].clone();
                match text(&block["type"]).as_str() {
                    "text" => assert_eq!(block["text"], ""),
                    "thinking" => assert_eq!((&block["thinking"], &block["signature"]), (&json!(""), &json!(""))),
                    "redacted_thinking" => drop(text(&block["data"])),
                    "tool_use" => assert_eq!(block["input"], json!({})),
                    other => panic!("{other}"),
                }
                open = Some((block, String::new()));
            }
            "content_block_delta" => {
                assert_eq!(event["index"], index);
                let (block, held) = open.as_mut().unwrap();
                let delta = &event["delta"];
                let (kind, of, piece) = match text(&delta["type"]).as_str() {
                    "text_delta" => ("text", "text", text(&delta["text"])),
                    "thinking_delta" => ("thinking", "thoughts", text(&delta["thinking"])),
                    "signature_delta" => ("thinking", "seal", text(&delta["signature"])),
                    "input_json_delta" => ("tool_use", "json", text(&delta["partial_json"])),
                    other => panic!("{other}"),
                };
                assert_eq!(block["type"], kind, "{data}");
                assert!(!piece.is_empty(), "{data}");
                match of {
                    "text" => seen.text += &piece,
                    "thoughts" => seen.thoughts += &piece,
                    "seal" => seen.seals.push(piece),
                    _ => *held += &piece,
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"], index);
                index += 1;
                let (block, held) = open.take().unwrap();
                if block["type"] == "tool_use" {
                    seen.calls.push((text(&block["id"]), text(&block["name"]), arguments(&held)));
                }
            }
            "message_delta" => {
                assert!(open.is_none(), "{data}");
                seen.stop = Some(text(&event["delta"]["stop_reason"]));
                assert!(event["delta"].get("stop_sequence").is_some());
                seen.usage = Some(event["usage"].clone());
            }
            "message_stop" => {
                assert!(seen.stop.is_some());
                seen.ended = true;
            }
            "error" => seen.error = Some(text(&event["error"]["message"])),
            other => panic!("{other}"),
        }
    }
    seen
}

fn responses(stream: &str) -> Seen {
    let mut seen = Seen::default();
    let mut open: Option<Value> = None;
    let mut held = String::new();
    let mut items: Vec<Value> = Vec::new();
    for (at, (name, data)) in split(stream).into_iter().enumerate() {
        assert!(!seen.ended && seen.error.is_none(), "{data}");
        let event: Value = serde_json::from_str(&data).unwrap();
        let kind = text(&event["type"]);
        assert_eq!(name.as_deref(), Some(kind.as_str()));
        assert_eq!(event["sequence_number"], at);
        assert!(at > 0 || matches!(kind.as_str(), "response.created" | "error"), "{data}");
        if let Some(id) = event.get("item_id") {
            assert_eq!(
                (Some(id), &event["output_index"]),
                (open.as_ref().map(|o| &o["id"]), &json!(items.len())),
                "{data}"
            );
        }
        match kind.as_str() {
            "response.created" | "response.in_progress" => assert_eq!(event["response"]["status"], "in_progress"),
            "response.output_item.added" => {
                assert!(open.is_none() && event["output_index"] == items.len(), "{data}");
                open = Some(event["item"].clone());
                held.clear();
            }
            "response.content_part.added" => {
                assert_eq!((&event["part"]["text"], &event["content_index"]), (&json!(""), &json!(0)));
            }
            "response.reasoning_summary_part.added" => assert_eq!(event["part"]["text"], ""),
            "response.output_text.delta"
            | "response.reasoning_summary_text.delta"
            | "response.function_call_arguments.delta" => {
                let piece = text(&event["delta"]);
                assert!(!piece.is_empty());
                held += &piece;
                assert_eq!(kind.contains("output_text"), event.get("logprobs").is_some());
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => assert_eq!(event["text"], held),
            "response.function_call_arguments.done" => assert_eq!(event["arguments"], held),
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                assert_eq!(event["part"]["text"], held);
            }
            "response.output_item.done" => {
                let item = event["item"].clone();
                let begun = open.take().unwrap();
                assert_eq!((&begun["id"], &begun["type"]), (&item["id"], &item["type"]));
                items.push(item);
            }
            "response.completed" | "response.incomplete" => {
                assert!(open.is_none());
                let response = &event["response"];
                assert_eq!(format!("response.{}", text(&response["status"])), kind);
                assert_eq!(response["output"], json!(items), "what is repeated at the end is what was told");
                for (field, usual) in [("id", json!("resp_r1")), ("object", json!("response")), ("error", Value::Null)]
                {
                    assert_eq!(response[field], usual);
                }
                seen.stop = response["incomplete_details"]["reason"].as_str().or(Some("completed")).map(str::to_owned);
                seen.usage = Some(response["usage"].clone()).filter(|u| !u.is_null());
                seen.ended = true;
            }
            "error" => seen.error = Some(text(&event["message"])),
            other => panic!("{other}"),
        }
    }
    for item in items {
        match text(&item["type"]).as_str() {
            "message" => seen.text += &text(&item["content"][0]["text"]),
            "reasoning" => {
                for part in item["summary"].as_array().unwrap() {
                    seen.thoughts += &text(&part["text"]);
                }
                seen.seals.extend(item.get("encrypted_content").map(text));
            }
            _ => seen.calls.push((text(&item["call_id"]), text(&item["name"]), arguments(&text(&item["arguments"])))),
        }
    }
    seen
}
