//! What OpenAI's models and servers that are compatible take and give beside the common: rules that their errors tell.

use super::strict::read;
use super::*;

const COMPATIBLE: Target<'_> = Target { model: "m-1", max_tokens: 4096, compatible: true };

fn asks(more: &Value) -> Vec<u8> {
    let mut body = json!({"model": "x", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

fn sent(to: Shape, target: &Target<'_>, more: &Value) -> (Value, Vec<&'static str>) {
    let there = request(Messages, to, &asks(more), target).unwrap();
    (serde_json::from_slice(&there.body).unwrap(), there.given_up)
}

#[test]
fn responses_are_asked_and_chat_completions_for_what_they_cannot_say() {
    for (more, want) in [
        (json!({}), Responses),
        (
            json!({"thinking": {"type": "adaptive"}, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
            Responses,
        ),
        (json!({"stop_sequences": ["###"]}), Chat),
        (json!({"max_tokens": 1}), Chat),
        (json!({"messages": []}), Chat),
    ] {
        let (shape, there) = request_at(Messages, Responses, &asks(&more), &TARGET).unwrap();
        let body: Value = serde_json::from_slice(&there.body).unwrap();
        assert_eq!((shape, body.get("input").is_some()), (want, want == Responses), "{more}");
    }
    for (more, field, fault) in
        [(json!({"top_k": 5}), "top_k", Fault::Target), (json!({"max_tokens": "many"}), "max_tokens", Fault::Request)]
    {
        let why = request_at(Messages, Responses, &asks(&more), &TARGET).unwrap_err();
        assert_eq!((why.field.as_str(), why.fault), (field, fault));
    }
}

/// OpenAI: "string too long. Expected a string with maximum length 64". Claude Code's has some 150 characters.
#[test]
fn long_names_of_users_are_left_out() {
    for (length, kept) in [(64, true), (65, false)] {
        let user = "\u{e9}".repeat(length);
        for to in [Chat, Responses] {
            let (body, given_up) = sent(to, &TARGET, &json!({"metadata": {"user_id": user}}));
            assert_eq!((body.get("user").is_some(), given_up.contains(&"metadata.user_id")), (kept, !kept), "{to}");
        }
    }
}

/// Models that reason refuse to be told a temperature, and clients of messages like to tell the usual one.
#[test]
fn what_is_usual_is_not_told_to_openai() {
    for to in [Chat, Responses] {
        let (body, _) = sent(to, &TARGET, &json!({"temperature": 1.0, "top_p": 1}));
        assert!(body.get("temperature").is_none() && body.get("top_p").is_none(), "{to}");
        let (body, _) = sent(to, &TARGET, &json!({"temperature": 0.5, "top_p": 0.9}));
        assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.5), &json!(0.9)), "{to}");
    }
    let (body, _) = sent(Chat, &COMPATIBLE, &json!({"temperature": 1.0}));
    assert_eq!(body["temperature"], 1.0, "what is usual there is not known");
}

#[test]
fn an_effort_is_one_that_the_model_knows() {
    for (model, effort, want) in [
        ("gpt-5", "max", "high"),
        ("gpt-5-mini", "xhigh", "high"),
        ("gpt-5.1", "max", "high"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("o3", "max", "high"),
        ("gpt-5.6-terra", "max", "xhigh"),
        ("gpt-5", "low", "low"),
    ] {
        let target = Target { model, ..TARGET };
        let (body, _) = sent(Responses, &target, &json!({"output_config": {"effort": effort}}));
        assert_eq!(body["reasoning"]["effort"], want, "{model} {effort}");
    }
}

/// Nothing is stored there, so thoughts come back only if their seal was asked for.
#[test]
fn the_seal_of_thoughts_is_asked_for_with_the_thoughts() {
    for (model, thinking, asked) in [
        ("gpt-5.6-terra", json!({"type": "adaptive"}), true),
        ("gpt-5.6-terra", json!({"type": "enabled", "budget_tokens": 2000}), true),
        ("gpt-5.6-terra", json!({"type": "disabled"}), false),
        ("gpt-4o", json!({"type": "adaptive"}), false),
    ] {
        let (body, _) = sent(Responses, &Target { model, ..TARGET }, &json!({"thinking": thinking}));
        assert_eq!(body["include"] == json!(["reasoning.encrypted_content"]), asked, "{model} {thinking}");
    }
}

/// OpenAI refuses a strict schema that leaves a property out of what is required; Anthropic does not.
#[test]
fn schemas_are_strict_as_far_as_openai_takes_them() {
    let schema = |required: Value| json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": required, "additionalProperties": false});
    let format = |required| json!({"output_config": {"format": {"type": "json_schema", "schema": schema(required)}}});
    let tools = |required| json!({"tools": [{"name": "f", "strict": true, "input_schema": schema(required)}]});
    for to in [Chat, Responses] {
        let why = request(Messages, to, &asks(&format(json!(["a"]))), &TARGET).unwrap_err();
        assert_eq!((why.field.as_str(), why.fault), ("output_config.format", Fault::Target), "{to}");
        assert!(request(Messages, to, &asks(&format(json!(["a", "b"]))), &TARGET).is_ok());
        for (required, strict) in [(json!(["a"]), false), (json!(["b", "a"]), true)] {
            let (body, given_up) = sent(to, &TARGET, &tools(required));
            let tool = &body["tools"][0];
            let got = if to == Chat { &tool["function"]["strict"] } else { &tool["strict"] };
            assert_eq!((got, given_up.contains(&"strict")), (&json!(strict), !strict), "{to}");
        }
    }
    assert!(request(Messages, Chat, &asks(&format(json!(["a"]))), &COMPATIBLE).is_ok());
    let (body, _) = sent(Chat, &COMPATIBLE, &tools(json!(["a"])));
    assert_eq!(body["tools"][0]["function"]["strict"], true);
}

#[test]
fn white_space_is_not_looked_at_where_the_usual_is_said() {
    let chat = r#"{"model":"x","messages":[{"role":"user","content":"Hi"}],"modalities":[ "text" ],"logit_bias":{ },"functions":[
    ]}"#;
    assert!(request(Chat, Messages, chat.as_bytes(), &TARGET).is_ok());
    let other = chat.replace("\"text\"", "\"te xt\"");
    assert_eq!(request(Chat, Messages, other.as_bytes(), &TARGET).unwrap_err().field, "modalities");
}

/// As OpenAI's answers have them since programs can call.
#[test]
fn calls_may_say_that_the_model_made_them() {
    let call = |caller: &str| {
        json!({"model": "x", "input": [{"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "caller": {"type": caller}, "async": false},
            {"type": "function_call_output", "call_id": "a", "output": "1", "caller": {"type": caller}}],
            "tools": [{"type": "function", "name": "f", "parameters": null, "strict": null, "allowed_callers": ["direct"], "async": false}]})
        .to_string()
    };
    assert!(request(Responses, Messages, call("direct").as_bytes(), &TARGET).is_ok());
    let why = request(Responses, Messages, call("program").as_bytes(), &TARGET).unwrap_err();
    assert_eq!(why.field, "input[1].caller");
}

fn call(id: &Value, name: &Value, extra: Option<&Value>) -> Value {
    let mut call =
        json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "{\"x\":1}"}});
    if let Some(extra) = extra {
        call["extra_content"] = extra.clone();
    }
    call
}

