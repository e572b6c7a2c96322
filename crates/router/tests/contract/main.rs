//! The router in front of a running engine: the simulator always, and the real vLLM when `ENGINE_URL` and
//! `ENGINE_URL_POOLING` name some (`tests/vllm/contract.sh` starts them, and `crates/vllm-sim/tests/contract/engine.rs` says
//! how). Between the two stands a tap that keeps every byte, so that what the client gets is compared with what the engine
//! said in the very same exchange; and the engine is asked directly, to see that it is asked the same.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a check fails it")]

mod bed;
mod http;

use bed::{Bed, EMBED, JUDGED, TINY};
use http::Answer;
use serde_json::{Value, json};

/// A chat whose answer is the same each time.
fn chat(more: &Value) -> Value {
    with(json!({"temperature": 0, "max_tokens": 6, "messages": [{"role": "user", "content": "Hello"}]}), more)
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Path and body of each request, without the model, and whether the engine that makes text answers it with 200.
fn generating() -> Vec<(&'static str, Value, bool)> {
    let prompt = json!({"temperature": 0, "max_tokens": 6, "prompt": "Once"});
    let input = json!({"temperature": 0, "max_output_tokens": 6, "input": "Hello"});
    let streamed = json!({"stream": true});
    let counted = json!({"stream": true, "stream_options": {"include_usage": true}});
    vec![
        ("/v1/chat/completions", chat(&json!({"x-unknown": {"a": [1, null]}, "user": "ü\u{1F600}"})), true),
        ("/v1/chat/completions", chat(&streamed), true),
        ("/v1/chat/completions", chat(&counted), true),
        ("/v1/chat/completions", chat(&json!({"logprobs": true, "top_logprobs": 2})), true),
        ("/v1/completions", prompt.clone(), true),
        ("/v1/completions", with(prompt.clone(), &streamed), true),
        ("/v1/completions", with(prompt, &counted), true),
        ("/v1/responses", input.clone(), true),
        ("/v1/responses", with(input, &streamed), true),
        ("/v1/messages", chat(&json!({"system": "Be kind."})), true),
        ("/v1/messages", chat(&streamed), true),
        ("/v1/messages/count_tokens", chat(&json!({})), true),
        ("/tokenize", json!({"prompt": "Hello, world"}), true),
        ("/detokenize", json!({"tokens": [5, 6, 7]}), true),
        // What the engine refuses, in its own words.
        ("/v1/chat/completions", chat(&json!({"temperature": -1})), false),
        ("/v1/chat/completions", chat(&json!({"n": 2})), false),
        ("/v1/chat/completions", chat(&json!({"max_tokens": 5000})), false),
        ("/v1/chat/completions", chat(&json!({"stream": true, "max_tokens": 0})), false),
        ("/v1/completions", json!({"max_tokens": 4}), false),
        ("/v1/messages", json!({"messages": []}), false),
        ("/tokenize", json!({}), false),
        // What only models of other kinds have.
        ("/v1/embeddings", json!({"input": "Hello"}), false),
        ("/rerank", json!({"query": "a", "documents": ["b", "c"]}), false),
        ("/score", json!({"text_1": "a", "text_2": "b"}), false),
        ("/classify", json!({"input": "a"}), false),
        ("/pooling", json!({"input": "a"}), false),
    ]
}

/// The same for the engine whose model answers with embeddings.
fn pooling() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("/v1/embeddings", json!({"input": "Hello"}), true),
        ("/v1/embeddings", json!({"input": ["Hello", "world"], "encoding_format": "base64"}), true),
        ("/v1/rerank", json!({"query": "a", "documents": ["b", "c"]}), true),
        ("/v2/rerank", json!({"query": "a", "documents": ["b", "c"], "top_n": 1}), true),
        ("/v1/score", json!({"text_1": "a", "text_2": ["b", "c"]}), true),
        ("/pooling", json!({"input": "Hello"}), true),
        ("/tokenize", json!({"prompt": "Hello"}), true),
        ("/v1/embeddings", json!({}), false),
        ("/classify", json!({"input": "a"}), false),
        ("/v1/chat/completions", chat(&json!({})), false),
        ("/v1/messages", chat(&json!({})), false),
    ]
}

#[test]
fn what_a_client_gets_is_what_the_engine_said() {
    let bed = Bed::new();
    for (model, cases) in [(TINY, generating()), (EMBED, pooling())] {
        for (path, body, good) in cases {
            // First for the prefix cache, which answers tell of.
            let sent = with(body.clone(), &json!({"model": "tiny"})).to_string();
            bed.direct(model, path, &sent);
            let direct = bed.direct(model, path, &sent);
            let asked = with(body, &json!({"model": model})).to_string();
            let (routed, seen) = bed.routed(model, path, &asked);
            let case = format!("{model} {path} {asked}");
            assert_eq!(direct.status == 200, good, "{case}: {direct:?}");
            same_exchange(&case, &asked, &seen, &routed);
            same_answer(&case, &direct, &routed);
        }
    }
}

