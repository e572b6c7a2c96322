//! Writes a request for a target of messages.

use super::sampling::{sampled, stops};
use super::thinking::{Thinking, thinking};
use super::turns::{Turn, says_something, system_blocks, turns};
use crate::translate::json::{Read, cannot};
use crate::translate::write::{self, List, Object};
use crate::translate::{Field, Way, is_anthropics};
use crate::unified::{Block, Content, Format, Keep, Request, Role, Source, Tool, ToolChoice};

pub(crate) fn write(request: &Request, way: &mut Way<'_>) -> Read<Vec<u8>> {
    refuse(request, way)?;
    let turns = turns(request);
    if turns.is_empty() {
        return Err(way.cannot(Field::Messages, "the target wants a message of the user beside the system's"));
    }
    let thinking = thinking(request, &turns, way);
    let sampled = sampled(request, thinking.as_ref(), way)?;
    stops(request, way)?;
    let limit = request.max_tokens.unwrap_or_else(|| limit(way, thinking.as_ref()));
    notes(request, way);
    let mut out = Vec::with_capacity(way.room);
    write::object(&mut out, |o| {
        o.text("model", way.target.model);
        o.plain("max_tokens", limit);
        system(request, o);
        o.list("messages", |l| turns.iter().for_each(|turn| l.object(|o| message(turn, o))));
        if !request.tools.is_empty() {
            o.list("tools", |l| request.tools.iter().for_each(|t| tool(t, l)));
            tool_choice(request, o);
        }
        o.plain_if("temperature", request.temperature.as_ref().filter(|_| sampled.0));
        o.plain_if("top_p", request.top_p.as_ref().filter(|_| sampled.1));
        o.plain_if("top_k", request.top_k);
        if !request.stop.is_empty() {
            o.list("stop_sequences", |l| request.stop.iter().for_each(|s| l.text(s)));
        }
        if let Some(thinking) = &thinking {
            thinking.write(o);
        }
        output_config(request, thinking.as_ref().and_then(Thinking::effort), o);
        if let Some(user) = &request.user {
            o.object("metadata", |o| o.text("user_id", user));
        }
        if request.stream {
            o.plain("stream", true);
        }
    });
    Ok(out)
}

fn refuse(request: &Request, way: &Way<'_>) -> Read<()> {
    let no = |there: bool, name, why| if there { Err(cannot(why).within(name)) } else { Ok(()) };
    let zero = |number: &Option<serde_json::Number>| number.as_ref().is_none_or(|n| n.as_f64() == Some(0.0));
    no(!zero(&request.frequency_penalty), "frequency_penalty", "the target has no penalties")?;
    no(!zero(&request.presence_penalty), "presence_penalty", "the target has no penalties")?;
    no(request.seed.is_some(), "seed", "the target cannot be seeded")?;
    no(request.service_tier.is_some(), "service_tier", "the target does not have this tier")?;
    let hot = request.temperature.as_ref().and_then(serde_json::Number::as_f64).is_some_and(|t| t > 1.0);
    no(hot, "temperature", "the target takes 0 to 1")?;
    if request.format == Some(Format::Object) {
        return Err(way.cannot(Field::Format, "the target needs a schema: use json_schema"));
    }
    let documents = request.messages.iter().flat_map(|m| &m.content).all(|b| match &b.content {
        Content::Document { source: Source::Inline { media_type, .. }, .. } => media_type == "application/pdf",
        _ => true,
    });
    if !documents {
        return Err(way.cannot(Field::Messages, "the target reads documents as application/pdf only"));
    }
    Ok(())
}

fn notes(request: &Request, way: &mut Way<'_>) {
    way.give_up("verbosity", request.verbosity.is_some());
    way.give_up("prompt_cache_key", request.cache_key.is_some());
    way.give_up("metadata", request.metadata.is_some());
    let blocks = || request.messages.iter().flat_map(|m| &m.content);
    way.give_up("detail", blocks().any(|b| matches!(b.content, Content::Image { detail: Some(_), .. })));
    let unsealed = |b: &Block| match &b.content {
        Content::Reasoning { signature, .. } => !signature.as_deref().is_some_and(is_anthropics),
        Content::Sealed(data) => !is_anthropics(data),
        _ => false,
    };
    way.give_up("reasoning_content", blocks().any(unsealed));
}

/// The limit of completion tokens for a request that names none: thinking is a part of it.
pub(crate) fn limit(way: &Way<'_>, thinking: Option<&Thinking>) -> u64 {
    u64::from(way.target.max_tokens).saturating_add(thinking.map_or(0, Thinking::budget))
}

