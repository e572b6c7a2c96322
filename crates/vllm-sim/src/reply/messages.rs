//! Answers in the shape of Anthropic's messages.

use std::fmt::Write as _;

use super::{Ending, Piece, Reply, Usage, Whole, quoted};
use crate::core::Finish;
use crate::request::Refusal;

/// The body of an answer that is not streamed.
pub(super) fn whole(reply: &Reply, answer: &Whole, usage: Usage) -> String {
    let (reason, word) = reason(&answer.ending);
    // What is null is left out.
    let said = |key: &str, value: &str| if value == "null" { String::new() } else { format!(r#","{key}":{value}"#) };
    let (reason, word) = (said("stop_reason", reason), said("stop_sequence", word));
    format!(
        r#"{{"id":{},"type":"message","role":"assistant","content":[{{"type":"text","text":"{}"}}],"model":{}{reason}{word},"usage":{}}}"#,
        reply.id,
        answer.text,
        reply.model,
        usage_of(reply, usage),
    )
}

/// Why it ended and at which word, as JSON. vLLM has no reason for an answer that it gave up.
fn reason(ending: &Ending) -> (&'static str, &str) {
    match ending.finish {
        Finish::Length => (r#""max_tokens""#, "null"),
        Finish::Stop if ending.stop.starts_with('"') => (r#""stop_sequence""#, &ending.stop),
        Finish::Stop => (r#""end_turn""#, "null"),
        Finish::Abort => ("null", "null"),
    }
}

/// What came from the cache and what went into it is told apart from the rest of the prompt.
fn usage_of(reply: &Reply, usage: Usage) -> String {
    let Usage { prompt, completion, cached, created } = usage;
    if !reply.details {
        return format!(r#"{{"input_tokens":{prompt},"output_tokens":{completion}}}"#);
    }
    format!(
        r#"{{"input_tokens":{},"output_tokens":{completion},"cache_creation_input_tokens":{created},"cache_read_input_tokens":{cached}}}"#,
        prompt.saturating_sub(cached + created)
    )
}

/// The events before the first text.
pub(crate) fn push_opening(reply: &Reply, out: &mut String, usage: Usage) {
    let (id, model, prompt) = (&reply.id, &reply.model, usage.prompt);
    let message = format!(
        r#"{{"type":"message_start","message":{{"id":{id},"type":"message","role":"assistant","content":[],"model":{model},"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{prompt},"output_tokens":0}}}}}}"#
    );
    push(out, "message_start", &message);
}

/// The event of a text; the first opens its block. A text that is empty has none.
pub(crate) fn push_piece(out: &mut String, piece: &Piece<'_>, first: bool) {
    if first {
        let block = r#"{"type":"content_block_start","content_block":{"type":"text","text":""},"index":0}"#;
        push(out, "content_block_start", block);
    }
    let text = piece.text;
    let delta =
        format!(r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}},"index":0}}"#);
    push(out, "content_block_delta", &delta);
}

/// The events after the last text.
pub(crate) fn push_end(reply: &Reply, out: &mut String, ending: &Ending, usage: Usage, opened: bool) {
    if opened {
        push(out, "content_block_stop", r#"{"type":"content_block_stop","index":0}"#);
    }
    let (reason, word) = reason(ending);
    let usage = usage_of(reply, usage);
    let delta = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":{reason},"stop_sequence":{word}}},"usage":{usage}}}"#
    );
    push(out, "message_delta", &delta);
    push(out, "message_stop", r#"{"type":"message_stop"}"#);
}

/// The body of a refusal. One for a body that does not fit the schema has vLLM's shape, all others Anthropic's.
pub(crate) fn error(refusal: &Refusal) -> String {
    if refusal.kind == "Bad Request" {
        return super::error(refusal);
    }
    let Refusal { kind, message, .. } = refusal;
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{}}}}}"#, quoted(message))
}

/// A refusal within a stream.
pub(crate) fn push_error(out: &mut String, refusal: &Refusal) {
    let message = quoted(&refusal.message);
    push(out, "error", &format!(r#"{{"type":"error","error":{{"type":"internal_error","message":{message}}}}}"#));
}

fn push(out: &mut String, name: &str, data: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}