/// The real engine's model is random, so what it says is noise; asked as a classifier it can say one of the three words only. The
/// simulator does not bind its answers.
#[test]
fn a_classifier_says_one_of_the_words() {
    let bed = Bed::new();
    let real = std::env::var_os("ENGINE_URL").is_some();
    for text in ["Hello", "Design a lock service, prove it correct, and say why it cannot deadlock.", "\"}]} äöü"] {
        let body = json!({"model": JUDGED, "max_tokens": 1, "messages": [{"role": "user", "content": text}]});
        let answer = bed.answered("/v1/chat/completions", &body.to_string());
        assert_eq!(answer.status, 200, "{text}: {answer:?}");
        let told = answer.header("x-quartermaster-complexity").unwrap_or_default();
        let (word, why) = told.split_once("; ").unwrap_or_default();
        assert!(["trivial", "moderate", "complex"].contains(&word), "{text}: {told}");
        assert!(why.starts_with(if real { "classifier=said;" } else { "classifier=no_word;" }), "{text}: {told}");
        let rule = if word == "complex" { "hard" } else { "others" };
        assert_eq!(answer.header("x-quartermaster-rule"), Some(rule), "{text}: {told}");
    }
}

/// Every byte of the engine's answer went to the client; what was asked differs in nothing but what the router must change.
fn same_exchange(case: &str, asked: &str, (request, answer): &(Answer, Answer), routed: &Answer) {
    assert_eq!(
        (routed.status, routed.header("content-type")),
        (answer.status, answer.header("content-type")),
        "{case}"
    );
    let (asked, got): (Value, Value) =
        (serde_json::from_str(asked).unwrap(), serde_json::from_str(&request.body).unwrap());
    let mut want = with(asked.clone(), &json!({"model": "tiny"}));
    let counts = asked["stream"] == true && case.contains("completions");
    if counts {
        want["stream_options"] = json!({"include_usage": true});
    }
    assert_eq!(got, want, "{case}");
    let hidden = counts && asked["stream_options"].is_null();
    // The count of tokens that the router asked for on its own account is an event without choices.
    let counted = |event: &&str| hidden && event.contains(r#""choices":[]"#);
    let said: String = answer.body.split_inclusive("\n\n").filter(|event| !counted(event)).collect();
    if is_foreign(case, answer) {
        let (got, want): (Value, Value) =
            (serde_json::from_str(&routed.body).unwrap(), serde_json::from_str(&said).unwrap());
        let messages = case.contains("/v1/messages");
        let words = if want["detail"].is_string() { &want["detail"] } else { &want["error"]["message"] };
        assert_eq!((got["type"] == "error", &got["error"]["message"]), (messages, words), "{case}");
        return;
    }
    assert_eq!(routed.body, said, "{case}");
    if hidden && answer.status == 200 {
        assert!(said.len() < answer.body.len(), "{case}: the engine did not count");
    }
}

/// Whether it is an error that clients could not read, and that the router puts into their shape: vLLM says what is wrong with the fields
/// of messages as OpenAI does, and of a path that it does not have as its web framework does.
fn is_foreign(case: &str, answer: &Answer) -> bool {
    let of_messages = answer.body.starts_with(r#"{"type":"error""#);
    let of_framework = answer.body.starts_with(r#"{"detail""#);
    answer.status >= 400 && (of_framework || case.contains("/v1/messages") && !of_messages)
}

/// Asked directly, the engine says the same, but for what is different each time.
fn same_answer(case: &str, direct: &Answer, routed: &Answer) {
    assert_eq!(
        (routed.status, routed.header("content-type")),
        (direct.status, direct.header("content-type")),
        "{case}"
    );
    if direct.body.starts_with("data:") || direct.body.starts_with("event:") {
        // A busy engine puts several tokens into one event.
        assert_eq!(streamed_text(&routed.body), streamed_text(&direct.body), "{case}");
        assert_eq!(kinds(&routed.body), kinds(&direct.body), "{case}");
    } else if !is_foreign(case, direct) {
        assert_eq!(steady(&routed.body), steady(&direct.body), "{case}");
    }
}

/// The text without what is different in each answer: ids and times.
fn steady(body: &str) -> String {
    const VARY: [&str; 5] = ["\"id\":", "\"request_id\":", "\"created\":", "\"created_at\":", "\"item_id\":"];
    let mut text = body.to_owned();
    for key in VARY {
        let mut parts = text.split(key);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept.push_str(key);
            kept.push_str(&part[part.find([',', '}']).unwrap_or(part.len())..]);
        }
        text = kept;
    }
    text
}

fn data(body: &str) -> impl Iterator<Item = Value> {
    body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

/// All text of a stream, of whatever surface.
fn streamed_text(body: &str) -> String {
    let text = |event: Value| {
        let places = [
            &event["choices"][0]["delta"]["content"],
            &event["choices"][0]["text"],
            &event["delta"]["text"],
            // Of a response.
            &event["delta"],
        ];
        places.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
    };
    data(body).map(text).collect()
}

/// The kinds of a stream's events, repetitions aside, and its end.
fn kinds(body: &str) -> Vec<String> {
    let mut kinds: Vec<String> = data(body)
        .map(|event| event["type"].as_str().or_else(|| event["object"].as_str()).unwrap_or("?").to_owned())
        .collect();
    kinds.dedup();
    kinds.push(format!("ends with [DONE]: {}", body.ends_with("data: [DONE]\n\n")));
    kinds
}

#[test]
fn what_is_masked_is_little() {
    let cases = [
        (r#"{"id":"chatcmpl-1","created":17,"x":"id"}"#, r#"{"id":,"created":,"x":"id"}"#),
        (r#"{"a":[1],"created_at":1.5}"#, r#"{"a":[1],"created_at":}"#),
        ("{}", "{}"),
    ];
    for (body, want) in cases {
        assert_eq!(steady(body), want);
    }
}
