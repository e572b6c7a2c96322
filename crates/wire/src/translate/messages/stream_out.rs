//! Writes a stream for a client of messages.

use super::{answer, usage};
use crate::translate::Asked;
use crate::translate::told::Told;
use crate::translate::write::{self, Object};
use crate::unified::Event;

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// Thoughts that are sealed: further ones are another block.
    Sealed,
    Tool,
}

#[derive(Debug)]
pub(crate) struct Writer {
    id: String,
    open: Option<Open>,
    /// The open block's index, or the next one's.
    index: u32,
}

impl Writer {
    pub(crate) fn new(asked: &Asked) -> Self {
        Self { id: format!("msg_{}", asked.id), open: None, index: 0 }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, told: &Told, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => self.start(told, out),
            Event::Text(text) | Event::Refusal(text) => {
                self.within(Open::Text, out, |o| {
                    o.text("type", "text");
                    o.text("text", "");
                });
                self.delta(out, "text_delta", "text", text);
            }
            Event::Reasoning(text) => {
                self.within(Open::Thinking, out, empty_thinking);
                self.delta(out, "thinking_delta", "thinking", text);
            }
            Event::Signature(signature) => {
                self.within(Open::Thinking, out, empty_thinking);
                self.delta(out, "signature_delta", "signature", signature);
                self.open = Some(Open::Sealed);
            }
            Event::Sealed(data) => {
                self.open(Open::Sealed, out, |o| {
                    o.text("type", "redacted_thinking");
                    o.text("data", data);
                });
            }
            Event::ToolCall { id, name } => {
                self.open(Open::Tool, out, |o| {
                    o.text("type", "tool_use");
                    o.text("id", id);
                    o.text("name", name);
                    o.raw("input", "{}");
                });
            }
            Event::Arguments(arguments) => self.delta(out, "input_json_delta", "partial_json", arguments),
            Event::Stop(_) | Event::Tokens(_) => {}
            Event::End => self.end(told, out),
        }
    }

    fn start(&self, told: &Told, out: &mut Vec<u8>) {
        event(out, "message_start", |o| {
            o.object("message", |o| {
                o.text("id", &self.id);
                o.text("type", "message");
                o.text("role", "assistant");
                o.text("model", &told.model);
                o.raw("content", "[]");
                o.raw("stop_reason", "null");
                o.raw("stop_sequence", "null");
                usage::write(told.tokens.as_ref(), o);
            });
        });
    }

    fn end(&mut self, told: &Told, out: &mut Vec<u8>) {
        self.close(out);
        event(out, "message_delta", |o| {
            o.object("delta", |o| answer::write_stop(&told.stop, o));
            usage::write(told.tokens.as_ref(), o);
        });
        event(out, "message_stop", |_| {});
    }

    /// Makes sure that a block of this kind is open.
    fn within(&mut self, kind: Open, out: &mut Vec<u8>, block: impl FnOnce(&mut Object<'_>)) {
        if self.open != Some(kind) {
            self.open(kind, out, block);
        }
    }

    fn open(&mut self, kind: Open, out: &mut Vec<u8>, block: impl FnOnce(&mut Object<'_>)) {
        self.close(out);
        self.open = Some(kind);
        event(out, "content_block_start", |o| {
            o.plain("index", self.index);
            o.object("content_block", block);
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            event(out, "content_block_stop", |o| o.plain("index", self.index));
            self.index += 1;
        }
    }

    fn delta(&self, out: &mut Vec<u8>, kind: &str, key: &str, value: &str) {
        event(out, "content_block_delta", |o| {
            o.plain("index", self.index);
            o.object("delta", |o| {
                o.text("type", kind);
                o.text(key, value);
            });
        });
    }
}

fn empty_thinking(o: &mut Object<'_>) {
    o.text("type", "thinking");
    o.text("thinking", "");
    o.text("signature", "");
}

/// Writes an event of this type.
fn event(out: &mut Vec<u8>, kind: &str, fill: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    write::object(out, |o| {
        o.text("type", kind);
        fill(o);
    });
    out.extend_from_slice(b"\n\n");
}
