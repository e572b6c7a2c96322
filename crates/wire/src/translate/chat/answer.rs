//! Whole answers of chat completions.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::request_out::call;
use super::said::{Piece, Said};
use super::usage::{self, Usage};
use crate::translate::json::arguments;
use crate::translate::write::{self, Object};
use crate::translate::{Asked, BadAnswer, EXTRA_SEAL, Failure, PLAIN_SEAL, Shape};
use crate::unified::{Answer, Content, Stop};

#[derive(Deserialize)]
struct Body<'a> {
    model: Option<String>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    finish_reason: Option<String>,
    stop_reason: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Said<'a>>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    id: Option<String>,
    function: Option<Function>,
    extra_content: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

/// What a finish reason means; `None` for that of an engine that gave the request up. vLLM says in `stop_reason` which
/// sequence ended the text.
pub(super) fn stop(reason: &str, sequence: Option<&serde_json::Value>) -> Option<Stop> {
    Some(match reason {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::ToolUse,
        "content_filter" => Stop::Refused,
        "abort" | "error" => return None,
        _ => match sequence.and_then(serde_json::Value::as_str) {
            Some(sequence) => Stop::Sequence(Some(sequence.to_owned())),
            None => Stop::End,
        },
    })
}

/// The finish reason of a stop.
pub(super) fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Pause => "stop",
        Stop::Length | Stop::Context => "length",
        Stop::ToolUse => "tool_calls",
        Stop::Refused => "content_filter",
    }
}

/// What is to come back with a call, in the place of a seal.
pub(super) fn extra_seal(extra: Option<&RawValue>) -> Option<String> {
    let json = extra?.get();
    (json.starts_with('{') && json != "{}").then(|| format!("{EXTRA_SEAL}{json}"))
}

/// An id for a call whose server gives none: clients need one, and no two calls of a conversation may share theirs.
pub(super) fn made_id(request_id: &str, at: usize) -> String {
    format!("call_{request_id}_{at}")
}

pub(crate) fn read(body: &[u8], request_id: &str) -> Result<Answer, BadAnswer> {
    let shape = || BadAnswer::Shape(Shape::Chat);
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| shape())?;
    if let Some(error) = body.error.filter(|e| e.get() != "null") {
        return Err(BadAnswer::Failed(Failure::of_openai(error.get().as_bytes())));
    }
    let choice = body.choices.and_then(|choices| choices.into_iter().next()).ok_or_else(shape)?;
    let message = choice.message.ok_or_else(shape)?;
    let reason = choice.finish_reason.as_deref().unwrap_or("stop");
    let mut stop = stop(reason, choice.stop_reason.as_ref()).ok_or_else(|| BadAnswer::Failed(Failure::gave_up()))?;
    let mut content = Vec::new();
    let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
    if let Some(text) = filled(message.reasoning_content) {
        content.push(Content::Reasoning { text, signature: Some(PLAIN_SEAL.to_owned()) });
    } else if let Some(text) = filled(message.reasoning) {
        content.push(Content::Reasoning { text, signature: None });
    }
    if let Some(said) = message.content {
        said.each(|piece| {
            content.push(match piece {
                Piece::Thought(text) => Content::Reasoning { text: text.into_owned(), signature: None },
                Piece::Text(text) => Content::Text(text.into_owned()),
            });
            Ok::<(), BadAnswer>(())
        })?;
    }
    content.extend(filled(message.refusal).map(Content::Refusal));
    for (at, tool_call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
        let function = tool_call.function.ok_or_else(shape)?;
        let name = function.name.ok_or_else(shape)?;
        match arguments(function.arguments.as_deref().unwrap_or_default()) {
            Some(arguments) => {
                if let Some(seal) = extra_seal(tool_call.extra_content.as_deref()) {
                    content.push(Content::Reasoning { text: String::new(), signature: Some(seal) });
                }
                let id = filled(tool_call.id).unwrap_or_else(|| made_id(request_id, at));
                content.push(Content::ToolCall { id, name, arguments });
            }
            // Cut off by the limit of tokens: half a call must not be made.
            None if stop == Stop::Length => {}
            None => return Err(BadAnswer::Arguments),
        }
    }
    // Some servers say `stop` where they call a tool.
    if stop == Stop::End && content.iter().any(|c| matches!(c, Content::ToolCall { .. })) {
        stop = Stop::ToolUse;
    }
    Ok(Answer { model: body.model, content, stop, tokens: body.usage.and_then(|u| u.tokens()) })
}

pub(crate) fn write(answer: &Answer, asked: &Asked, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.text("id", &format!("chatcmpl-{}", asked.id));
        o.text("object", "chat.completion");
        o.plain("created", asked.created);
        o.text("model", answer.model.as_deref().unwrap_or(&asked.model));
        o.list("choices", |l| {
            l.object(|o| {
                o.plain("index", 0);
                o.object("message", |o| message(&answer.content, o));
                o.raw("logprobs", "null");
                o.text("finish_reason", finish_reason(&answer.stop));
            });
        });
        match &answer.tokens {
            Some(tokens) => usage::write(tokens, o),
            None => o.raw("usage", "null"),
        }
    });
}

fn message(content: &[Content], o: &mut Object<'_>) {
    let joined = |pick: fn(&Content) -> Option<&str>| {
        let texts: Vec<&str> = content.iter().filter_map(pick).collect();
        (!texts.is_empty()).then(|| texts.concat())
    };
    o.text("role", "assistant");
    let text = joined(|c| if let Content::Text(text) = c { Some(text) } else { None });
    o.text_or_null("content", text.as_deref());
    let refusal = joined(|c| if let Content::Refusal(text) = c { Some(text) } else { None });
    o.text_or_null("refusal", refusal.as_deref());
    let thoughts = joined(|c| if let Content::Reasoning { text, .. } = c { Some(text) } else { None });
    o.text_if("reasoning_content", thoughts.as_deref());
    let sealed = |c: &Content| matches!(c, Content::Reasoning { signature: Some(_), .. } | Content::Sealed(_));
    if content.iter().any(sealed) {
        o.list("thinking_blocks", |l| content.iter().for_each(|c| thought(c, l)));
    }
    if content.iter().any(|c| matches!(c, Content::ToolCall { .. })) {
        o.list("tool_calls", |l| {
            for part in content {
                if let Content::ToolCall { id, name, arguments } = part {
                    l.object(|o| call(id, name, &arguments.0, o));
                }
            }
        });
    }
}

/// A block of reasoning with its seal. OpenAI's API has no place for it, and Anthropic's wants it back in the next turn;
/// under this name other gateways' clients know it.
fn thought(content: &Content, l: &mut write::List<'_>) {
    match content {
        Content::Reasoning { text, signature } => l.object(|o| {
            o.text("type", "thinking");
            o.text("thinking", text);
            o.text("signature", signature.as_deref().unwrap_or_default());
        }),
        Content::Sealed(data) => l.object(|o| {
            o.text("type", "redacted_thinking");
            o.text("data", data);
        }),
        _ => {}
    }
}
