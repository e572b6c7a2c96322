//! Answers and pages: status, headers, fields and their order, framing.

use crate::differences;
use crate::engine::{engine, expected, get, is_real, post};
use crate::http::{Answer, Connection, ask};
use crate::shape::shape;

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";

const MESSAGE: &str = r#""message":{"role":"assistant","content":"s","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}"#;
const USAGE: &str = r#""usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0,"prompt_tokens_details":null,"completion_tokens_details":null}"#;
const STREAM_USAGE: &str = r#""usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0}"#;

/// A request body from parts that most requests share.
fn chat(more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Hello, who are you?"}}],"model":"tiny",{more}}}"#)
}

pub(crate) fn number(json: &str, field: &str) -> u64 {
    let (_, after) = json.split_once(&format!("\"{field}\":")).unwrap_or_else(|| panic!("no {field} in {json}"));
    after.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

pub(crate) fn text<'a>(json: &'a str, field: &str) -> &'a str {
    let (_, after) = json.split_once(&format!("\"{field}\":\"")).unwrap_or_else(|| panic!("no {field} in {json}"));
    after.split('"').next().unwrap()
}

fn check_plain(path: &str, body: &str, completion_tokens: u64, expected_shape: &str) -> Answer {
    let answer = post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{body}");
    assert_eq!(answer.header("transfer-encoding"), None, "{body}: a plain answer has a length");
    assert_eq!(answer.header("vary"), Some("Origin"), "{body}");
    assert_eq!(answer.header("server"), Some(expected(&differences::SERVER)), "{body}");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{body}: {:?}", answer.headers);
    assert_eq!(shape(&answer.body), expected_shape, "{body}");
    assert_eq!(text(&answer.body, "model"), "tiny", "{body}: the first served name answers");
    assert!(text(&answer.body, "system_fingerprint").starts_with(expected(&differences::FINGERPRINT)), "{body}");
    let (prompt, total) = (number(&answer.body, "prompt_tokens"), number(&answer.body, "total_tokens"));
    assert_eq!(number(&answer.body, "completion_tokens"), completion_tokens, "{body}");
    assert_eq!(total, prompt + completion_tokens, "{body}");
    assert!(number(&answer.body, "created") > 1_700_000_000, "{body}: seconds since 1970");
    answer
}