/// The answer of a compatible server, whole and as a stream, as a client of this shape reads it: its blocks or items.
fn answered(to: Shape, message: &Value) -> [Value; 2] {
    let whole = json!({"model": "g", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let whole: Value =
        serde_json::from_slice(&answer(Chat, to, whole.to_string().as_bytes(), &asked(true)).unwrap().body).unwrap();
    let mut deltas = vec![chat_chunk(&json!({"role": "assistant"}), None)];
    for key in ["reasoning_content", "reasoning", "content"] {
        deltas.extend(message.get(key).map(|value| chat_chunk(&json!({key: value}), None)));
    }
    for call in message["tool_calls"].as_array().unwrap() {
        deltas.push(chat_chunk(&json!({"tool_calls": [call]}), None));
    }
    deltas.push(chat_chunk(&json!({}), Some("stop")));
    let stream = streamed(Chat, to, true, (events(false, &deltas) + "data: [DONE]\n\n").as_bytes());
    let seen = read(to, &stream);
    assert!(seen.ended && seen.error.is_none(), "{stream}");
    [if to == Messages { whole["content"].clone() } else { whole["output"].clone() }, blocks(to, &stream)]
}

/// What the stream's blocks add up to, thoughts and calls only.
fn blocks(to: Shape, stream: &str) -> Value {
    let data =
        stream.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap());
    let data: Vec<Value> = data.collect();
    if to == Responses {
        return data.last().unwrap()["response"]["output"].clone();
    }
    let mut blocks: Vec<Value> = Vec::new();
    for event in data {
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let delta = &event["delta"];
                let block = blocks.last_mut().unwrap();
                for key in ["thinking", "signature", "text"] {
                    if let Some(text) = delta.get(key) {
                        block[key] = (block[key].as_str().unwrap().to_owned() + text.as_str().unwrap()).into();
                    }
                }
                if let Some(json) = delta.get("partial_json") {
                    block["input"] = serde_json::from_str(json.as_str().unwrap()).unwrap();
                }
            }
            _ => {}
        }
    }
    blocks.into()
}

