//! Options of requests: stop words, probabilities, echo, several answers, running usage.

use crate::answers::{number, text};
use crate::differences;
use crate::engine::{expected, post};
use crate::http::Answer;
use crate::shape::shape;

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";

fn number_in_list(body: &str) -> u64 {
    let (_, list) = body.split_once("\"tokens\":[").unwrap();
    list.split([',', ']']).next().unwrap().parse().unwrap()
}

fn ok(path: &str, body: &str) -> Answer {
    let answer = post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer
}

#[test]
fn stop_words_and_stop_tokens_end_an_answer() {
    let d = number_in_list(&post("/tokenize", r#"{"prompt":"d"}"#).body);
    let bias = format!(r#""logit_bias":{{"{d}":100}}"#);
    for (more, text_expected, finish, stop, tokens) in [
        ("", "ddddd", "length", "null".to_owned(), 5),
        (r#","stop":"dd""#, "", "stop", r#""dd""#.to_owned(), 2),
        (r#","stop":["x","ddd"],"include_stop_str_in_output":true"#, "ddd", "stop", r#""ddd""#.to_owned(), 3),
        (&format!(r#","stop_token_ids":[{d}]"#), "", "stop", d.to_string(), 1),
    ] {
        let body = format!(r#"{{"prompt":"hi","max_tokens":5,{bias}{more}}}"#);
        let answer = ok(COMPLETION, &body);
        assert_eq!(text(&answer.body, "text"), text_expected, "{body}");
        let ending = format!(r#""finish_reason":"{finish}","stop_reason":{stop},"#);
        assert!(answer.body.contains(&ending), "{body}: {}", answer.body);
        assert_eq!(number(&answer.body, "completion_tokens"), tokens, "{body}");
    }
    let chat = format!(
        r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":5,{bias},"stop":["ddd"],"stream":true}}"#
    );
    let answer = ok(CHAT, &chat);
    let events = answer.events();
    let last = events[events.len() - 2];
    assert!(last.contains(r#""finish_reason":"stop","stop_reason":"ddd""#), "{last}");
    let said: String = events[..events.len() - 1].iter().map(|event| text(event, "content")).collect();
    assert_eq!(said, "");
}

#[test]
fn a_model_ends_before_its_limit_only_where_it_is_let() {
    // The bias brings the real model to its end within some ten tokens.
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":300,"seed":5,"logit_bias":{"1":5}}"#;
    let answer = ok(CHAT, body);
    assert_eq!(text(&answer.body, "finish_reason"), expected(&differences::ENDS_EARLY));
}

#[test]
fn probabilities_are_told_when_asked_for() {
    let chat = |more: &str| format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"ignore_eos":true,{more}}}"#);
    let logprobs = |body: &str| {
        let (_, rest) = body.split_once("\"logprobs\":{").unwrap_or_else(|| panic!("none in {body}"));
        let (told, _) = rest.split_once(",\"finish_reason\"").unwrap();
        bytes_as_one(&shape(&format!("{{{told}")))
    };
    let entry = r#""token":"s","logprob":0,"bytes":[0]"#;
    let one = |top: &str| format!(r#"{{{entry},"top_logprobs":[{top}]}}"#);
    let answer = ok(CHAT, &chat(r#""max_tokens":1,"logprobs":true"#));
    assert_eq!(logprobs(&answer.body), format!(r#"{{"content":[{}]}}"#, one("")));
    let answer = ok(CHAT, &chat(r#""max_tokens":2,"logprobs":true,"top_logprobs":1,"stream":true"#));
    let events = answer.events();
    let first = events.iter().find(|event| event.contains(r#""logprobs":{"#)).unwrap();
    assert!(logprobs(first).starts_with(&format!(r#"{{"content":[{{{entry},"top_logprobs":[{{{entry}}}"#)), "{first}");

    let answer = ok(COMPLETION, r#"{"prompt":"hi","max_tokens":2,"ignore_eos":true,"logprobs":0}"#);
    let told = logprobs(&answer.body);
    let lists = r#"{"text_offset":[0,0],"token_logprobs":[0,0],"tokens":["s","s"],"top_logprobs":[{"#;
    assert!(told.starts_with(lists), "{told}");
    let answer = ok(COMPLETION, r#"{"prompt":"hi","max_tokens":1,"ignore_eos":true,"prompt_logprobs":1}"#);
    let told = if answer.body.contains(r#""prompt_logprobs":[null"#) { "told" } else { "null" };
    assert_eq!(told, expected(&differences::PROMPT_LOGPROBS), "{}", answer.body);
    let answer = ok(COMPLETION, r#"{"prompt":"hi","max_tokens":1,"ignore_eos":true,"return_token_ids":true}"#);
    let told = if answer.body.contains(r#""token_ids":["#) { "told" } else { "null" };
    assert_eq!(told, expected(&differences::TOKEN_IDS), "{}", answer.body);
}

/// The bytes of a token vary in number.
fn bytes_as_one(shape: &str) -> String {
    let mut out = String::new();
    let mut rest = shape;
    while let Some((before, after)) = rest.split_once("\"bytes\":[") {
        let (_, behind) = after.split_once(']').unwrap();
        out = out + before + "\"bytes\":[0]";
        rest = behind;
    }
    out + rest
}

#[test]
fn a_completion_gives_its_prompt_back_when_asked() {
    let answer = ok(COMPLETION, r#"{"prompt":"Hello you","max_tokens":3,"ignore_eos":true,"echo":true}"#);
    assert!(text(&answer.body, "text").starts_with("Hello you"), "{}", answer.body);
    assert_eq!(number(&answer.body, "completion_tokens"), 3);
    let answer = ok(COMPLETION, r#"{"prompt":"Hello you","max_tokens":0,"echo":true}"#);
    assert_eq!(text(&answer.body, "text"), "Hello you");
    assert_eq!(number(&answer.body, "completion_tokens"), 1, "one is made all the same");
    let answer = ok(COMPLETION, r#"{"prompt":"Hello you","max_tokens":2,"ignore_eos":true,"echo":true,"stream":true}"#);
    assert!(text(answer.events()[0], "text").starts_with("Hello you"), "{}", answer.body);
}

#[test]
fn best_of_and_unknown_fields_are_passed_over() {
    let answer = ok(COMPLETION, r#"{"prompt":"hi","max_tokens":2,"ignore_eos":true,"best_of":3,"frobnicate":1}"#);
    assert_eq!(answer.body.matches("\"index\":").count(), 1, "{}", answer.body);
    assert_eq!(number(&answer.body, "completion_tokens"), 2);
}

#[test]
fn usage_can_come_with_every_event() {
    let options = r#""stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}"#;
    let body = format!(r#"{{"prompt":"hi","max_tokens":3,"ignore_eos":true,{options}}}"#);
    let answer = ok(COMPLETION, &body);
    let events = answer.events();
    let (_, events) = events.split_last().unwrap();
    let usage = r#""usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0}"#;
    assert!(events.iter().all(|event| shape(event).contains(usage)), "{events:?}");
    let counts: Vec<u64> = events.iter().map(|event| number(event, "completion_tokens")).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&3), "{counts:?}");

    let body =
        format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":3,"ignore_eos":true,{options}}}"#);
    let answer = ok(CHAT, &body);
    let events = answer.events();
    let running =
        r#""usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0,"completion_tokens_details":null}"#;
    assert!(shape(events[0]).contains(running), "{}", events[0]);
    assert_eq!(number(events[0], "completion_tokens"), 0, "{}", events[0]);
}
