//! Requests.

use proptest::prelude::*;

use super::*;
use crate::unified;

/// A conversation with everything that all of chat, messages and responses can say.
fn chat() -> Value {
    json!({
        "model": "assistant",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2.50}"}},
                {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_a", "content": "one"},
            {"role": "tool", "tool_call_id": "call_b", "content": "two"},
            {"role": "user", "content": "Go on."}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}, "strict": true}}],
        "tool_choice": "required", "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "max_completion_tokens": 100, "temperature": 0.7, "top_p": 0.9, "user": "u1",
        "n": 1, "logprobs": false, "store": false, "frequency_penalty": 0, "stream": true,
        "stream_options": {"include_usage": true}
    })
}

#[test]
fn chat_to_messages() {
    let got = to(Chat, Messages, &chat());
    let want = json!({
        "model": "m-1", "max_tokens": 100, "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAA="}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "call_a", "name": "f", "input": {"b": 1, "a": 2.5}},
                {"type": "tool_use", "id": "call_b", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "call_b", "content": "two"},
                {"type": "text", "text": "Go on."}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}, "strict": true}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "temperature": 0.7, "top_p": 0.9,
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u1"}, "stream": true
    });
    assert_eq!(got, want);
}

#[test]
fn chat_to_responses() {
    let got = to(Chat, Responses, &chat());
    let want = json!({
        "model": "m-1", "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAA=", "detail": "auto"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}]},
            {"role": "assistant", "content": "Let me look."},
            {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{\"b\":1,\"a\":2.50}"},
            {"type": "function_call", "call_id": "call_b", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_a", "output": "one"},
            {"type": "function_call_output", "call_id": "call_b", "output": "two"},
            {"role": "user", "content": "Go on."}],
        "tools": [{"type": "function", "name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}, "strict": true}],
        "tool_choice": "required", "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "max_output_tokens": 100, "temperature": 0.7, "top_p": 0.9, "user": "u1", "store": false, "stream": true
    });
    assert_eq!(got, want);
}

#[test]
fn chat_to_converse() {
    let mut body = chat();
    body["messages"][1]["content"].as_array_mut().unwrap().pop();
    body["parallel_tool_calls"] = json!(true);
    body["stop"] = json!(["###"]);
    let got = to(Chat, Converse, &body);
    let want = json!({
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [
                {"text": "What is this?"}, {"image": {"format": "png", "source": {"bytes": "AAA="}}}]},
            {"role": "assistant", "content": [
                {"text": "Let me look."},
                {"toolUse": {"toolUseId": "call_a", "name": "f", "input": {"b": 1, "a": 2.5}}},
                {"toolUse": {"toolUseId": "call_b", "name": "g", "input": {}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "call_a", "content": [{"text": "one"}]}},
                {"toolResult": {"toolUseId": "call_b", "content": [{"text": "two"}]}},
                {"text": "Go on."}]}],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.7, "topP": 0.9, "stopSequences": ["###"]},
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "d",
            "inputSchema": {"json": {"type": "object", "properties": {"z": {}, "a": {}}}}, "strict": true}}], "toolChoice": {"any": {}}},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}", "name": "n"}}}}
    });
    assert_eq!(got, want);
}

