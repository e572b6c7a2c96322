//! Streams: what a client understands of each, and how each breaks off.

use super::strict::{Seen, read};
use super::*;
use crate::openai::ErrorBody;

#[test]
fn every_way_tells_the_same() {
    for (from, to) in WAYS {
        let seen = read(to, &streamed(from, to, true, sample(from).as_bytes()));
        assert!(seen.ended && seen.error.is_none(), "{from} to {to}: {seen:?}");
        assert_eq!((seen.text.as_str(), seen.thoughts.as_str()), ("Hello \u{e9}\n", "hm"), "{from} to {to}");
        let calls = [("call_a", "f", json!({"x": 1})), ("call_b", "g", json!({}))];
        let calls = calls.map(|(id, name, args)| (id.to_owned(), name.to_owned(), args));
        assert_eq!(seen.calls, calls, "{from} to {to}");
        let stop = match to {
            Chat => "tool_calls",
            Messages => "tool_use",
            _ => "completed",
        };
        assert_eq!(seen.stop.as_deref(), Some(stop), "{from} to {to}");
    }
}

#[test]
fn tokens_are_counted_as_the_client_counts() {
    for (from, to) in WAYS {
        let usage = read(to, &streamed(from, to, true, sample(from).as_bytes())).usage.unwrap();
        // Converse does not say how much of the answer was reasoning.
        let thought = if from == Converse { 0 } else { 3 };
        let want = match to {
            Chat => json!({"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": thought}}),
            Messages if from == Converse => json!({"input_tokens": 15, "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 5, "output_tokens": 12}),
            Messages => json!({"input_tokens": 15, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5,
                "output_tokens": 12, "output_tokens_details": {"thinking_tokens": 3}}),
            _ => json!({"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
                "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": 42}),
        };
        assert_eq!(usage, want, "{from} to {to}");
    }
}

#[test]
fn usage_reaches_chat_clients_only_when_asked() {
    let stream = streamed(Messages, Chat, false, sample(Messages).as_bytes());
    assert!(!stream.contains("usage"), "{stream}");
    let mut quiet = Stream::new(Messages, Chat, asked(false)).unwrap();
    quiet.push(sample(Messages).as_bytes(), &mut Vec::new());
    assert_eq!(quiet.tokens().map(|t| t.total()), Some(42));
}

#[test]
fn seals_come_back_to_whoever_made_them() {
    let seals = |from, to| read(to, &streamed(from, to, false, sample(from).as_bytes())).seals;
    assert_eq!(seals(Messages, Chat), ["sig"]);
    assert_eq!(seals(Messages, Responses), ["anthropic:sig"]);
    assert_eq!(seals(Responses, Messages), ["openai:rs_1:enc"]);
    assert_eq!(seals(Responses, Chat), ["openai:rs_1:enc"]);
    assert_eq!(seals(Converse, Messages), ["sig"]);
    assert_eq!(seals(Chat, Messages), ["plain:reasoning_content"]);
    assert_eq!(seals(Chat, Responses), ["plain:reasoning_content"]);
}

/// Every event of a stream is a place where it can stop.
#[test]
fn a_cut_never_looks_like_an_end() {
    for (from, to) in WAYS {
        let whole = sample(from);
        let step = if from == Converse { "\n" } else { "\n\n" };
        let parts: Vec<&str> = whole.split_inclusive(step).collect();
        for count in 0..parts.len() {
            let cut = parts[..count].concat();
            let seen = seen_loosely(to, &streamed(from, to, true, cut.as_bytes()));
            assert!(
                seen.error.is_some() && !seen.ended && seen.stop.is_none(),
                "{from} to {to} after {count}: {seen:?}"
            );
        }
    }
}

/// As [`read`], of a stream whose calls need not be finished.
fn seen_loosely(to: Shape, stream: &str) -> Seen {
    let mut seen = Seen::default();
    let last = stream.split_terminator("\n\n").last().unwrap_or_default();
    seen.ended = stream.contains("[DONE]") || stream.contains("message_stop") || stream.contains("response.completed");
    seen.stop =
        ["finish_reason\":\"", "stop_reason\":\""].iter().find(|k| stream.contains(**k)).map(|k| (*k).to_owned());
    let kind = if to == Chat { "data: {\"error\"" } else { "event: error\n" };
    seen.error = last.starts_with(kind).then(|| last.to_owned());
    seen
}

#[test]
fn a_failure_before_the_first_token_can_be_taken_back() {
    let overloaded =
        events(true, &[json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})]);
    let opening: String = sample(Messages).split_inclusive("\n\n").take(2).collect();
    for before in ["", opening.as_str()] {
        let mut stream = Stream::new(Messages, Chat, asked(false)).unwrap();
        stream.push((before.to_owned() + &overloaded).as_bytes(), &mut Vec::new());
        let failure = stream.failure().unwrap();
        assert!(!stream.begun() && !stream.done());
        assert_eq!((failure.class, failure.status_for(Messages).as_u16()), (Class::Overloaded, 529));
        assert_eq!(failure.status_for(Chat), 503);
    }
    let begun: String = sample(Messages).split_inclusive("\n\n").take(4).collect();
    let mut stream = Stream::new(Messages, Chat, asked(false)).unwrap();
    let mut out = Vec::new();
    stream.push((begun + &overloaded + &sample(Messages)).as_bytes(), &mut out);
    assert!(stream.begun() && stream.failure().is_some());
    let seen = read(Chat, &String::from_utf8(out).unwrap());
    assert_eq!((seen.thoughts.as_str(), seen.error.as_deref(), seen.stop), ("hm", Some("busy"), None));
}

