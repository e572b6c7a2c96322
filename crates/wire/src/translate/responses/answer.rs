//! Whole responses.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::{self, Usage};
use crate::translate::json::arguments;
use crate::translate::write::{self, Object};
use crate::translate::{ANTHROPIC_SEAL, ANTHROPIC_SEALED, Asked, BadAnswer, Failure, OPENAI_SEAL, Shape, is_foreign};
use crate::unified::{Answer, Content, Stop, Tokens};

/// A response, also as the last event of a stream holds it.
#[derive(Deserialize)]
pub(super) struct Body<'a> {
    pub(super) model: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    incomplete_details: Option<Incomplete>,
    pub(super) output: Option<Vec<Item>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) id: Option<String>,
    content: Option<Vec<Part>>,
    pub(super) call_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
    summary: Option<Vec<Part>>,
    encrypted_content: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    refusal: Option<String>,
}

impl Item {
    /// The seal of a reasoning, in the form in which other shapes carry it.
    pub(super) fn seal(&self) -> Option<String> {
        let sealed = self.encrypted_content.as_deref()?;
        Some(format!("{OPENAI_SEAL}{}:{sealed}", self.id.as_deref().unwrap_or_default()))
    }
}

impl Body<'_> {
    pub(super) fn failure(&self) -> Failure {
        Failure::of_openai(self.error.map_or(&b"{}"[..], |e| e.get().as_bytes()))
    }

    pub(super) fn failed(&self) -> bool {
        let error = self.error.is_some_and(|e| e.get() != "null");
        error || matches!(self.status.as_deref(), Some("failed" | "cancelled"))
    }

    /// Why it ended, given whether tools are called.
    pub(super) fn stop(&self, calls: bool) -> Stop {
        let reason = self.incomplete_details.as_ref().and_then(|d| d.reason.as_deref());
        match (self.status.as_deref(), reason) {
            (Some("incomplete"), Some("content_filter")) => Stop::Refused,
            (Some("incomplete"), _) => Stop::Length,
            _ if calls => Stop::ToolUse,
            _ => Stop::End,
        }
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.usage.as_ref().and_then(Usage::tokens)
    }
}

pub(crate) fn read(body: &[u8]) -> Result<Answer, BadAnswer> {
    let shape = || BadAnswer::Shape(Shape::Responses);
    let mut body: Body<'_> = serde_json::from_slice(body).map_err(|_| shape())?;
    if body.failed() {
        return Err(BadAnswer::Failed(body.failure()));
    }
    let items = body.output.take().ok_or_else(shape)?;
    let calls = items.iter().any(|item| item.kind.as_deref() == Some("function_call"));
    let stop = body.stop(calls);
    let mut content = Vec::new();
    for item in items {
        match item.kind.as_deref() {
            Some("message") => {
                for part in item.content.into_iter().flatten() {
                    match part.kind.as_deref() {
                        Some("refusal") => content.extend(part.refusal.map(Content::Refusal)),
                        _ => content.extend(part.text.map(Content::Text)),
                    }
                }
            }
            Some("reasoning") => {
                let signature = item.seal();
                let texts = |parts: Option<Vec<Part>>| {
                    parts.into_iter().flatten().filter_map(|p| p.text).collect::<Vec<_>>().join("\n\n")
                };
                let thoughts = texts(item.content);
                let text = if thoughts.is_empty() { texts(item.summary) } else { thoughts };
                if !text.is_empty() || signature.is_some() {
                    content.push(Content::Reasoning { text, signature });
                }
            }
            Some("function_call") => {
                let (id, name) = (item.call_id.ok_or_else(shape)?, item.name.ok_or_else(shape)?);
                match arguments(item.arguments.as_deref().unwrap_or_default()) {
                    Some(arguments) => content.push(Content::ToolCall { id, name, arguments }),
                    // Cut off by the limit of tokens: half a call must not be made.
                    None if stop == Stop::Length => {}
                    None => return Err(BadAnswer::Arguments),
                }
            }
            _ => return Err(shape()),
        }
    }
    let tokens = body.tokens();
    Ok(Answer { model: body.model, content, stop, tokens })
}