fn system(request: &Request, o: &mut Object<'_>) {
    match system_blocks(request).as_slice() {
        [] => {}
        [Block { content: Content::Text(text), cache: None }] => o.text("system", text),
        blocks => o.list("system", |l| blocks.iter().for_each(|b| l.object(|o| block(b, o)))),
    }
}

fn message(turn: &Turn<'_>, o: &mut Object<'_>) {
    o.text("role", if turn.role == Role::Assistant { "assistant" } else { "user" });
    match turn.blocks.as_slice() {
        [Block { content: Content::Text(text), cache: None }] => o.text("content", text),
        blocks => o.list("content", |l| blocks.iter().for_each(|b| l.object(|o| block(b, o)))),
    }
}

fn block(block: &Block, o: &mut Object<'_>) {
    content(&block.content, o);
    cache_control(block.cache, o);
}

fn cache_control(cache: Option<Keep>, o: &mut Object<'_>) {
    match cache {
        None => {}
        Some(Keep::Minutes) => o.raw("cache_control", r#"{"type":"ephemeral"}"#),
        Some(Keep::Hour) => o.raw("cache_control", r#"{"type":"ephemeral","ttl":"1h"}"#),
    }
}

fn content(content: &Content, o: &mut Object<'_>) {
    match content {
        // A refusal of an earlier turn is what the assistant said.
        Content::Text(text) | Content::Refusal(text) => {
            o.text("type", "text");
            o.text("text", text);
        }
        Content::Image { source, .. } => {
            o.text("type", "image");
            self::source(source, o);
        }
        Content::Document { source, name } => {
            o.text("type", "document");
            self::source(source, o);
            o.text_if("title", name.as_deref());
        }
        Content::ToolCall { id, name, arguments } => {
            o.text("type", "tool_use");
            o.text("id", &plain_id(id));
            o.text("name", name);
            o.raw("input", &arguments.0);
        }
        Content::ToolResult { id, content: parts, failed } => {
            o.text("type", "tool_result");
            o.text("tool_use_id", &plain_id(id));
            match parts.as_slice() {
                [] => {}
                [Content::Text(text)] => o.text("content", text),
                parts => o.list("content", |l| {
                    parts.iter().filter(|p| says_something(p)).for_each(|p| l.object(|o| self::content(p, o)));
                }),
            }
            if *failed {
                o.plain("is_error", true);
            }
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
    }
}

fn source(source: &Source, o: &mut Object<'_>) {
    o.object("source", |o| match source {
        Source::Url(url) => {
            o.text("type", "url");
            o.text("url", url);
        }
        Source::Inline { media_type, base64 } => {
            o.text("type", "base64");
            o.text("media_type", media_type);
            o.text("data", base64);
        }
    });
}

/// An id of a call in the letters that Anthropic takes. Equal ids stay equal.
pub(crate) fn plain_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

fn tool(tool: &Tool, l: &mut List<'_>) {
    l.object(|o| {
        o.text("name", &tool.name);
        o.text_if("description", tool.description.as_deref());
        o.raw("input_schema", tool.schema.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |s| &s.0));
        o.plain_if("strict", tool.strict.filter(|strict| *strict));
        cache_control(tool.cache, o);
    });
}

fn tool_choice(request: &Request, o: &mut Object<'_>) {
    let alone = request.parallel_tools == Some(false);
    if request.tool_choice.is_none() && !alone {
        return;
    }
    o.object("tool_choice", |o| {
        match request.tool_choice.as_ref().unwrap_or(&ToolChoice::Auto) {
            ToolChoice::Auto => o.text("type", "auto"),
            ToolChoice::None => return o.text("type", "none"),
            ToolChoice::Any => o.text("type", "any"),
            ToolChoice::Named(name) => {
                o.text("type", "tool");
                o.text("name", name);
            }
        }
        if alone {
            o.plain("disable_parallel_tool_use", true);
        }
    });
}

fn output_config(request: &Request, effort: Option<&str>, o: &mut Object<'_>) {
    let schema = match &request.format {
        Some(Format::Schema { schema, .. }) => Some(schema),
        _ => None,
    };
    if schema.is_none() && effort.is_none() {
        return;
    }
    o.object("output_config", |o| {
        o.text_if("effort", effort);
        if let Some(schema) = schema {
            o.object("format", |o| {
                o.text("type", "json_schema");
                o.raw("schema", &schema.0);
            });
        }
    });
}