#[test]
fn errors_within_streams_reach_the_client() {
    let cases = [
        (Chat, "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":500}}\n\n", "m"),
        (Chat, "data: {\"object\":\"error\",\"message\":\"m\",\"code\":400}\n\n", "m"),
        (
            Chat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"abort\"}]}\n\n",
            "the target gave the request up",
        ),
        (Chat, "data: <html>\n\n", "the target sent an event that chat completions do not have"),
        (Chat, "data: [DONE]\n\n", "the target's stream ended before the answer did"),
        (Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}\n\n", "m"),
        (
            Responses,
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n",
            "m",
        ),
        (Converse, "throttlingException {\"message\":\"m\"}", "m"),
        (Converse, "metadata {}", "the target's stream ended before the answer did"),
        (Messages, "", "the target's stream ended before the answer did"),
        (
            Messages,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            "the target's stream ended before the answer did",
        ),
    ];
    for (from, stream, want) in cases {
        for to in [Chat, Messages, Responses] {
            if from != to {
                let seen = read(to, &streamed(from, to, false, stream.as_bytes()));
                assert_eq!(seen.error.as_deref(), Some(want), "{from} to {to}: {stream}");
            }
        }
    }
}

#[test]
fn what_broke_a_stream_is_told_once() {
    let error = ErrorBody { message: "silent", kind: "server_error", param: None, code: Some("upstream_silent") };
    let broken = End::Broken { error: &error, status: StatusCode::GATEWAY_TIMEOUT };
    for to in [Messages, Responses] {
        let mut stream = Stream::new(Chat, to, asked(false)).unwrap();
        let mut out = Vec::new();
        stream.push(events(false, &[chat_chunk(&json!({"content": "a"}), None)]).as_bytes(), &mut out);
        stream.finish(broken, &mut out);
        stream.finish(broken, &mut out);
        stream.push(sample(Chat).as_bytes(), &mut out);
        let seen = seen_loosely(to, &String::from_utf8(out).unwrap());
        assert!(seen.error.unwrap().contains("silent") && !seen.ended);
    }
}

#[test]
fn calls_of_servers_with_habits_of_their_own() {
    let whole = |index: Option<u32>, id: &str| {
        let mut call = json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        if let Some(index) = index {
            call["index"] = json!(index);
        }
        chat_chunk(&json!({"tool_calls": [call]}), None)
    };
    // All calls under one index, or under none; and `stop` as the reason.
    for index in [Some(0), None] {
        let chunks = [whole(index, "a"), whole(index, "b"), chat_chunk(&json!({}), Some("stop"))];
        let stream = events(false, &chunks) + "data: [DONE]\n\n";
        let seen = read(Messages, &streamed(Chat, Messages, false, stream.as_bytes()));
        assert_eq!((seen.calls.len(), seen.stop.as_deref()), (2, Some("tool_use")), "{index:?}");
    }
    // Pieces of two calls in turns cannot be told to anybody.
    let piece =
        |index: u32| chat_chunk(&json!({"tool_calls": [{"index": index, "function": {"arguments": "1"}}]}), None);
    let chunks = [whole(Some(0), "a"), whole(Some(1), "b"), piece(0)];
    let out = streamed(Chat, Messages, false, events(false, &chunks).as_bytes());
    assert!(seen_loosely(Messages, &out).error.unwrap().contains("mixed"), "{out}");
}

#[test]
fn thoughts_among_the_parts_of_a_content_are_thoughts() {
    let thought = |text: &str| json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]});
    let chunks =
        [thought("h"), thought("m"), json!({"content": [{"type": "text", "text": "H"}]}), json!({"content": "i"})];
    let chunks: Vec<Value> = chunks.iter().map(|delta| chat_chunk(delta, None)).collect();
    let stream = events(false, &chunks) + &events(false, &[chat_chunk(&json!({}), Some("stop"))]) + "data: [DONE]\n\n";
    for to in [Messages, Responses] {
        let seen = read(to, &streamed(Chat, to, false, stream.as_bytes()));
        assert_eq!((seen.thoughts.as_str(), seen.text.as_str(), seen.ended), ("hm", "Hi", true), "{to}");
    }
}

#[test]
fn a_stop_sequence_is_named_where_it_is_known() {
    let mut last = chat_chunk(&json!({"content": "a"}), Some("stop"));
    last["choices"][0]["stop_reason"] = json!("###");
    let stream = events(false, &[last]) + "data: [DONE]\n\n";
    let out = streamed(Chat, Messages, false, stream.as_bytes());
    assert!(out.contains(r####""stop_reason":"stop_sequence","stop_sequence":"###""####), "{out}");
}

#[test]
fn an_event_without_end_fails() {
    let mut stream = Stream::new(Chat, Messages, asked(false)).unwrap();
    let mut out = Vec::new();
    for _ in 0..100 {
        stream.push(&[b'x'; 10_000], &mut out);
    }
    assert!(stream.failure().is_some() && out.len() < 1000);
}

#[test]
fn an_answer_cut_by_its_limit_says_so() {
    let data = [
        json!({"type": "response.created", "response": {"model": "m"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": "a"}),
        json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}}),
    ];
    let responses = events(true, &data);
    let chat = events(false, &[chat_chunk(&json!({"content": "a"}), Some("length"))]) + "data: [DONE]\n\n";
    let cases = [
        (Responses, Chat, &responses, "length"),
        (Responses, Messages, &responses, "max_tokens"),
        (Chat, Messages, &chat, "max_tokens"),
        (Chat, Responses, &chat, "max_output_tokens"),
    ];
    for (from, to, stream, want) in cases {
        let seen = read(to, &streamed(from, to, false, stream.as_bytes()));
        assert_eq!((seen.stop.as_deref(), seen.text.as_str(), seen.ended), (Some(want), "a", true), "{from} to {to}");
    }
}
