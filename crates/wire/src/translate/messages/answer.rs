//! Whole answers of messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::{self, Usage};
use crate::translate::json::json;
use crate::translate::write::{self, Object};
use crate::translate::{Asked, BadAnswer, Failure, Shape};
use crate::unified::{Answer, Content, Stop};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// What a stop reason means.
pub(super) fn stop(reason: &str, sequence: Option<String>) -> Stop {
    match reason {
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Context,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::ToolUse,
        "refusal" => Stop::Refused,
        "pause_turn" => Stop::Pause,
        _ => Stop::End,
    }
}

/// Writes the members `stop_reason` and `stop_sequence`.
pub(super) fn write_stop(stop: &Stop, o: &mut Object<'_>) {
    let (reason, sequence) = match stop {
        Stop::End => ("end_turn", None),
        Stop::Sequence(sequence) => ("stop_sequence", sequence.as_deref()),
        Stop::Length => ("max_tokens", None),
        Stop::Context => ("model_context_window_exceeded", None),
        Stop::ToolUse => ("tool_use", None),
        Stop::Refused => ("refusal", None),
        Stop::Pause => ("pause_turn", None),
    };
    o.text("stop_reason", reason);
    o.text_or_null("stop_sequence", sequence);
}

pub(crate) fn read(body: &[u8]) -> Result<Answer, BadAnswer> {
    let shape = || BadAnswer::Shape(Shape::Messages);
    let raw = body;
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| shape())?;
    if body.kind.as_deref() == Some("error") {
        return Err(BadAnswer::Failed(Failure::of_messages(raw)));
    }
    let mut content = Vec::new();
    for block in body.content.ok_or_else(shape)? {
        content.push(match block.kind.as_deref() {
            Some("text") => Content::Text(block.text.ok_or_else(shape)?),
            Some("thinking") => Content::Reasoning {
                text: block.thinking.ok_or_else(shape)?,
                signature: block.signature.filter(|s| !s.is_empty()),
            },
            Some("redacted_thinking") => Content::Sealed(block.data.ok_or_else(shape)?),
            Some("tool_use") => Content::ToolCall {
                id: block.id.ok_or_else(shape)?,
                name: block.name.ok_or_else(shape)?,
                arguments: json(block.input.filter(|i| i.get().starts_with('{')).ok_or(BadAnswer::Arguments)?),
            },
            // Tools that the provider runs itself were refused on the way there.
            _ => return Err(shape()),
        });
    }
    let stop = stop(body.stop_reason.as_deref().ok_or_else(shape)?, body.stop_sequence);
    Ok(Answer { model: body.model, content, stop, tokens: body.usage.and_then(|u| u.tokens()) })
}

pub(crate) fn write(answer: &Answer, asked: &Asked, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.text("id", &format!("msg_{}", asked.id));
        o.text("type", "message");
        o.text("role", "assistant");
        o.text("model", answer.model.as_deref().unwrap_or(&asked.model));
        o.list("content", |l| answer.content.iter().for_each(|c| l.object(|o| content(c, o))));
        write_stop(&answer.stop, o);
        usage::write(answer.tokens.as_ref(), o);
    });
}

fn content(content: &Content, o: &mut Object<'_>) {
    match content {
        Content::Text(text) | Content::Refusal(text) => {
            o.text("type", "text");
            o.text("text", text);
        }
        Content::Reasoning { text, signature } => {
            o.text("type", "thinking");
            o.text("thinking", text);
            o.text("signature", signature.as_deref().unwrap_or_default());
        }
        Content::Sealed(data) => {
            o.text("type", "redacted_thinking");
            o.text("data", data);
        }
        Content::ToolCall { id, name, arguments } => {
            o.text("type", "tool_use");
            o.text("id", id);
            o.text("name", name);
            o.raw("input", &arguments.0);
        }
        // Models do not answer with these.
        Content::Image { .. } | Content::Document { .. } | Content::ToolResult { .. } => o.text("type", "text"),
    }
}
