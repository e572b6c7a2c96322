//! What is refused, and in which words: clients and the router decide by them.

use crate::engine::{engine, post};
use crate::http::{Connection, ask};

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

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

#[test]
fn sampling_that_makes_no_sense_is_refused() {
    let chat = |more: &str| format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":2,{more}}}"#);
    let bad = |more: &str, message: &str, param: &str| check(CHAT, &chat(more), message, "BadRequestError", param, 400);
    let cold = "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)";
    bad(r#""temperature":-1"#, cold, r#""temperature""#);
    bad(r#""top_p":2"#, "top_p must be in (0, 1], got 2.0. (parameter=top_p, value=2.0)", r#""top_p""#);
    bad(r#""temperature":0,"n":2"#, "n must be 1 when using greedy sampling, got 2.", "null");
    bad(r#""min_tokens":5"#, "min_tokens must be less than or equal to max_tokens=2, got 5.", "null");
    let many = "Requested sample logprobs of 50, which is greater than max allowed: 20 (parameter=logprobs, value=50)";
    bad(r#""logprobs":true,"top_logprobs":50"#, many, r#""logprobs""#);
    let alone = "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)";
    bad(r#""top_logprobs":5"#, alone, r#""top_logprobs""#);
    let salt = "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)";
    bad(r#""cache_salt":"""#, salt, r#""cache_salt""#);
    let suffix = "suffix is only supported for models with FIM completion rendering";
    check(COMPLETION, r#"{"prompt":"x","suffix":"y"}"#, suffix, "BadRequestError", r#""suffix""#, 400);
    let number = "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a \
                  valid number, unable to parse string as a number', 'input': 'hot'}";
    check(CHAT, &chat(r#""temperature":"hot""#), number, "Bad Request", r#""body.temperature""#, 400);
    let stops = "2 validation errors:\n  {'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid \
                 string', 'input': '<list of 5 items>'}\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should \
                 have at most 4 items after validation, not 5', 'input': '<list of 5 items>', 'ctx': {'field_type': \
                 'List', 'max_length': 4, 'actual_length': 5}}";
    check(CHAT, &chat(r#""stop":["a","b","c","d","e"]"#), stops, "Bad Request", r#""body.stop""#, 400);
    let tools =
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}]"#;
    let choice = "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set";
    bad(tools, choice, "null");
    let choice = "tool_choice=\"required\" requires --tool-call-parser to be set";
    bad(&format!(r#"{tools},"tool_choice":"required""#), choice, "null");
}

#[test]
fn messages_are_refused_in_two_shapes() {
    let field = |kind: &str, at: &str, problem: &str, input: &str, more: &str| {
        format!(
            "1 validation error:\n  {{'type': '{kind}', 'loc': '{at}', 'msg': {problem}, 'input': '{input}'{more}}}"
        )
    };
    let schema = |body: &str, message: &str, param: &str| check(MESSAGES, body, message, "Bad Request", param, 400);
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let missing = |name: &str| field("missing", &format!("body.{name}"), "'Field required'", "<dict of 2 items>", "");
    schema(&format!(r#"{{"model":"tiny",{hi}}}"#), &missing("max_tokens"), r#""body.max_tokens""#);
    schema(&format!(r#"{{"max_tokens":1,{hi}}}"#), &missing("model"), r#""body.model""#);
    schema(r#"{"model":"tiny","max_tokens":1}"#, &missing("messages"), r#""body.messages""#);
    let none = "'Value error, max_tokens must be positive'";
    let more = ", 'ctx': {'error': ValueError('max_tokens must be positive')}";
    let none = field("value_error", "body.max_tokens", none, "0", more);
    schema(&format!(r#"{{"model":"tiny","max_tokens":0,{hi}}}"#), &none, r#""body.max_tokens""#);
    let roles = "'user', 'assistant' or 'system'";
    let role = field(
        "literal_error",
        "body.messages.0.role",
        &format!("\"Input should be {roles}\""),
        "robot",
        &format!(", 'ctx': {{'expected': \"{roles}\"}}"),
    );
    let robot = r#"{"model":"tiny","max_tokens":1,"messages":[{"role":"robot","content":"x"}]}"#;
    schema(robot, &role, r#""body.messages.0.role""#);
    let json = "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.9', 'msg': 'JSON decode error', 'input': \
                '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}";
    schema(r#"{"model":"#, json, r#""body.9""#);

    let other = |body: &str, status: u16, kind: &str, message: &str| {
        let answer = post(MESSAGES, body);
        let expected = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#);
        assert_eq!((answer.status, answer.body.as_str()), (status, expected.as_str()), "{body}");
    };
    let unknown = "The model `nope` does not exist. Valid aliases: tiny, tiny-alias.";
    other(&format!(r#"{{"model":"nope","max_tokens":1,{hi}}}"#), 404, "NotFoundError", unknown);
    let empty = "Cannot apply chat template to an empty conversation. Provide at least one message.";
    other(r#"{"model":"tiny","max_tokens":1,"messages":[]}"#, 400, "BadRequestError", empty);
    let many = "max_completion_tokens=99999 cannot be greater than max_model_len=2048. Please request fewer output tokens. \
                (parameter=max_completion_tokens, value=99999)";
    other(&format!(r#"{{"model":"tiny","max_tokens":99999,{hi}}}"#), 400, "BadRequestError", many);
}

#[test]
fn responses_that_cannot_be_given_are_refused() {
    let bad = |body: &str, message: &str, kind: &str, param: &str, code: u16| {
        check(RESPONSES, body, message, kind, param, code);
    };
    let missing = "1 validation error:\n  {'type': 'missing', 'loc': 'body.input', 'msg': 'Field required', 'input': '<dict \
                   of 2 items>'}";
    bad(r#"{"model":"tiny"}"#, missing, "Bad Request", r#""body.input""#, 400);
    let unknown = "The model `nope` does not exist. Valid aliases: tiny, tiny-alias.";
    bad(r#"{"model":"nope","input":"x"}"#, unknown, "NotFoundError", r#""model""#, 404);
    let few = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)";
    bad(r#"{"input":"x","max_output_tokens":0}"#, few, "BadRequestError", r#""max_tokens""#, 400);
    let many = "max_output_tokens=99999 cannot be greater than max_model_len=2048. Please request fewer output tokens. \
                (parameter=max_output_tokens, value=99999)";
    bad(r#"{"input":"x","max_output_tokens":99999}"#, many, "BadRequestError", r#""max_output_tokens""#, 400);
    let empty = "Cannot apply chat template to an empty conversation. Provide at least one message.";
    bad(r#"{"input":[]}"#, empty, "BadRequestError", "null", 400);
    let stored = "Response with id 'resp_x' not found.";
    bad(r#"{"input":"x","previous_response_id":"resp_x"}"#, stored, "invalid_request_error", r#""response_id""#, 404);
    let background = "This vLLM engine does not support `store=True` and therefore does not support the background mode. To \
                      enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching \
                      the vLLM server.";
    bad(r#"{"input":"x","background":true}"#, background, "invalid_request_error", r#""background""#, 400);
    let unstored = "background can only be used when `store` is true (parameter=background)";
    bad(r#"{"input":"x","background":true,"store":false}"#, unstored, "BadRequestError", r#""background""#, 400);
    for (method, path) in [("GET", "/v1/responses/resp_x"), ("POST", "/v1/responses/resp_x/cancel")] {
        let answer = ask(engine(), method, path, "").unwrap();
        assert!(answer.status == 404 && answer.body.contains(stored), "{path}: {}", answer.body);
    }
}

#[test]
fn tokens_that_cannot_be_made_are_refused() {
    let field = |kind: &str, at: &str, problem: &str, input: &str| {
        format!("\n  {{'type': '{kind}', 'loc': 'body.{at}', 'msg': '{problem}', 'input': '{input}'}}")
    };
    let missing = |at: &str| field("missing", at, "Field required", "<dict of 1 items>");
    let both = format!("2 validation errors:{}{}", missing("prompt"), missing("messages"));
    check("/tokenize", r#"{"model":"tiny"}"#, &both, "Bad Request", r#""body.prompt""#, 400);
    let text = field("string_type", "prompt", "Input should be a valid string", "<list of 1 items>");
    let neither = format!("2 validation errors:{text}{}", missing("messages"));
    check("/tokenize", r#"{"prompt":["a"]}"#, &neither, "Bad Request", r#""body.prompt""#, 400);
    let tokens = format!("1 validation error:{}", missing("tokens"));
    check("/detokenize", r#"{"model":"tiny"}"#, &tokens, "Bad Request", r#""body.tokens""#, 400);
    let whole = "Input should be a valid integer, unable to parse string as an integer";
    let number = format!("1 validation error:{}", field("int_parsing", "tokens.0", whole, "x"));
    check("/detokenize", r#"{"tokens":["x"]}"#, &number, "Bad Request", r#""body.tokens.0""#, 400);
    let unknown = "The model `nope` does not exist. Valid aliases: tiny, tiny-alias.";
    for (path, body) in
        [("/tokenize", r#"{"model":"nope","prompt":"x"}"#), ("/detokenize", r#"{"model":"nope","tokens":[5]}"#)]
    {
        check(path, body, unknown, "NotFoundError", r#""model""#, 404);
    }
}
