//! Writes a stream for a client of responses.
//!
//! This shape repeats each item when it is done, and all of them at the end. So what was said is kept here until the end,
//! bounded; no other shape needs that.

use super::answer::{item, item_id, part, response, status};
use crate::openai::ErrorBody;
use crate::translate::Asked;
use crate::translate::events::MOST_OF_AN_ANSWER;
use crate::translate::told::{Problem, Told};
use crate::translate::write::{self, Object};
use crate::unified::{Content, Event, Json};

#[derive(Debug)]
pub(crate) struct Writer {
    asked: Asked,
    /// The number of the next event.
    sequence: u32,
    /// The item that is open, with what it holds so far.
    open: Option<Open>,
    /// The items that are done, as JSON.
    output: Vec<String>,
    /// Bytes kept in all.
    kept: usize,
}

#[derive(Debug)]
struct Open {
    content: Content,
    id: String,
}

impl Writer {
    pub(crate) fn new(asked: &Asked) -> Self {
        Self { asked: asked.clone(), sequence: 0, open: None, output: Vec::new(), kept: 0 }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, told: &Told, out: &mut Vec<u8>) -> Result<(), Problem> {
        match event {
            Event::Start { .. } => {
                self.status("response.created", told, out);
                self.status("response.in_progress", told, out);
            }
            Event::Text(text) => self.piece(Content::Text(String::new()), text, out)?,
            Event::Refusal(text) => self.piece(Content::Refusal(String::new()), text, out)?,
            Event::Reasoning(text) => {
                let sealed = matches!(&self.open, Some(Open { content: Content::Reasoning { signature, .. }, .. })
                    if signature.is_some());
                if sealed {
                    self.close(out);
                }
                self.piece(Content::Reasoning { text: String::new(), signature: None }, text, out)?;
            }
            Event::Signature(seal) => {
                if !matches!(&self.open, Some(Open { content: Content::Reasoning { signature: None, .. }, .. })) {
                    self.open(Content::Reasoning { text: String::new(), signature: None }, out);
                }
                if let Some(Open { content: Content::Reasoning { signature, .. }, .. }) = &mut self.open {
                    *signature = Some(seal.to_string());
                }
                self.keep(seal.len())?;
            }
            Event::Sealed(data) => {
                self.keep(data.len())?;
                self.open(Content::Sealed(data.to_string()), out);
            }
            Event::ToolCall { id, name } => {
                let arguments = Json(String::new());
                self.open(Content::ToolCall { id: id.to_string(), name: name.to_string(), arguments }, out);
            }
            Event::Arguments(text) => self.append(text, out)?,
            Event::Stop(_) | Event::Tokens(_) => {}
            Event::End => self.end(told, out),
        }
        Ok(())
    }

    pub(crate) fn error(&mut self, error: &ErrorBody<'_>, out: &mut Vec<u8>) {
        self.write("error", out, |o| {
            o.text_or_null("code", error.code);
            o.text("message", error.message);
            o.text_or_null("param", error.param);
        });
    }

    /// A piece of what an item of this kind holds, in the open one if it is of the kind.
    fn piece(&mut self, empty: Content, text: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
        let kind = std::mem::discriminant(&empty);
        if self.open.as_ref().map(|open| std::mem::discriminant(&open.content)) != Some(kind) {
            self.open(empty, out);
        }
        self.append(text, out)
    }