/// Newer models of Anthropic's take less and less of what samples; what they refuse is told with the field, so that a target that can
/// is asked.
#[test]
fn sampling_is_told_as_far_as_the_model_takes_it() {
    let sampled = |model: &str, more: &Value| {
        let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let got = request(Chat, Messages, body.to_string().as_bytes(), &Target { model, ..TARGET });
        got.map_err(|why| why.field).map(|there| {
            let there: Value = serde_json::from_slice(&there.body).unwrap();
            (there["temperature"].as_f64(), there["top_p"].as_f64())
        })
    };
    let both = json!({"temperature": 0.5, "top_p": 0.9});
    let refused = |field: &str| Err(field.to_owned());
    for (model, more, want) in [
        ("claude-3-7-sonnet-20250219", &both, Ok((Some(0.5), Some(0.9)))),
        ("claude-sonnet-4-20250514", &both, Ok((Some(0.5), Some(0.9)))),
        ("claude-opus-4-1-20250805", &both, refused("top_p")),
        ("claude-haiku-4-5", &both, refused("top_p")),
        ("claude-haiku-4-5", &json!({"temperature": 0.5}), Ok((Some(0.5), None))),
        ("claude-haiku-4-5", &json!({"temperature": 0.5, "top_p": 1}), Ok((Some(0.5), None))),
        ("claude-sonnet-4-6", &json!({"temperature": 1, "top_p": 0.9}), Ok((None, Some(0.9)))),
        ("claude-sonnet-4-6", &json!({"temperature": 0, "reasoning_effort": "low"}), refused("temperature")),
        ("claude-opus-4-7", &json!({"temperature": 0.5}), refused("temperature")),
        ("claude-opus-4-7", &json!({"top_p": 0.5}), refused("top_p")),
        ("claude-sonnet-5", &json!({"temperature": 1, "top_p": 1.0}), Ok((None, None))),
        ("claude-sonnet-5", &json!({}), Ok((None, None))),
    ] {
        assert_eq!(sampled(model, more), want, "{model} {more}");
    }
}

#[test]
fn claude_behind_converse_thinks() {
    let body = json!({"model": "x", "reasoning_effort": "medium", "messages": [{"role": "user", "content": "Hi"}]});
    let claude = Target { model: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", ..TARGET };
    for (target, thinks) in [(claude, true), (TARGET, false)] {
        let translated = request(Chat, Converse, body.to_string().as_bytes(), &target).unwrap();
        let got: Value = serde_json::from_slice(&translated.body).unwrap();
        assert_eq!(got["additionalModelRequestFields"]["thinking"]["budget_tokens"].as_u64(), thinks.then_some(4096));
        assert_eq!(got["inferenceConfig"]["maxTokens"].as_u64(), thinks.then_some(8192));
        assert_eq!(translated.given_up.is_empty(), thinks);
    }
}

#[test]
fn newer_models_decide_themselves_how_much_to_think() {
    let target = Target { model: "claude-sonnet-5", ..TARGET };
    let body = json!({"model": "x", "reasoning_effort": "minimal", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let translated = request(Chat, Messages, body.to_string().as_bytes(), &target).unwrap();
    let got: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!((&got["thinking"], &got["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "low"})));
    let target = Target { model: "claude-3-5-haiku-20241022", ..TARGET };
    let translated = request(Chat, Messages, body.to_string().as_bytes(), &target).unwrap();
    assert!(!String::from_utf8(translated.body).unwrap().contains("thinking"));
    assert_eq!(translated.given_up, ["reasoning_effort"]);
}

/// Clients of messages ask for thoughts without knowing who answers.
#[test]
fn thinking_is_not_asked_of_those_who_refuse_to_be_asked() {
    let body = json!({"model": "x", "max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [{"role": "user", "content": "Hi"}]});
    for (model, compatible, effort) in [
        ("gpt-5-mini", false, Some("low")),
        ("gpt-4o-mini", false, None),
        ("ft:gpt-4o:x", false, None),
        ("llama3.1:8b", true, None),
    ] {
        let target = Target { model, compatible, ..TARGET };
        for to in [Chat, Responses] {
            let translated = request(Messages, to, body.to_string().as_bytes(), &target).unwrap();
            let got: Value = serde_json::from_slice(&translated.body).unwrap();
            let told = got["reasoning_effort"].as_str().or_else(|| got["reasoning"]["effort"].as_str());
            assert_eq!((told, translated.given_up.contains(&"thinking")), (effort, effort.is_none()), "{model} {to}");
        }
    }
}

#[test]
fn messages_to_chat() {
    let body = json!({
        "model": "assistant", "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"type": "text", "text": "And kind."}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "Look:"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2.5}, "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "bad"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAA="}}]},
                {"type": "text", "text": "Go on."}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": true}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "stop_sequences": ["a", "b"], "metadata": {"user_id": "u1"}, "temperature": 1, "service_tier": "auto",
        "context_management": {"edits": []}
    });
    let translated = request(Messages, Chat, body.to_string().as_bytes(), &TARGET).unwrap();
    let want = json!({
        "model": "m-1",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "And kind."}]},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Look:", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":2.5,\"b\":1}"}}]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "bad"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}},
                {"type": "text", "text": "Go on."}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "max_completion_tokens": 100, "stop": ["a", "b"], "reasoning_effort": "medium", "user": "u1"
    });
    assert_eq!(serde_json::from_slice::<Value>(&translated.body).unwrap(), want);
    let given_up = ["eager_input_streaming", "context_management", "cache_control", "is_error", "thinking"];
    let mut got = translated.given_up;
    got.sort_unstable();
    let mut want = given_up.to_vec();
    want.sort_unstable();
    assert_eq!(got, want);
}

