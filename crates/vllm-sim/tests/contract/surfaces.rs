//! The surfaces beside chats and completions, and those that are absent.

use crate::answers::{number, text};
use crate::differences;
use crate::engine::{engine, expected, post};
use crate::http::{Answer, ask};
use crate::shape::shape;

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

fn ok(path: &str, body: &str) -> Answer {
    let answer = post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer
}

/// A message's body. Without a temperature the real model's answer is the same each time.
fn message(more: &str) -> String {
    format!(r#"{{"model":"tiny","temperature":0,"messages":[{{"role":"user","content":"Hello"}}],{more}}}"#)
}

#[test]
fn messages_are_answered() {
    let whole = r#"{"id":"s","type":"message","role":"assistant","content":[{"type":"text","text":"s"}],"model":"s","stop_reason":"max_tokens","usage":{"input_tokens":0,"output_tokens":0}}"#;
    for body in [
        message(r#""max_tokens":4"#),
        message(r#""max_tokens":4,"system":"Be kind.""#),
        message(r#""max_tokens":4,"system":[{"type":"text","text":"Be kind."}]"#),
        r#"{"model":"tiny","temperature":0,"max_tokens":4,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
            .to_owned(),
    ] {
        let answer = ok(MESSAGES, &body);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{body}");
        assert_eq!(shape(&answer.body), whole, "{body}");
        assert!(text(&answer.body, "id").starts_with("chatcmpl-"), "{}", answer.body);
        assert_eq!(text(&answer.body, "model"), "tiny", "{}", answer.body);
        assert_eq!(number(&answer.body, "output_tokens"), 4, "{body}");
    }
    let plain = number(&ok(MESSAGES, &message(r#""max_tokens":1"#)).body, "input_tokens");
    let more = number(&ok(MESSAGES, &message(r#""max_tokens":1,"system":"Be kind.""#)).body, "input_tokens");
    assert!(more > plain, "a system prompt counts");
}

#[test]
fn messages_are_streamed_in_blocks() {
    let answer = ok(MESSAGES, &message(r#""max_tokens":12,"stream":true"#));
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = answer.named_events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    for (name, data) in &events {
        assert_eq!(text(data, "type"), *name, "{data}");
        let wanted = match *name {
            "message_start" => {
                r#"{"type":"message_start","message":{"id":"s","type":"message","role":"assistant","content":[],"model":"s","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}"#
            }
            "content_block_start" => {
                r#"{"type":"content_block_start","content_block":{"type":"text","text":"s"},"index":0}"#
            }
            "content_block_delta" => {
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"s"},"index":0}"#
            }
            "content_block_stop" => r#"{"type":"content_block_stop","index":0}"#,
            "message_delta" => {
                r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"input_tokens":0,"output_tokens":0}}"#
            }
            _ => r#"{"type":"message_stop"}"#,
        };
        assert_eq!(shape(data), wanted);
    }
    let (_, last) = events.iter().find(|(name, _)| *name == "message_delta").unwrap();
    assert_eq!(number(last, "output_tokens"), 12);
}

#[test]
fn a_message_says_which_word_stopped_it() {
    let body = message(r#""max_tokens":60,"stop_sequences":["e","a","o"]"#);
    let answer = ok(MESSAGES, &body);
    assert_eq!(text(&answer.body, "stop_reason"), "stop_sequence", "{}", answer.body);
    let word = text(&answer.body, "stop_sequence").to_owned();
    assert!(["e", "a", "o"].contains(&word.as_str()), "{}", answer.body);
    let said = text(answer.body.split_once("\"content\":").unwrap().1, "text");
    assert!(!said.contains(&word), "{said:?} ends before {word:?}");
    let answer = ok(MESSAGES, &message(r#""max_tokens":60,"stop_sequences":["e","a","o"],"stream":true"#));
    let events = answer.named_events();
    let (_, last) = events.iter().find(|(name, _)| *name == "message_delta").unwrap();
    let ending = format!(r#""delta":{{"stop_reason":"stop_sequence","stop_sequence":"{word}"}}"#);
    assert!(last.contains(&ending), "{last}");
}

#[test]
fn the_tokens_of_a_message_are_counted() {
    let body = message(r#""x":1"#);
    let counted = ok("/v1/messages/count_tokens", &body);
    assert_eq!(shape(&counted.body), r#"{"input_tokens":0,"context_management":{"original_input_tokens":0}}"#);
    let answered = ok(MESSAGES, &message(r#""max_tokens":1"#));
    assert_eq!(number(&counted.body, "input_tokens"), number(&answered.body, "input_tokens"));
}

const MESSAGE_OUT: &str = r#"{"id":"s","content":[{"annotations":[],"text":"s","type":"output_text","logprobs":null}],"role":"assistant","status":"completed","type":"message","phase":null}"#;

fn response(state: &str, incomplete: &str, output: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"s","created_at":0,"incomplete_details":{incomplete},"instructions":null,"metadata":null,"model":"s","object":"response","output":[{output}],"parallel_tool_calls":true,"temperature":0,"tool_choice":"s","tools":[],"top_p":0,"background":false,"max_output_tokens":0,"max_tool_calls":null,"previous_response_id":null,"prompt":null,"reasoning":null,"service_tier":"s","status":"{state}","text":null,"top_logprobs":null,"truncation":"s","usage":{usage},"user":null,"presence_penalty":0,"frequency_penalty":0,"kv_transfer_params":null,"ec_transfer_params":null,"input_messages":null,"output_messages":null}}"#
    )
}

const RESPONSE_USAGE: &str = r#"{"input_tokens":0,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},"output_tokens":0,"output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":0}"#;

#[test]
fn responses_are_answered() {
    let cut = r#"{"reason":"max_output_tokens"}"#;
    let whole = response("incomplete", cut, MESSAGE_OUT, RESPONSE_USAGE);
    for input in [
        r#""Hello""#,
        r#"[{"role":"user","content":"Hello"}]"#,
        r#"[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hello"}]}]"#,
    ] {
        let body = format!(r#"{{"model":"tiny","input":{input},"max_output_tokens":12,"temperature":0}}"#);
        let answer = ok(RESPONSES, &body);
        assert_eq!(shape(&answer.body), whole, "{body}");
        assert!(text(&answer.body, "id").starts_with("resp_"), "{}", answer.body);
        assert_eq!(number(&answer.body, "output_tokens"), 12, "{body}");
        let (input, total) = (number(&answer.body, "input_tokens"), number(&answer.body, "total_tokens"));
        assert_eq!(total, input + 12, "{body}");
    }
    let body = r#"{"input":"Hello","max_output_tokens":2,"temperature":0.5,"top_p":0.9,"metadata":{"a":"b"},"user":"u","instructions":"Be kind."}"#;
    let answer = ok(RESPONSES, body);
    for part in [
        r#""temperature":0.5"#,
        r#""instructions":"Be kind.""#,
        r#""metadata":{"a":"b"}"#,
        r#""top_p":0.9"#,
        r#""user":"u""#,
    ] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
    let greedy = ok(RESPONSES, r#"{"input":"Hello","max_output_tokens":2,"temperature":0,"top_p":0.9}"#);
    assert!(greedy.body.contains(r#""top_p":1.0"#), "there is nothing to choose among: {}", greedy.body);
}

#[test]
fn responses_are_streamed_event_by_event() {
    let answer =
        ok(RESPONSES, r#"{"model":"tiny","input":"Hello","max_output_tokens":12,"temperature":0,"stream":true}"#);
    let events = answer.named_events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let begun = response("in_progress", "null", "", "null");
    let ended = response("incomplete", r#"{"reason":"max_output_tokens"}"#, MESSAGE_OUT, RESPONSE_USAGE);
    let place = r#""content_index":0,"item_id":"s""#;
    for (at, (name, data)) in events.iter().enumerate() {
        assert_eq!(number(data, "sequence_number"), at as u64, "{data}");
        let rest = format!(r#""sequence_number":0,"type":"{name}""#);
        let wanted = match *name {
            "response.created" | "response.in_progress" => format!(r#"{{"response":{begun},{rest}}}"#),
            "response.output_item.added" => format!(
                r#"{{"item":{{"id":"s","content":[],"role":"assistant","status":"in_progress","type":"message","phase":null}},"output_index":0,{rest}}}"#
            ),
            "response.content_part.added" => format!(
                r#"{{"content_index":0,"item_id":"s","output_index":0,"part":{{"annotations":[],"text":"s","type":"output_text","logprobs":[]}},{rest}}}"#
            ),
            "response.output_text.delta" => {
                format!(r#"{{"content_index":0,"delta":"s","item_id":"s","logprobs":[],"output_index":0,{rest}}}"#)
            }
            "response.output_text.done" => {
                format!(r#"{{{place},"logprobs":[],"output_index":0,"sequence_number":0,"text":"s","type":"{name}"}}"#)
            }
            "response.content_part.done" => format!(
                r#"{{{place},"output_index":0,"part":{{"annotations":[],"text":"s","type":"output_text","logprobs":null}},{rest}}}"#
            ),
            "response.output_item.done" => format!(r#"{{"item":{MESSAGE_OUT},"output_index":0,{rest}}}"#),
            _ => format!(r#"{{"response":{ended},{rest}}}"#),
        };
        assert_eq!(shape(data), wanted);
    }
}

#[test]
fn texts_become_tokens_and_tokens_texts() {
    let answer = ok("/tokenize", r#"{"model":"tiny","prompt":"Hello you"}"#);
    let (_, list) = answer.body.split_once("\"tokens\":[").unwrap();
    let (tokens, rest) = list.split_once(']').unwrap();
    assert_eq!(rest, r#","token_strs":null}"#);
    assert_eq!(number(&answer.body, "count"), tokens.split(',').count() as u64);
    assert_eq!(number(&answer.body, "max_model_len"), 2048);
    let back = ok("/detokenize", &format!(r#"{{"model":"tiny","tokens":[{tokens}]}}"#));
    assert_eq!(back.body, r#"{"prompt":"Hello you"}"#);

    let answer = ok("/tokenize", r#"{"prompt":"Hello you","return_token_strs":true}"#);
    let (_, words) = answer.body.split_once("\"token_strs\":[").unwrap();
    assert_eq!(words.trim_end_matches("]}").split(',').count() as u64, number(&answer.body, "count"));
    assert_eq!(
        ok("/tokenize", r#"{"prompt":""}"#).body,
        r#"{"count":0,"max_model_len":2048,"tokens":[],"token_strs":null}"#
    );
    assert_eq!(ok("/detokenize", r#"{"tokens":[]}"#).body, r#"{"prompt":""}"#);
    let answer = ok("/tokenize", r#"{"messages":[{"role":"user","content":"Hello"}]}"#);
    assert!(number(&answer.body, "count") > 1, "{}", answer.body);
    let long = ok("/tokenize", &format!(r#"{{"prompt":"{}"}}"#, "word ".repeat(3000)));
    assert!(number(&long.body, "count") > 2048, "what does not fit the model is cut into tokens all the same");
}

#[test]
fn what_the_model_or_the_settings_do_not_allow_is_absent() {
    let absent = r#"{"detail":"Not Found"}"#;
    for path in [
        // A model that generates answers none of these.
        "/v1/embeddings",
        "/v1/rerank",
        "/v2/rerank",
        "/rerank",
        "/v1/score",
        "/score",
        "/classify",
        "/pooling",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        // Adapters cannot be changed unless it was allowed.
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        // These are for development mode.
        "/sleep",
        "/wake_up",
        "/reset_prefix_cache",
        "/collective_rpc",
        "/pause",
        "/abort_requests",
    ] {
        let answer = post(path, r#"{"model":"tiny","input":"x"}"#);
        assert_eq!((answer.status, answer.body.as_str()), (404, absent), "{path}");
    }
    for path in
        ["/is_sleeping", "/is_paused", "/server_info", "/tokenizer_info", "/fault_tolerance/status", "/sim/faults"]
    {
        let answer = ask(engine(), "GET", path, "").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, absent), "{path}");
    }
}

#[test]
fn routes_that_the_simulator_lacks_are_as_listed() {
    let status = |method: &str, path: &str, body: &str| ask(engine(), method, path, body).unwrap().status.to_string();
    let chat = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(status("POST", "/v1/chat/completions/render", chat), expected(&differences::RENDER));
    let completion = r#"{"model":"tiny","prompt":"x","max_tokens":1}"#;
    assert_eq!(status("POST", "/invocations", completion), expected(&differences::INVOCATIONS));
    assert_eq!(status("GET", "/docs", ""), expected(&differences::DOCS));
    let page = "/metrics/";
    assert_eq!(status("GET", page, ""), expected(&differences::METRICS_WITH_SLASH));
}