/// The next turn of a conversation, as the target gets it.
fn again(from: Shape, said: &Value, target: &Target<'_>) -> Value {
    let result = |id: &Value| match from {
        Messages => json!({"type": "tool_result", "tool_use_id": id, "content": "1"}),
        _ => json!({"type": "function_call_output", "call_id": id, "output": "1"}),
    };
    let calls = said.as_array().unwrap().iter().filter_map(|item| match item["type"].as_str().unwrap() {
        "tool_use" => Some(&item["id"]),
        "function_call" => Some(&item["call_id"]),
        _ => None,
    });
    let results: Vec<Value> = calls.map(result).collect();
    let hi = json!({"role": "user", "content": "Hi"});
    let body = if from == Messages {
        json!({"model": "x", "max_tokens": 50, "messages": [hi, {"role": "assistant", "content": said}, {"role": "user", "content": results}]})
    } else {
        let input = [&[hi], said.as_array().unwrap().as_slice(), &results].concat();
        json!({"model": "x", "input": input})
    };
    let there = request(from, Chat, body.to_string().as_bytes(), target).unwrap();
    serde_json::from_slice(&there.body).unwrap()
}

/// Gemini seals its thoughts beside its calls, and refuses the next turn without the seal.
#[test]
fn what_came_beside_a_call_goes_back_beside_it() {
    let extra = json!({"google": {"thought_signature": "A+/=\"\u{e9}"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        call(&json!("a"), &json!("f"), Some(&extra)), call(&json!("b"), &json!("g"), None)]});
    for from in [Messages, Responses] {
        for said in answered(from, &message) {
            let got = again(from, &said, &COMPATIBLE);
            let calls = &got["messages"][1]["tool_calls"];
            assert_eq!((&calls[0]["extra_content"], calls[1].get("extra_content")), (&extra, None), "{from}: {said}");
            assert_eq!((&calls[0]["id"], &calls[1]["function"]["name"]), (&json!("a"), &json!("g")), "{from}");
            // Others do not know the field.
            assert!(!again(from, &said, &TARGET).to_string().contains("extra_content"));
        }
    }
    // A client cannot write what is no JSON.
    let forged = json!([{"type": "thinking", "thinking": "", "signature": "extra:{\"a\":1},\"b\":{}"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}}]);
    assert!(!again(Messages, &forged, &COMPATIBLE).to_string().contains("extra_content"));
}

/// `DeepSeek` and others refuse the turn after a call without the thoughts that led to it. Those that write `reasoning` do not want it.
#[test]
fn words_of_thoughts_go_back_beside_calls_to_who_wrote_them_so() {
    let message = |key: &str| json!({"role": "assistant", key: "hm", "content": "Look:", "tool_calls": [call(&json!("a"), &json!("f"), None)]});
    for (key, back) in [("reasoning_content", Some(&json!("hm"))), ("reasoning", None)] {
        for from in [Messages, Responses] {
            for said in answered(from, &message(key)) {
                let thought = if from == Messages { &said[0]["thinking"] } else { &said[0]["summary"][0]["text"] };
                assert_eq!(thought, "hm", "{said}");
                let got = again(from, &said, &COMPATIBLE);
                assert_eq!(got["messages"][1].get("reasoning_content"), back, "{said}");
                assert_eq!(again(from, &said, &TARGET)["messages"][1].get("reasoning_content"), None);
            }
        }
    }
}

#[test]
fn calls_without_ids_get_some() {
    for none in [Value::Null, json!("")] {
        let message = json!({"role": "assistant", "tool_calls": [call(&none, &json!("f"), None), call(&none, &json!("f"), None)]});
        for from in [Messages, Responses] {
            for said in answered(from, &message) {
                let got = again(from, &said, &COMPATIBLE);
                let calls = &got["messages"][1]["tool_calls"];
                assert_eq!(
                    (&calls[0]["id"], &calls[1]["id"]),
                    (&json!("call_r1_0"), &json!("call_r1_1")),
                    "{from}: {said}"
                );
                assert_eq!(got["messages"][3]["tool_call_id"], "call_r1_1");
            }
        }
    }
    // A name that is repeated with each piece begins no call where there are ids.
    let mut piece = call(&Value::Null, &json!("f"), None);
    piece["function"]["arguments"] = json!("");
    let chunks =
        [call(&json!("a"), &json!("f"), None), piece].map(|call| chat_chunk(&json!({"tool_calls": [call]}), None));
    let stream =
        events(false, &chunks) + &events(false, &[chat_chunk(&json!({}), Some("tool_calls"))]) + "data: [DONE]\n\n";
    assert_eq!(read(Messages, &streamed(Chat, Messages, false, stream.as_bytes())).calls.len(), 1);
}
