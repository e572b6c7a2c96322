//! What Bedrock refuses in a request for Converse, and what becomes of it.

use super::*;

fn converse(model: &str, body: &Value) -> Result<Value, String> {
    let target = Target { model, ..TARGET };
    let translated = request(Chat, Converse, body.to_string().as_bytes(), &target).map_err(|why| why.field)?;
    Ok(serde_json::from_slice(&translated.body).unwrap())
}

fn with(more: &Value) -> Value {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

const SONNET_4: &str = "anthropic.claude-sonnet-4-20250514-v1:0";
const HAIKU_4_5: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";
const OPUS_4_7: &str = "us.anthropic.claude-opus-4-7";
const NOVA: &str = "amazon.nova-lite-v1:0";

/// Claude's newer models take less and less of what samples, and less still while they think.
#[test]
fn claude_is_told_of_sampling_what_it_takes() {
    let both = json!({"temperature": 0.5, "top_p": 0.9});
    let thinks = |more: Value| {
        let mut all = json!({"reasoning_effort": "low"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let none: (Option<f64>, Option<f64>) = (None, None);
    for (model, more, want) in [
        (NOVA, both.clone(), Ok((Some(0.5), Some(0.9)))),
        (SONNET_4, both.clone(), Ok((Some(0.5), Some(0.9)))),
        (HAIKU_4_5, both.clone(), Err("top_p")),
        (HAIKU_4_5, json!({"temperature": 0.5, "top_p": 1}), Ok((Some(0.5), None))),
        (HAIKU_4_5, json!({"temperature": 1, "top_p": 0.9}), Ok((None, Some(0.9)))),
        (HAIKU_4_5, thinks(json!({"temperature": 0.5})), Err("temperature")),
        (HAIKU_4_5, thinks(json!({"temperature": 1, "top_p": 1})), Ok(none)),
        (HAIKU_4_5, thinks(json!({"top_p": 0.9})), Err("top_p")),
        (HAIKU_4_5, thinks(json!({"top_p": 0.97})), Ok((None, Some(0.97)))),
        (SONNET_4, thinks(json!({"top_k": 5})), Err("top_k")),
        ("anthropic.claude-opus-4-6-v1", thinks(json!({"top_p": 0.9})), Err("top_p")),
        (OPUS_4_7, json!({"temperature": 0.5}), Err("temperature")),
        (OPUS_4_7, json!({"top_k": 5}), Err("top_k")),
        (OPUS_4_7, json!({"temperature": 1, "top_p": 1}), Ok(none)),
        ("anthropic.claude-v2:1", both, Ok((Some(0.5), Some(0.9)))),
        (HAIKU_4_5, json!({"stop": ["\n"]}), Err("stop")),
        (NOVA, json!({"stop": ["\n"]}), Ok(none)),
    ] {
        let got = converse(model, &with(&more)).map(|got| {
            let config = &got["inferenceConfig"];
            (config["temperature"].as_f64(), config["topP"].as_f64())
        });
        assert_eq!(got, want.map_err(str::to_owned), "{model} {more}");
    }
}

#[test]
fn top_k_stands_where_the_model_s_maker_has_it() {
    let body = with(&json!({"top_k": 5}));
    let more = |model| converse(model, &body).map(|got| got["additionalModelRequestFields"].clone());
    assert_eq!(more(SONNET_4), Ok(json!({"top_k": 5})));
    assert_eq!(more(NOVA), Ok(json!({"inferenceConfig": {"topK": 5}})));
    assert_eq!(more("us.meta.llama3-1-8b-instruct-v1:0"), Err("top_k".to_owned()));
}

/// A mark where the model does not take one would be refused.
#[test]
fn prompts_are_marked_where_the_model_takes_it() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let body = json!({"model": "x", "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": mark}],
        "tools": [{"name": "f", "input_schema": {}, "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "u", "cache_control": mark}]}]});
    let marked = |model| {
        let translated = request(Messages, Converse, body.to_string().as_bytes(), &Target { model, ..TARGET }).unwrap();
        let got: Value = serde_json::from_slice(&translated.body).unwrap();
        let mark = |at: &str| got.pointer(at).map(|mark| mark["cachePoint"]["ttl"] == "1h");
        let all = ["/system/1", "/messages/0/content/1", "/toolConfig/tools/1"].map(mark);
        (all, translated.given_up.contains(&"cache_control"))
    };
    assert_eq!(marked(HAIKU_4_5), ([Some(true); 3], false));
    assert_eq!(marked(SONNET_4), ([Some(false); 3], false));
    assert_eq!(marked(NOVA), ([Some(false), None, None], true));
    assert_eq!(marked("meta.llama3-1-8b-instruct-v1:0"), ([None; 3], true));
}

/// A call without arguments has none of them in some models' answers.
#[test]
fn a_call_without_arguments_has_an_empty_object_of_them() {
    for input in ["", r#","input":null"#, r#","input":"""#, r#","input":{}"#] {
        let body = format!(
            r#"{{"output":{{"message":{{"content":[{{"toolUse":{{"toolUseId":"a","name":"f"{input}}}}}]}}}},"stopReason":"tool_use"}}"#
        );
        let whole = answer(Converse, Chat, body.as_bytes(), &asked(false)).unwrap();
        let got: Value = serde_json::from_slice(&whole.body).unwrap();
        assert_eq!(got["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}", "{input}");
    }
}

/// No two documents of a request may have the same name, and each wants a text beside it.
#[test]
fn documents_have_names_of_their_own_and_a_text_beside_them() {
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,AAA="}});
    let body = json!({"model": "x", "messages": [
        {"role": "user", "content": [file("a.pdf"), {"type": "text", "text": "Read."}, file("a.pdf")]},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": [file("A.pdf"), {"type": "text", "text": " "}]}]});
    let got = converse(NOVA, &body).unwrap();
    let names: Vec<&str> = ["/messages/0/content/0", "/messages/0/content/2", "/messages/2/content/0"]
        .iter()
        .map(|at| got.pointer(at).unwrap()["document"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a-pdf", "a-pdf-2", "A-pdf-3"]);
    // A text of nothing but space is none: Bedrock refuses it.
    assert_eq!(got["messages"][2]["content"].as_array().unwrap()[1..], [json!({"text": "A-pdf"})]);
    assert_eq!(got["messages"][0]["content"].as_array().unwrap().len(), 3);
}

#[test]
fn ids_of_calls_are_short_enough() {
    let id = format!("call_{}", "x".repeat(200));
    let body = json!({"model": "x", "tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": id, "content": "one"}]});
    let got = converse(NOVA, &body).unwrap();
    let called = &got["messages"][1]["content"][0]["toolUse"]["toolUseId"];
    assert_eq!(called.as_str().unwrap().len(), 64);
    assert_eq!(called, &got["messages"][2]["content"][0]["toolResult"]["toolUseId"]);
}
