//! What is refused, and in which words: clients and the router decide by them.

use crate::engine::{engine, post};
use crate::http::Connection;

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";

/// Message, type, param (as JSON), code.
fn check(path: &str, body: &str, message: &str, kind: &str, param: &str, code: u16) {
    let answer = post(path, body);
    let expected = format!(
        r#"{{"error":{{"message":{},"type":"{kind}","param":{param},"code":{code}}}}}"#,
        serde_json::Value::from(message)
    );
    assert_eq!((answer.status, answer.body.as_str()), (code, expected.as_str()), "{path} {body}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path} {body}");
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()), "{path} {body}");
}

#[test]
fn bodies_that_are_not_requests_are_refused() {
    let json = |at: u32, problem: &str| {
        format!(
            "1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body.{at}', 'msg': 'JSON decode error', 'input': \
             '<dict of 0 items>', 'ctx': {{'error': '{problem}'}}}}"
        )
    };
    let field = |kind: &str, at: &str, problem: &str, input: &str| {
        format!("1 validation error:\n  {{'type': '{kind}', 'loc': '{at}', 'msg': '{problem}', 'input': '{input}'}}")
    };
    let bad = |path: &str, body: &str, message: &str, param: &str| {
        check(path, body, message, "Bad Request", param, 400);
    };
    bad(CHAT, r#"{"model":"#, &json(9, "Expecting value"), r#""body.9""#);
    bad(COMPLETION, "nonsense", &json(0, "Expecting value"), r#""body.0""#);
    let quotes = "Expecting property name enclosed in double quotes";
    bad(CHAT, r#"{"model":"tiny",}"#, &json(16, quotes), r#""body.16""#);
    bad(CHAT, "", &field("missing", "body", "Field required", "None"), r#""body""#);
    bad(CHAT, "null", &field("missing", "body", "Field required", "None"), r#""body""#);
    let object = "Input should be a valid dictionary or object to extract fields from";
    bad(CHAT, "[]", &field("model_attributes_type", "body", object, "<list of 0 items>"), r#""body""#);
    let missing = field("missing", "body.messages", "Field required", "<dict of 1 items>");
    bad(CHAT, r#"{"model":"tiny"}"#, &missing, r#""body.messages""#);
    let list = field("list_type", "body.messages", "Input should be a valid list", "x");
    bad(CHAT, r#"{"messages":"x"}"#, &list, r#""body.messages""#);
    let model = field("string_type", "body.model", "Input should be a valid string", "5");
    bad(CHAT, r#"{"model":5,"messages":[{"role":"user","content":"hi"}]}"#, &model, r#""body.model""#);
    let whole = "Input should be a valid integer, unable to parse string as an integer";
    let tokens = field("int_parsing", "body.max_tokens", whole, "x");
    bad(COMPLETION, r#"{"prompt":"x","max_tokens":"x"}"#, &tokens, r#""body.max_tokens""#);
    let whole = "Input should be a valid integer, got a number with a fractional part";
    let tokens = field("int_from_float", "body.max_tokens", whole, "2.5");
    bad(COMPLETION, r#"{"prompt":"x","max_tokens":2.5}"#, &tokens, r#""body.max_tokens""#);
    let flag = "Input should be a valid boolean, unable to interpret input";
    let stream = field("bool_parsing", "body.stream", flag, "x");
    bad(COMPLETION, r#"{"prompt":"x","stream":"x"}"#, &stream, r#""body.stream""#);
}

#[test]
fn requests_that_cannot_be_answered_are_refused() {
    let chat = |more: &str| format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{more}}}"#);
    let bad = |path: &str, body: &str, message: &str, param: &str| {
        check(path, body, message, "BadRequestError", param, 400);
    };
    let unknown = "The model `nope` does not exist. Valid aliases: tiny, tiny-alias.";
    check(CHAT, &chat(r#""model":"nope""#), unknown, "NotFoundError", r#""model""#, 404);
    check(COMPLETION, r#"{"model":"nope","prompt":"x"}"#, unknown, "NotFoundError", r#""model""#, 404);
    let empty = "Cannot apply chat template to an empty conversation. Provide at least one message.";
    bad(CHAT, r#"{"messages":[]}"#, empty, "null");
    let few = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)";
    bad(CHAT, &chat(r#""max_tokens":0"#), few, r#""max_tokens""#);
    bad(COMPLETION, r#"{"prompt":"x","max_tokens":0}"#, few, r#""max_tokens""#);
    for name in ["max_tokens", "max_completion_tokens"] {
        let many = format!(
            "{name}=99999 cannot be greater than max_model_len=2048. Please request fewer output tokens. \
             (parameter={name}, value=99999)"
        );
        bad(CHAT, &chat(&format!(r#""{name}":99999"#)), &many, &format!("\"{name}\""));
    }
    let long = "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input \
                tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input \
                prompt. (parameter=input_tokens, value=2049)";
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"max_tokens":1}}"#, "word ".repeat(3000));
    bad(CHAT, &body, long, r#""input_tokens""#);
    bad(CHAT, &chat(r#""n":0"#), "n must be at least 1, got 0.", "null");
    let options = "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
    bad(CHAT, &chat(r#""stream_options":{"include_usage":true}"#), options, r#""stream_options""#);
    let prompt = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)";
    bad(COMPLETION, r#"{"model":"tiny"}"#, prompt, r#""prompt""#);
    bad(COMPLETION, r#"{"prompt":[]}"#, "You must pass at least one prompt", "null");
}

#[test]
fn a_body_must_say_that_it_is_json() {
    for kind in ["", "text/plain"] {
        let mut connection = Connection::open(engine()).unwrap();
        connection.send("POST", CHAT, kind, "", r#"{"messages":[]}"#).unwrap();
        let answer = connection.answer().unwrap();
        let expected = r#"{"error":{"message":"1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed","type":"Bad Request","param":null,"code":400}}"#;
        assert_eq!((answer.status, answer.body.as_str()), (400, expected), "content type {kind:?}");
    }
}