#[test]
fn chats_are_answered() {
    let choice = format!(
        r#"{{"index":0,{MESSAGE},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"routed_experts":null}}"#
    );
    let whole = |choices: &str| {
        format!(
            r#"{{"id":"s","object":"chat.completion","created":0,"model":"s","choices":[{choices}],"service_tier":null,"system_fingerprint":"s",{USAGE},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#
        )
    };
    let (one, two) = (whole(&choice), whole(&format!("{choice},{choice}")));
    let limit = r#""ignore_eos":true,"max_tokens":5"#;
    let first = check_plain(CHAT, &chat(limit), 5, &one);
    let second = check_plain(CHAT, &chat(limit), 5, &one);
    let id = |answer: &Answer| text(&answer.body, "id").to_owned();
    assert_ne!(id(&first), id(&second));
    let digits = id(&first).strip_prefix("chatcmpl-").unwrap().to_owned();
    assert!(digits.len() == 16 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{digits}");

    check_plain(CHAT, &chat(&format!(r#"{limit},"n":2"#)), 10, &two);
    check_plain(CHAT, &chat(r#""ignore_eos":true,"max_completion_tokens":3,"max_tokens":9"#), 3, &one);
    let many = r#""n":null,"stream":null,"stream_options":null,"ignore_eos":true,"max_tokens":1,"temperature":0"#;
    check_plain(CHAT, &chat(many), 1, &one);
    for model in [r#""model":"tiny-alias","#, r#""model":"","#, r#""model":null,"#, ""] {
        let body = format!(r#"{{{model}"messages":[{{"role":"user","content":"hi"}}],{limit}}}"#);
        check_plain(CHAT, &body, 5, &one);
    }
    let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"#;
    check_plain(CHAT, &format!("{parts}{limit}}}"), 5, &one);
}

#[test]
fn an_answer_is_cut_to_the_room_that_the_prompt_leaves() {
    let answer = post(CHAT, &chat(r#""ignore_eos":true,"max_tokens":2048"#));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(number(&answer.body, "total_tokens"), 2048);
    assert_eq!(text(&answer.body, "finish_reason"), "length");
}

#[test]
fn completions_are_answered() {
    let choice = r#"{"index":0,"text":"s","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}"#;
    let whole = |choices: &[&str]| {
        format!(
            r#"{{"id":"s","object":"text_completion","created":0,"model":"s","choices":[{}],"service_tier":null,"system_fingerprint":"s",{USAGE},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#,
            choices.join(",")
        )
    };
    let (one, two) = (whole(&[choice]), whole(&[choice, choice]));
    let answer =
        check_plain(COMPLETION, r#"{"model":"tiny","prompt":"Hello","ignore_eos":true,"max_tokens":4}"#, 4, &one);
    assert!(text(&answer.body, "id").starts_with("cmpl-"));
    check_plain(COMPLETION, r#"{"prompt":"Hello","ignore_eos":true}"#, 16, &one);
    check_plain(COMPLETION, r#"{"prompt":"Hello","ignore_eos":true,"max_tokens":2,"n":2}"#, 4, &two);
    check_plain(COMPLETION, r#"{"prompt":["Hello","you"],"ignore_eos":true,"max_tokens":2}"#, 4, &two);
    check_plain(COMPLETION, r#"{"prompt":[5,6,7],"ignore_eos":true,"max_tokens":2}"#, 2, &one);
}

/// Checks a stream of three tokens: an `opening`, events of a `token` each, the `last` one, then the `end`. A busy vLLM may
/// put tokens that came together into one event.
fn check_stream(path: &str, body: &str, opening: &str, token: &str, last: &str, end: Option<&str>) {
    let answer = post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{body}");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{body}");
    assert_eq!(answer.header("content-length"), None, "{body}");
    assert_eq!(answer.header("server"), Some(expected(&differences::SERVER)), "{body}");
    let events = answer.events();
    assert_eq!(events.last(), Some(&"[DONE]"), "{body}");
    let (tokens, others): (Vec<_>, Vec<_>) = events.iter().map(|event| shape(event)).partition(|shape| shape == token);
    let opening = Some(opening).filter(|opening| !opening.is_empty());
    let wanted: Vec<&str> = opening.into_iter().chain([last]).chain(end).chain(["[DONE]"]).collect();
    assert_eq!(others, wanted, "{body}");
    assert!(tokens.len() == 2 || tokens.len() < 2 && is_real(), "{body}: {events:?}");
    let ids: Vec<&str> = events[..events.len() - 1].iter().map(|event| text(event, "id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{body}: one id for the whole stream: {ids:?}");
    if end.is_some() {
        let usage = events[events.len() - 2];
        assert_eq!(number(usage, "completion_tokens"), 3, "{body}");
        assert_eq!(number(usage, "total_tokens"), number(usage, "prompt_tokens") + 3, "{body}");
    }
}

#[test]
fn streams_send_one_event_a_token() {
    let head = r#""id":"s","object":"chat.completion.chunk","created":0,"model":"s""#;
    let opening = format!(
        r#"{{{head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"s"}},"logprobs":null,"finish_reason":null}}],"prompt_token_ids":null,"prompt_text":null}}"#
    );
    let token = format!(
        r#"{{{head},"choices":[{{"index":0,"delta":{{"content":"s"}},"logprobs":null,"finish_reason":null,"token_ids":null}}]}}"#
    );
    let last = format!(
        r#"{{{head},"choices":[{{"index":0,"delta":{{"content":"s"}},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}}]"#
    );
    let usage = format!(r#"{{{head},"choices":[],{STREAM_USAGE},"system_fingerprint":"s"}}"#);
    let limit = r#""ignore_eos":true,"max_tokens":3,"stream":true"#;
    let signed = format!(r#"{last},"system_fingerprint":"s"}}"#);
    check_stream(CHAT, &chat(limit), &opening, &token, &signed, None);
    let with_usage = format!(r#"{limit},"stream_options":{{"include_usage":true}}"#);
    check_stream(CHAT, &chat(&with_usage), &opening, &token, &format!("{last}}}"), Some(&usage));

    let head = r#""id":"s","object":"text_completion","created":0,"model":"s""#;
    let choice = r#""index":0,"text":"s","logprobs":null"#;
    let rest = r#""stop_reason":null,"prompt_token_ids":null,"token_ids":null"#;
    let token = format!(r#"{{{head},"choices":[{{{choice},"finish_reason":null,{rest}}}]}}"#);
    let last = format!(r#"{{{head},"choices":[{{{choice},"finish_reason":"length",{rest}}}]"#);
    let usage = format!(r#"{{{head},"choices":[],{STREAM_USAGE},"system_fingerprint":"s"}}"#);
    let plain = format!(r#"{{"model":"tiny","prompt":"Hello",{limit}}}"#);
    check_stream(COMPLETION, &plain, "", &token, &format!(r#"{last},"system_fingerprint":"s"}}"#), None);
    let with_usage = format!(r#"{{"model":"tiny","prompt":"Hello",{with_usage}}}"#);
    check_stream(COMPLETION, &with_usage, "", &token, &format!("{last}}}"), Some(&usage));
}

#[test]
fn a_stream_of_several_answers_opens_and_ends_each() {
    let answer = post(CHAT, &chat(r#""ignore_eos":true,"max_tokens":4,"n":2,"stream":true"#));
    let events = answer.events();
    let with = |part: &str| events.iter().filter(|event| event.contains(part)).count();
    assert_eq!((with(r#""role":"assistant""#), with(r#""finish_reason":"length""#)), (2, 2), "{events:?}");
    for index in [r#""index":0"#, r#""index":1"#] {
        let count = with(index);
        assert!(count == 5 || (2..5).contains(&count) && is_real(), "{index}: {events:?}");
    }
    assert!(events[..2].iter().all(|event| event.contains(r#""role""#)), "{events:?}");
}

#[test]
fn an_answer_that_ends_by_itself_says_stop() {
    // The real engine is made to prefer its end-of-text token; the simulator ends by itself when there is no limit.
    let bias = r#""logit_bias":{"1":100}"#;
    let answer = post(CHAT, &chat(bias));
    assert_eq!(text(&answer.body, "finish_reason"), "stop", "{}", answer.body);
    let answer = post(CHAT, &chat(&format!(r#"{bias},"stream":true"#)));
    let events = answer.events();
    let last = events[events.len() - 2];
    assert!(
        last.contains(r#""delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null"#),
        "{last}"
    );
}

#[test]
fn pages_are_served() {
    for (method, path, status, kind, body) in [
        ("GET", "/health", 200, None, ""),
        ("GET", "/ping", 200, None, ""),
        ("POST", "/ping", 200, None, ""),
        ("GET", "/version", 200, Some("application/json"), r#"{"version":"0.32.0"}"#),
        ("GET", "/load", 200, Some("application/json"), r#"{"server_load":0}"#),
        ("GET", "/nope", 404, Some("application/json"), r#"{"detail":"Not Found"}"#),
        ("GET", "/v1/models/tiny", 404, Some("application/json"), r#"{"detail":"Not Found"}"#),
        ("POST", "/health", 405, Some("application/json"), r#"{"detail":"Method Not Allowed"}"#),
        ("GET", CHAT, 405, Some("application/json"), r#"{"detail":"Method Not Allowed"}"#),
    ] {
        let answer = ask(engine(), method, path, "").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{method} {path}");
        assert_eq!(answer.header("content-type"), kind, "{method} {path}");
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{method} {path}");
    }
    let mut connection = Connection::open(engine()).unwrap();
    connection.send("HEAD", "/health", "", "", "").unwrap();
    assert_eq!(connection.head().unwrap().status.to_string(), expected(&differences::HEAD_OF_HEALTH));
}

#[test]
fn every_served_name_is_listed() {
    let answer = get("/v1/models");
    let entry = format!(
        r#"{{"id":"s","object":"model","created":0,"owned_by":"{}","root":"s","parent":null,"max_model_len":0,"permission":[{{"id":"s","object":"model_permission","created":0,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"s","group":null,"is_blocking":false}}]}}"#,
        expected(&differences::OWNED_BY)
    );
    assert_eq!(shape(&answer.body), format!(r#"{{"object":"list","data":[{entry},{entry}]}}"#));
    for part in [r#"{"id":"tiny","#, r#"{"id":"tiny-alias","#, r#""max_model_len":2048,"#] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
}

#[test]
fn a_request_id_becomes_the_answers_id() {
    for (path, body, id) in [
        (CHAT, chat(r#""max_tokens":1"#), "chatcmpl-abc-1"),
        (COMPLETION, r#"{"prompt":"x","max_tokens":1}"#.to_owned(), "cmpl-abc-1"),
    ] {
        let mut connection = Connection::open(engine()).unwrap();
        connection.send("POST", path, "application/json", "x-request-id: abc-1\r\n", &body).unwrap();
        assert_eq!(text(&connection.answer().unwrap().body, "id"), id);
    }
}
