//! Writes a stream for a client of chat completions.

use super::answer::finish_reason;
use super::usage;
use crate::translate::Asked;
use crate::translate::told::Told;
use crate::translate::write::{self, Object};
use crate::unified::Event;

#[derive(Debug)]
pub(crate) struct Writer {
    /// The members that every chunk begins with, from its brace on.
    head: Vec<u8>,
    include_usage: bool,
    calls: u32,
}

impl Writer {
    pub(crate) fn new(asked: &Asked) -> Self {
        let mut head = Vec::with_capacity(128);
        write::object(&mut head, |o| {
            o.text("id", &format!("chatcmpl-{}", asked.id));
            o.text("object", "chat.completion.chunk");
            o.plain("created", asked.created);
        });
        head.pop();
        Self { head, include_usage: asked.echo.include_usage, calls: 0 }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, told: &Told, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => {
                self.head.extend_from_slice(b",\"model\":");
                write::text(&mut self.head, &told.model);
                self.delta(out, |o| {
                    o.text("role", "assistant");
                    o.text("content", "");
                });
            }
            Event::Text(text) => self.delta(out, |o| o.text("content", text)),
            Event::Refusal(text) => self.delta(out, |o| o.text("refusal", text)),
            Event::Reasoning(text) => self.delta(out, |o| o.text("reasoning_content", text)),
            Event::Signature(signature) => self.delta(out, |o| thought(o, "thinking", ("signature", signature))),
            Event::Sealed(data) => self.delta(out, |o| thought(o, "redacted_thinking", ("data", data))),
            Event::ToolCall { id, name } => {
                let index = self.calls;
                self.calls += 1;
                self.delta(out, |o| {
                    call(o, index, |o| {
                        o.text("id", id);
                        o.text("type", "function");
                        o.object("function", |o| {
                            o.text("name", name);
                            o.text("arguments", "");
                        });
                    });
                });
            }
            Event::Arguments(arguments) => {
                let index = self.calls.saturating_sub(1);
                self.delta(out, |o| {
                    call(o, index, |o| o.object("function", |o| o.text("arguments", arguments)));
                });
            }
            Event::Stop(_) | Event::Tokens(_) => {}
            Event::End => self.end(told, out),
        }
    }

    fn end(&self, told: &Told, out: &mut Vec<u8>) {
        let reason = finish_reason(&told.stop);
        self.chunk(out, |o| {
            o.list("choices", |l| {
                l.object(|o| {
                    o.plain("index", 0);
                    o.raw("delta", "{}");
                    o.raw("logprobs", "null");
                    o.text("finish_reason", reason);
                });
            });
            if self.include_usage {
                o.raw("usage", "null");
            }
        });
        if let Some(tokens) = told.tokens.as_ref().filter(|_| self.include_usage) {
            self.chunk(out, |o| {
                o.raw("choices", "[]");
                usage::write(tokens, o);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn delta(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        self.chunk(out, |o| {
            o.list("choices", |l| {
                l.object(|o| {
                    o.plain("index", 0);
                    o.object("delta", fill);
                    o.raw("logprobs", "null");
                    o.raw("finish_reason", "null");
                });
            });
            if self.include_usage {
                o.raw("usage", "null");
            }
        });
    }

    fn chunk(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&self.head);
        write::more(out, fill);
        out.extend_from_slice(b"\n\n");
    }
}

fn call(o: &mut Object<'_>, index: u32, fill: impl FnOnce(&mut Object<'_>)) {
    o.list("tool_calls", |l| {
        l.object(|o| {
            o.plain("index", index);
            fill(o);
        });
    });
}

/// The seal of the reasoning that came before, in the form that whole answers have it in.
fn thought(o: &mut Object<'_>, kind: &str, (key, value): (&str, &str)) {
    o.list("thinking_blocks", |l| {
        l.object(|o| {
            o.text("type", kind);
            if kind == "thinking" {
                o.text("thinking", "");
            }
            o.text(key, value);
        });
    });
}