#[test]
fn compatible_servers_get_the_older_names() {
    let target = Target { compatible: true, ..TARGET };
    let body = json!({"model": "x", "max_tokens": 5, "top_k": 3, "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let translated = request(Messages, Chat, body.to_string().as_bytes(), &target).unwrap();
    let want = json!({"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "top_k": 3,
        "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(serde_json::from_slice::<Value>(&translated.body).unwrap(), want);
    assert!(translated.stream);
}

#[test]
fn order_and_numbers_of_a_schema_stay() {
    let schema =
        r#"{"type":"object","properties":{"z":{"minimum":1.50},"a":{"enum":["\u00e9"]}},"required":["z","a"]}"#;
    let body = format!(
        r#"{{"model":"x","messages":[{{"role":"user","content":"Hi"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]}}"#
    );
    for shape in [Messages, Responses, Converse] {
        let translated = request(Chat, shape, body.as_bytes(), &TARGET).unwrap();
        assert!(String::from_utf8(translated.body).unwrap().contains(schema), "{shape}");
    }
}

#[test]
fn a_limit_is_put_where_it_must_be() {
    let body = json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(to(Chat, Messages, &body)["max_tokens"], 4096);
    assert_eq!(to(Chat, Responses, &body).get("max_output_tokens"), None);
    let body = json!({"model": "x", "reasoning_effort": "high", "messages": [{"role": "user", "content": "Hi"}]});
    let got = to(Chat, Messages, &body);
    assert_eq!((&got["max_tokens"], &got["thinking"]["budget_tokens"]), (&json!(4096 + 16_384), &json!(16_384)));
}

#[test]
fn thinking_leaves_room_and_is_left_where_it_cannot_be() {
    let body = |more: Value| {
        let mut body =
            json!({"model": "x", "reasoning_effort": "high", "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    assert_eq!(to(Chat, Messages, &body(json!({"max_tokens": 2000})))["thinking"]["budget_tokens"], 1999);
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let after_tools = json!({"messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "a", "content": "1"}]});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for more in [json!({"max_tokens": 500}), json!({"tools": tools, "tool_choice": "required"}), after_tools.clone()] {
        let translated = request(Chat, Messages, body(more).to_string().as_bytes(), &TARGET).unwrap();
        assert!(!String::from_utf8(translated.body).unwrap().contains("budget_tokens"));
        assert_eq!(translated.given_up, ["reasoning_effort"]);
    }
    // With its thoughts brought along, the turn goes on thinking.
    let mut with_thoughts = body(after_tools);
    with_thoughts["messages"][1]["thinking_blocks"] =
        json!([{"type": "thinking", "thinking": "hm", "signature": "sig"}]);
    let got = to(Chat, Messages, &with_thoughts);
    assert_eq!(got["thinking"]["type"], "enabled");
    assert_eq!(got["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "hm", "signature": "sig"}));
}

#[test]
fn a_choice_among_some_tools_leaves_the_others_out() {
    let tools = |names: &[&str], tool: fn(&str) -> Value| names.iter().copied().map(tool).collect::<Value>();
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let flat = |name: &str| json!({"type": "function", "name": name});
    let user = json!([{"role": "user", "content": "Hi"}]);
    let chat = |mode: &str, among: &[&str]| {
        json!({"model": "x", "messages": user, "tools": tools(&["f", "g", "h"], function), "tool_choice":
            {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools(among, function)}}})
    };
    let responses = |mode: &str, among: &[&str]| {
        json!({"model": "x", "input": "Hi", "tools": tools(&["f", "g", "h"], flat),
            "tool_choice": {"type": "allowed_tools", "mode": mode, "tools": tools(among, flat)}})
    };
    for (mode, want) in [("auto", "auto"), ("required", "any")] {
        for (from, body) in [(Chat, chat(mode, &["h", "f"])), (Responses, responses(mode, &["h", "f"]))] {
            let got = to(from, Messages, &body);
            let names: Vec<&str> =
                got["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
            assert_eq!((names, &got["tool_choice"]["type"]), (vec!["f", "h"], &json!(want)), "{body}");
        }
    }
    let target = Target { model: "m-1", max_tokens: 4096, compatible: false };
    for (from, body, field) in [
        (Chat, chat("auto", &["x"]), "tool_choice.tools"),
        (Chat, chat("none", &["f"]), "tool_choice.allowed_tools.mode"),
        (Responses, responses("auto", &[]), "tool_choice.tools"),
    ] {
        let why = request(from, Messages, body.to_string().as_bytes(), &target).unwrap_err();
        assert_eq!(why.field, field, "{body}");
    }
}

#[test]
fn documents_of_text_are_text() {
    let document = |source: Value| {
        json!({"model": "x", "max_tokens": 50, "messages": [{"role": "user", "content": [
            {"type": "document", "title": "Rules", "source": source, "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Sum up."}]}]})
    };
    let part = json!({"type": "text", "text": "One."});
    for (source, want) in [
        (json!({"type": "text", "media_type": "text/plain", "data": "One."}), "Rules\n\nOne."),
        (json!({"type": "content", "content": "One."}), "Rules\n\nOne."),
        (json!({"type": "content", "content": [part, part]}), "Rules\n\nOne.\n\nOne."),
    ] {
        let got = to(Messages, Chat, &document(source.clone()));
        assert_eq!(got["messages"][0]["content"][0], json!({"type": "text", "text": want}), "{source}");
        assert_eq!(to(Messages, Responses, &document(source))["input"][0]["content"][0]["text"], want);
    }
    let image = json!({"type": "content", "content": [{"type": "image", "source": {}}]});
    let target = Target { model: "m-1", max_tokens: 4096, compatible: false };
    let why = request(Messages, Chat, document(image).to_string().as_bytes(), &target).unwrap_err();
    assert_eq!(why.field, "messages[0].content[0].source.content[0].type");
}

#[test]
fn seals_go_only_to_whoever_made_them() {
    let messages = |signature: &str| {
        json!({"model": "x", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "a"}]},
            {"role": "user", "content": "Go on."}]})
    };
    let input = &to(Messages, Responses, &messages("openai:rs_1:enc"))["input"];
    let want = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "enc"});
    assert_eq!(input[1], want);
    assert_eq!(to(Messages, Responses, &messages("sig"))["input"].as_array().unwrap().len(), 3);

    let responses = |sealed: &str| {
        json!({"model": "x", "input": [{"role": "user", "content": "Hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "output_text", "text": "a", "annotations": []}]}]})
    };
    let got = to(Responses, Messages, &responses("anthropic:sig"));
    assert_eq!(got["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "", "signature": "sig"}));
    assert_eq!(to(Responses, Messages, &responses("enc"))["messages"][1], json!({"role": "assistant", "content": "a"}));
}

#[test]
fn what_cannot_be_said_is_refused_by_its_name() {
    let user = json!([{"role": "user", "content": "Hi"}]);
    let chat = |key: &str, value: Value| {
        let mut body = json!({"model": "x", "messages": user});
        body[key] = value;
        (Chat, body)
    };
    let messages = |key: &str, value: Value| {
        let mut body = json!({"model": "x", "max_tokens": 50, "messages": user});
        body[key] = value;
        (Messages, body)
    };
    let responses = |key: &str, value: Value| {
        let mut body = json!({"model": "x", "input": "Hi"});
        body[key] = value;
        (Responses, body)
    };
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let cases = [
        (chat("n", json!(2)), Messages, "n"),
        (chat("logprobs", json!(true)), Messages, "logprobs"),
        (chat("top_logprobs", json!(3)), Responses, "top_logprobs"),
        (chat("logit_bias", json!({"5": 1})), Messages, "logit_bias"),
        (chat("audio", json!({"voice": "x"})), Messages, "audio"),
        (chat("modalities", json!(["text", "audio"])), Messages, "modalities"),
        (chat("functions", json!([{"name": "f"}])), Messages, "functions"),
        (chat("seed", json!(7)), Messages, "seed"),
        (chat("frequency_penalty", json!(0.5)), Messages, "frequency_penalty"),
        (chat("temperature", json!(1.5)), Messages, "temperature"),
        (chat("service_tier", json!("flex")), Messages, "service_tier"),
        (chat("web_search_options", json!({})), Messages, "web_search_options"),
        (chat("min_p", json!(0.1)), Messages, "min_p"),
        (chat("stop", json!("x")), Responses, "stop"),
        (chat("response_format", json!({"type": "json_object"})), Messages, "response_format"),
        (
            chat("messages", part(json!({"type": "input_audio", "input_audio": {}}))),
            Messages,
            "messages[0].content[0].type",
        ),
        (
            chat("messages", part(json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}}))),
            Converse,
            "messages",
        ),
        (chat("tools", json!([{"type": "custom", "custom": {}}])), Messages, "tools[0].type"),
        (chat("messages", json!([{"role": "system", "content": "a"}])), Messages, "messages"),
        (messages("top_k", json!(5)), Chat, "top_k"),
        (messages("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])), Chat, "tools[0].type"),
        (
            messages(
                "messages",
                part(json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_result"}]})),
            ),
            Chat,
            "messages[0].content[0].content[0].type",
        ),
        (messages("container", json!("c")), Chat, "container"),
        (messages("thread", json!({"type": "create"})), Responses, "thread"),
        (messages("stop_sequences", json!(["x"])), Responses, "stop_sequences"),
        (messages("max_tokens", json!(15)), Responses, "max_tokens"),
        (messages("stop_sequences", json!(["a", "b", "c", "d", "e"])), Chat, "stop_sequences"),
        (chat("stop", json!(["a", " \n"])), Messages, "stop"),
        (
            messages("messages", json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}])),
            Chat,
            "messages",
        ),
        (messages("messages", json!([{"role": "assistant", "content": "{"}])), Responses, "messages"),
        (messages("messages", part(json!({"type": "search_result"}))), Chat, "messages[0].content[0].type"),
        (
            messages("messages", part(json!({"type": "image", "source": {"type": "file", "file_id": "f"}}))),
            Chat,
            "messages[0].content[0].source.type",
        ),
        (responses("previous_response_id", json!("resp_1")), Messages, "previous_response_id"),
        (responses("background", json!(true)), Chat, "background"),
        (responses("truncation", json!("auto")), Chat, "truncation"),
        (responses("include", json!(["file_search_call.results"])), Chat, "include[0]"),
        (responses("tools", json!([{"type": "web_search"}])), Chat, "tools[0].type"),
        (responses("input", json!([{"type": "item_reference", "id": "x"}])), Chat, "input[0].type"),
        (responses("text", json!({"format": {"type": "json_object"}})), Messages, "text.format"),
    ];
    for ((from, body), to, field) in cases {
        let error = request(from, to, body.to_string().as_bytes(), &TARGET).unwrap_err();
        assert_eq!((error.field.as_str(), error.fault), (field, Fault::Target), "{from} to {to}: {body}: {error}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_name() {
    let cases = [
        (Chat, json!([]), ""),
        (Chat, json!({"model": "x"}), "messages"),
        (Chat, json!({"messages": "Hi"}), "messages"),
        (Chat, json!({"messages": [{"content": "Hi"}]}), "messages[0].role"),
        (Chat, json!({"messages": [{"role": "boss", "content": "Hi"}]}), "messages[0].role"),
        (Chat, json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (Chat, json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (Chat, json!({"messages": [], "max_tokens": -1}), "max_tokens"),
        (Chat, json!({"messages": [], "stream": "yes"}), "stream"),
        (
            Chat,
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}]}),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            Chat,
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]}),
            "messages[0].content[0].image_url.url",
        ),
        (Messages, json!({"messages": [{"role": "user", "content": "Hi"}]}), "max_tokens"),
        (Responses, json!({"model": "x"}), "input"),
    ];
    for (from, body, field) in cases {
        let to = if from == Messages { Chat } else { Messages };
        let error = request(from, to, body.to_string().as_bytes(), &TARGET).unwrap_err();
        assert_eq!((error.field.as_str(), error.fault), (field, Fault::Request), "{body}: {error}");
    }
    let twice = br#"{"messages":[{"role":"user","content":"a"}],"messages":[]}"#;
    assert_eq!(request(Chat, Messages, twice, &TARGET).unwrap_err().field, "messages");
}

#[test]
fn ids_of_calls_are_spelt_as_the_target_wants() {
    let body = json!({"model": "x", "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "a b:c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "a b:c", "content": ""}], "tools": [{"type": "function", "function": {"name": "f"}}]});
    let got = to(Chat, Messages, &body);
    assert_eq!(got["messages"][1]["content"][0], json!({"type": "tool_use", "id": "a_b_c", "name": "f", "input": {}}));
    assert_eq!(got["messages"][2]["content"][0]["tool_use_id"], "a_b_c");
    let got = to(Chat, Converse, &body);
    assert_eq!(got["messages"][1]["content"][0]["toolUse"]["toolUseId"], "a_b_c");
    assert_eq!(got["messages"][2]["content"][0]["toolResult"]["content"], json!([]), "a blank text is refused there");
    assert_eq!(to(Chat, Responses, &body)["input"][1]["call_id"], "a b:c");
}

#[test]
fn marks_for_caches_are_kept_where_there_is_a_place() {
    let body = json!({"model": "x", "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"role": "user", "content": [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]}]});
    let got = to(Chat, Messages, &body);
    assert_eq!(got["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(got["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
    let got = to(Chat, Converse, &body);
    assert_eq!(got["system"], json!([{"text": "a"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]));
    let given_up = request(Chat, Responses, body.to_string().as_bytes(), &TARGET).unwrap().given_up;
    assert_eq!(given_up, ["cache_control"]);
}

#[test]
fn system_prompts_in_the_middle_are_put_together_for_those_with_one_place() {
    let body = json!({"model": "x", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"},
        {"role": "developer", "content": "c"}, {"role": "user", "content": "d"}]});
    let got = to(Chat, Messages, &body);
    assert_eq!(got["system"], json!([{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]));
    assert_eq!(
        got["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "d"}]}])
    );
    assert_eq!(to(Chat, Responses, &body)["input"][1], json!({"role": "system", "content": "c"}));
}

#[test]
fn refusals_have_the_shape_of_the_client() {
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "n": 2});
    let error = request(Chat, Messages, body.to_string().as_bytes(), &TARGET).unwrap_err();
    let got = |shape| String::from_utf8(error.body(shape, "r")).unwrap();
    let words = "n: the target gives one answer to a request: ask once for each";
    let openai = format!(
        r#"{{"error":{{"message":"{words}","type":"invalid_request_error","param":"n","code":"unsupported_by_target"}}}}"#
    );
    assert_eq!(got(Chat), openai);
    let anthropic = format!(
        r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{words}"}},"request_id":"r"}}"#
    );
    assert_eq!(got(Messages), anthropic);
}

#[test]
fn texts_and_embeddings_are_only_passed_on() {
    for (from, to) in [(Shape::Completions, Chat), (Shape::Embeddings, Messages), (Chat, Shape::Embeddings)] {
        assert_eq!(request(from, to, b"{\"messages\":[]}", &TARGET).unwrap_err().fault, Fault::Target);
    }
}

#[test]
fn a_response_repeats_its_request() {
    let body = json!({"model": "x", "input": "Hi", "instructions": "Be brief.", "temperature": 0.5, "tools": [{"type": "function", "name": "f", "parameters": {}}]});
    let echo = request(Responses, Chat, body.to_string().as_bytes(), &TARGET).unwrap().echo;
    let asked = Asked { echo, ..asked(true) };
    let chat = json!({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]});
    let got: Value =
        serde_json::from_slice(&answer(Chat, Responses, chat.to_string().as_bytes(), &asked).unwrap().body).unwrap();
    assert_eq!(
        (&got["instructions"], &got["temperature"], &got["tools"][0]["name"]),
        (&json!("Be brief."), &json!(0.5), &json!("f"))
    );
    assert_eq!(
        (&got["tool_choice"], &got["parallel_tool_calls"], &got["usage"]),
        (&json!("auto"), &json!(true), &Value::Null)
    );
}

/// What both ends can say is the same after a journey there and back.
mod there_and_back {
    use super::*;
    use unified::{Block, Content, Format, Message, Reasoning, Request, Role, Source, Tool, ToolChoice};

    fn text() -> impl Strategy<Value = String> {
        // Quotes, escapes, other scripts and control characters are all in it; only what is nothing but space is not.
        "[\\PC\"\\\\\n\t]{1,12}".prop_filter("it says something", |text| !text.trim().is_empty())
    }

    fn arguments() -> impl Strategy<Value = unified::Json> {
        prop_oneof![Just("{}"), Just(r#"{"b":1.50,"a":"\n"}"#)].prop_map(|t| unified::Json(t.to_owned()))
    }

    fn source() -> impl Strategy<Value = Source> {
        prop_oneof![
            Just(Source::Url("https://x/y.png".to_owned())),
            Just(Source::Inline { media_type: "image/png".to_owned(), base64: "AAA=".to_owned() }),
        ]
    }

    fn turn() -> impl Strategy<Value = Vec<Message>> {
        let said = (text(), prop::option::of(source())).prop_map(|(text, image)| {
            let image = image.map(|source| Content::Image { source, detail: None });
            [Some(Content::Text(text)), image].into_iter().flatten().map(Block::from).collect::<Vec<_>>()
        });
        let calls = prop::collection::vec((arguments(), text()), 0..3);
        (said, text(), calls).prop_map(|(user, answer, calls)| {
            let id = |at: usize| format!("call_{at}");
            let mut assistant: Vec<Block> = vec![Content::Text(answer).into()];
            assistant.extend(calls.iter().enumerate().map(|(at, (arguments, _))| {
                Content::ToolCall { id: id(at), name: "f".to_owned(), arguments: arguments.clone() }.into()
            }));
            let results: Vec<Block> = calls
                .into_iter()
                .enumerate()
                .map(|(at, (_, text))| {
                    Content::ToolResult { id: id(at), content: vec![Content::Text(text)], failed: false }.into()
                })
                .collect();
            let mut turn = vec![
                Message { role: Role::User, content: user },
                Message { role: Role::Assistant, content: assistant },
            ];
            if !results.is_empty() {
                turn.push(Message { role: Role::User, content: results });
            }
            turn
        })
    }

    prop_compose! {
        fn conversation()(
            system in prop::option::of(text()),
            turns in prop::collection::vec(turn(), 0..3),
            last in text(),
            schema in prop::option::of(Just(r#"{"type":"object","properties":{"z":{},"a":{}}}"#)),
            tools in any::<bool>(),
            choice in prop::option::of(prop_oneof![
                Just(ToolChoice::Auto), Just(ToolChoice::Any), Just(ToolChoice::Named("f".to_owned()))]),
            parallel in prop::option::of(Just(false)),
            stop in prop::collection::vec(text().prop_map(|stop| format!("#{stop}")), 0..3),
            temperature in prop::option::of(0u8..10),
            max_tokens in 16u64..100_000,
            effort in prop::option::of(prop_oneof![Just("low"), Just("medium")]),
            stream in any::<bool>(),
        ) -> Request {
            let system = system.map(|text| Message { role: Role::System, content: vec![Content::Text(text).into()] });
            let mut messages: Vec<Message> = system.into_iter().chain(turns.into_iter().flatten()).collect();
            let last: Block = Content::Text(last).into();
            match messages.last_mut().filter(|m| m.role == Role::User) {
                Some(results) => results.content.push(last),
                None => messages.push(Message { role: Role::User, content: vec![last] }),
            }
            let json = |text: &str| unified::Json(text.to_owned());
            let schema = schema.map(json);
            let tool = Tool { name: "f".to_owned(), description: None, schema: schema.clone(), strict: Some(true), cache: None };
            let format = |schema| Format::Schema { name: Some("answer".to_owned()), description: None, schema, strict: Some(true) };
            Request {
                messages,
                tools: schema.as_ref().filter(|_| tools).map(|_| tool).into_iter().collect(),
                tool_choice: choice.filter(|_| tools && schema.is_some()),
                parallel_tools: parallel.filter(|_| tools && schema.is_some()),
                format: schema.map(format),
                max_tokens: Some(max_tokens),
                temperature: temperature.and_then(|t| serde_json::Number::from_f64(f64::from(t) / 10.0)),
                stop,
                reasoning: effort.map(|e| Reasoning::Effort(e.to_owned())),
                user: Some("u".to_owned()),
                stream,
                include_usage: true,
                ..Request::default()
            }
        }
    }

    /// Messages of one side as one, which is how some shapes have them, and calls for no names that a shape lacks.
    fn plain(mut request: Request) -> Request {
        let mut messages: Vec<Message> = Vec::new();
        for message in request.messages {
            match messages.last_mut().filter(|last| last.role == message.role) {
                Some(last) => last.content.extend(message.content),
                None => messages.push(message),
            }
        }
        request.messages = messages;
        request.include_usage = true;
        if let Some(Format::Schema { name, .. }) = &mut request.format {
            *name = None;
        }
        if request.tool_choice.is_none() && request.parallel_tools.is_some() {
            request.tool_choice = Some(ToolChoice::Auto);
        }
        request
    }

    fn journey(from: Shape, shape: Shape, request: &Request) -> Request {
        let mut way = Way { from, target: &TARGET, given_up: Vec::new(), room: 0 };
        let body = write(request, shape, &mut way).unwrap();
        assert_eq!(way.given_up, Vec::<&str>::new());
        let read = match shape {
            Chat => chat::request::read(&body, &mut way),
            Messages => messages::request::read(&body, &mut way),
            _ => responses::request::read(&body, &mut way).map(|(request, _)| request),
        };
        read.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&body)))
    }

    proptest! {
        #[test]
        fn chat_completions(request in conversation()) {
            prop_assert_eq!(plain(journey(Chat, Chat, &request)), plain(request));
        }

        #[test]
        fn anthropic_messages(request in conversation()) {
            // A budget stands for an effort where the client is not Anthropic's own.
            prop_assert_eq!(plain(journey(Messages, Messages, &request)), plain(request));
        }

        #[test]
        fn openai_responses(request in conversation()) {
            let mut request = Request { stop: Vec::new(), ..request };
            for block in request.messages.iter_mut().flat_map(|m| &mut m.content) {
                if let Content::Image { detail, .. } = &mut block.content {
                    *detail = Some("auto".to_owned());
                }
            }
            prop_assert_eq!(plain(journey(Responses, Responses, &request)), plain(request));
        }
    }
}
