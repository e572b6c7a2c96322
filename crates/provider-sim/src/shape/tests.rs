//! What a stream tells is what a plain answer tells.

use serde_json::{Value, json};

use super::*;
use crate::answer::{Usage, answers};
use crate::ask::{anthropic, bedrock, chat, responses};
use crate::refusal::Api;

fn told() -> Told {
    Told::of(Usage { input: 10, cached: 3, written: 2, written_hour: 1, output: 9, reasoning: 4 })
}

/// The plain and the streamed answer to the same request.
fn both(api: Api, surface: Surface, body: &Value) -> (Value, Vec<Value>) {
    let write = |stream: bool| {
        let mut body = body.clone();
        if surface != Surface::Converse {
            body["stream"] = json!(stream);
        }
        if stream && surface == Surface::Chat {
            body["stream_options"] = json!({"include_usage": true});
        }
        let ask = match surface {
            Surface::Chat => chat::read(api, &body),
            Surface::Responses => responses::read(api, &body),
            Surface::Messages => anthropic::read(&body, None),
            _ => bedrock::read(&body, "anthropic.x", stream),
        };
        let ask = ask.unwrap();
        let about = About { api, ask: &ask, unique: "u".to_owned(), now: 1, told: Some(told()) };
        String::from_utf8(surface.write(&about, &answers(&ask, "nobody")).bytes()).unwrap()
    };
    let events = write(true);
    let events = events.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    (serde_json::from_str(&write(false)).unwrap(), events.map(|data| serde_json::from_str(data).unwrap()).collect())
}

/// All texts at `pointer` in the events, one after the other.
fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

const TOOLS: &str = r#"[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]"#;

#[test]
fn chat_streams_what_it_says() {
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    let (plain, events) = both(Api::OpenAi, Surface::Chat, &body);
    assert_eq!(plain["choices"][0]["message"]["content"], joined(&events, "/choices/0/delta/content"));
    assert_eq!(plain["choices"][0]["finish_reason"], joined(&events, "/choices/0/finish_reason"));
    assert_eq!(Some(&plain["usage"]), events.last().map(|event| &event["usage"]));
    assert_eq!(plain["usage"]["prompt_tokens"], 16, "cached tokens stand inside");
    assert!(events[..events.len() - 1].iter().all(|event| event["usage"].is_null() && event.get("usage").is_some()));
}

#[test]
fn chat_streams_the_calls_it_makes() {
    let tools: Value = serde_json::from_str(TOOLS).unwrap();
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "tools": tools});
    let (plain, events) = both(Api::OpenAi, Surface::Chat, &body);
    let call = &plain["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], r#"{"city":"simulated"}"#);
    let at = "/choices/0/delta/tool_calls/0";
    assert_eq!(call["function"]["arguments"], joined(&events, &format!("{at}/function/arguments")));
    assert_eq!(call["id"], joined(&events, &format!("{at}/id")));
    assert_eq!(plain["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn messages_stream_what_they_say() {
    let body = json!({
        "model": "claude-x", "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "hi"}],
    });
    let (plain, events) = both(Api::Anthropic, Surface::Messages, &body);
    assert_eq!(plain["content"][0]["thinking"], joined(&events, "/delta/thinking"));
    assert_eq!(plain["content"][0]["signature"], joined(&events, "/delta/signature"));
    assert_eq!(plain["content"][1]["text"], joined(&events, "/delta/text"));
    assert_eq!(plain["stop_reason"], joined(&events, "/delta/stop_reason"));
    assert_eq!(plain["usage"], events[events.len() - 2]["usage"]);
    assert_eq!(plain["usage"]["input_tokens"], 10, "cached tokens stand outside");
    assert_eq!(plain["usage"]["cache_creation_input_tokens"], 3);
    let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
}

#[test]
fn responses_stream_what_they_say() {
    let body = json!({"model": "gpt-5-mini", "input": "hi", "metadata": {"a": "b"}});
    let (plain, events) = both(Api::OpenAi, Surface::Responses, &body);
    assert_eq!(plain, events.last().unwrap()["response"]);
    assert_eq!(plain["metadata"], json!({"a": "b"}));
    assert_eq!(plain["output"][0]["type"], "reasoning");
    let said = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let said: String = said.filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(plain["output"][1]["content"][0]["text"], said);
    assert!(events.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
}

#[test]
fn converse_tells_its_usage_in_its_own_words() {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "Repeat: yes"}]}]});
    let ask = bedrock::read(&body, "anthropic.x", false).unwrap();
    let about = About { api: Api::Bedrock, ask: &ask, unique: "u".to_owned(), now: 1, told: Some(told()) };
    let plain = Surface::Converse.write(&about, &answers(&ask, "nobody")).bytes();
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(plain["output"]["message"]["content"][0]["text"], "yes");
    assert_eq!(plain["usage"]["totalTokens"], 25);
    assert_eq!(plain["stopReason"], "end_turn");
}

#[test]
fn usage_is_falsified_as_asked() {
    let falsified = |falsity| told().falsified(falsity).map(|told| (told.input, told.output));
    assert_eq!(falsified(Falsity::Absent), None);
    assert_eq!(falsified(Falsity::Zero), Some((0, 0)));
    assert_eq!(falsified(Falsity::Negative), Some((-10, -9)));
    assert_eq!(falsified(Falsity::Huge), Some((10_000_000, 9_000_000)));
}