    fn append(&mut self, piece: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
        self.keep(piece.len())?;
        let Some(open) = &mut self.open else { return Ok(()) };
        let first = match &open.content {
            Content::Reasoning { text, .. } => text.is_empty(),
            _ => false,
        };
        let (kind, place) = match &mut open.content {
            Content::Text(text) => ("response.output_text.delta", text),
            Content::Refusal(text) => ("response.refusal.delta", text),
            Content::Reasoning { text, .. } => ("response.reasoning_summary_text.delta", text),
            Content::ToolCall { arguments, .. } => ("response.function_call_arguments.delta", &mut arguments.0),
            _ => return Ok(()),
        };
        place.push_str(piece);
        if first {
            self.at("response.reasoning_summary_part.added", out, |o, _| {
                o.raw("part", r#"{"type":"summary_text","text":""}"#);
            });
        }
        self.at(kind, out, |o, content| {
            o.text("delta", piece);
            if matches!(content, Content::Text(_)) {
                o.raw("logprobs", "[]");
            }
        });
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Result<(), Problem> {
        self.kept += bytes;
        if self.kept > MOST_OF_AN_ANSWER { Err(Problem::TooLong) } else { Ok(()) }
    }

    fn open(&mut self, content: Content, out: &mut Vec<u8>) {
        self.close(out);
        let id = item_id(&self.asked, &content, self.output.len());
        let mut body = Vec::new();
        item(&content, &id, "in_progress", &mut body);
        let index = self.output.len();
        self.write("response.output_item.added", out, |o| {
            o.plain("output_index", index);
            o.raw("item", &String::from_utf8_lossy(&body));
        });
        let message = matches!(content, Content::Text(_) | Content::Refusal(_));
        self.open = Some(Open { content, id });
        if message {
            self.at("response.content_part.added", out, |o, content| o.object("part", |o| part(content, o)));
        }
    }

    /// Repeats the open item, whole.
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(open) = &self.open else { return };
        match &open.content {
            Content::Text(_) | Content::Refusal(_) => {
                let refusal = matches!(open.content, Content::Refusal(_));
                let kind = if refusal { "response.refusal.done" } else { "response.output_text.done" };
                self.at(kind, out, |o, content| match content {
                    Content::Refusal(text) => o.text("refusal", text),
                    Content::Text(text) => {
                        o.text("text", text);
                        o.raw("logprobs", "[]");
                    }
                    _ => {}
                });
                self.at("response.content_part.done", out, |o, content| o.object("part", |o| part(content, o)));
            }
            Content::Reasoning { text, .. } if !text.is_empty() => {
                self.at("response.reasoning_summary_text.done", out, |o, content| {
                    o.text("text", thoughts(content));
                });
                self.at("response.reasoning_summary_part.done", out, |o, content| {
                    o.object("part", |o| {
                        o.text("type", "summary_text");
                        o.text("text", thoughts(content));
                    });
                });
            }
            Content::ToolCall { .. } => {
                self.at("response.function_call_arguments.done", out, |o, content| {
                    if let Content::ToolCall { name, arguments, .. } = content {
                        o.text("name", name);
                        o.text("arguments", &arguments.0);
                    }
                });
            }
            _ => {}
        }
        let Some(open) = self.open.take() else { return };
        let mut body = Vec::new();
        item(&open.content, &open.id, "completed", &mut body);
        let body = String::from_utf8_lossy(&body).into_owned();
        let index = self.output.len();
        self.write("response.output_item.done", out, |o| {
            o.plain("output_index", index);
            o.raw("item", &body);
        });
        self.output.push(body);
    }

    fn end(&mut self, told: &Told, out: &mut Vec<u8>) {
        self.close(out);
        let (status, reason) = status(&told.stop);
        let output = format!("[{}]", self.output.join(","));
        let asked = self.asked.clone();
        self.write(if reason.is_some() { "response.incomplete" } else { "response.completed" }, out, |o| {
            o.object("response", |o| {
                response(&asked, &told.model, status, reason, &output, told.tokens.as_ref(), o);
            });
        });
    }

    fn status(&mut self, kind: &str, told: &Told, out: &mut Vec<u8>) {
        let asked = self.asked.clone();
        self.write(kind, out, |o| {
            o.object("response", |o| response(&asked, &told.model, "in_progress", None, "[]", None, o));
        });
    }

    /// Writes an event about the open item.
    fn at(&mut self, kind: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>, &Content)) {
        let Some(open) = self.open.take() else { return };
        let index = self.output.len();
        self.write(kind, out, |o| {
            o.text("item_id", &open.id);
            o.plain("output_index", index);
            match open.content {
                Content::Text(_) | Content::Refusal(_) => o.plain("content_index", 0),
                Content::Reasoning { .. } => o.plain("summary_index", 0),
                _ => {}
            }
            fill(o, &open.content);
        });
        self.open = Some(open);
    }

    fn write(&mut self, kind: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        write::object(out, |o| {
            o.text("type", kind);
            o.plain("sequence_number", self.sequence);
            fill(o);
        });
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }
}

fn thoughts(content: &Content) -> &str {
    if let Content::Reasoning { text, .. } = content { text } else { "" }
}