pub(crate) fn write(answer: &Answer, asked: &Asked, out: &mut Vec<u8>) {
    let mut output = Vec::new();
    write::list(&mut output, |l| {
        for (at, content) in answer.content.iter().enumerate() {
            item(content, &item_id(asked, content, at), "completed", l.item());
        }
    });
    let model = answer.model.as_deref().unwrap_or(&asked.model);
    let (status, reason) = status(&answer.stop);
    write::object(out, |o| {
        response(asked, model, status, reason, &String::from_utf8_lossy(&output), answer.tokens.as_ref(), o);
    });
}

/// The id of an item of the output.
pub(super) fn item_id(asked: &Asked, content: &Content, at: usize) -> String {
    let kind = match content {
        Content::ToolCall { .. } => "fc",
        Content::Reasoning { .. } | Content::Sealed(_) => "rs",
        _ => "msg",
    };
    format!("{kind}_{}_{at}", asked.id)
}

/// The status of a response that ended so, and why it is not complete.
pub(super) fn status(stop: &Stop) -> (&'static str, Option<&'static str>) {
    match stop {
        Stop::Length | Stop::Context => ("incomplete", Some("max_output_tokens")),
        Stop::Refused => ("incomplete", Some("content_filter")),
        Stop::End | Stop::Sequence(_) | Stop::ToolUse | Stop::Pause => ("completed", None),
    }
}

/// Writes the members of a response.
pub(super) fn response(
    asked: &Asked,
    model: &str,
    status: &str,
    reason: Option<&str>,
    output: &str,
    tokens: Option<&Tokens>,
    o: &mut Object<'_>,
) {
    o.text("id", &format!("resp_{}", asked.id));
    o.text("object", "response");
    o.plain("created_at", asked.created);
    o.text("status", status);
    o.plain("background", false);
    o.raw("error", "null");
    match reason {
        Some(reason) => o.object("incomplete_details", |o| o.text("reason", reason)),
        None => o.raw("incomplete_details", "null"),
    }
    o.text("model", model);
    o.raw("output", output);
    o.raw("previous_response_id", "null");
    o.plain("store", false);
    o.members(&asked.echo.members);
    usage::write(tokens, o);
}

/// Writes an item of the output.
pub(super) fn item(content: &Content, id: &str, status: &str, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.text("id", id);
        match content {
            Content::ToolCall { id, name, arguments } => {
                o.text("type", "function_call");
                o.text("status", status);
                o.text("call_id", id);
                o.text("name", name);
                o.text("arguments", &arguments.0);
            }
            Content::Reasoning { text, signature } => {
                o.text("type", "reasoning");
                o.list("summary", |l| {
                    if !text.is_empty() {
                        l.object(|o| {
                            o.text("type", "summary_text");
                            o.text("text", text);
                        });
                    }
                });
                o.text_if("encrypted_content", signature.as_deref().map(seal).as_deref());
            }
            Content::Sealed(data) => {
                o.text("type", "reasoning");
                o.raw("summary", "[]");
                o.text("encrypted_content", &format!("{ANTHROPIC_SEALED}{data}"));
            }
            said => {
                o.text("type", "message");
                o.text("status", status);
                o.text("role", "assistant");
                o.list("content", |l| {
                    if status != "in_progress" {
                        l.object(|o| part(said, o));
                    }
                });
            }
        }
    });
}

/// Anthropic's seal in the place of OpenAI's.
fn seal(signature: &str) -> String {
    if is_foreign(signature) { signature.to_owned() } else { format!("{ANTHROPIC_SEAL}{signature}") }
}

/// Writes the members of a part of a message.
pub(super) fn part(content: &Content, o: &mut Object<'_>) {
    if let Content::Refusal(text) = content {
        o.text("type", "refusal");
        o.text("refusal", text);
        return;
    }
    o.text("type", "output_text");
    o.text("text", if let Content::Text(text) = content { text } else { "" });
    o.raw("annotations", "[]");
    o.raw("logprobs", "[]");
}
