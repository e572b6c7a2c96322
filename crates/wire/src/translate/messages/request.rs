//! Reads a request of a client of messages.

use serde_json::value::RawValue;

use crate::translate::chat::request::keep;
use crate::translate::json::{Object, Read, cannot, invalid, is_text, json, list, text};
use crate::translate::{Way, data_url};
use crate::unified::{Block, Content, Format, Message, Reasoning, Request, Role, Source, Tool, ToolChoice};

pub(crate) fn read(body: &[u8], way: &mut Way<'_>) -> Read<Request> {
    let mut o = Object::parse(body)?;
    o.take("model")?;
    let mut messages = Vec::new();
    if let Some(content) = o.with("system", |raw| blocks(raw, way))? {
        messages.push(Message { role: Role::System, content });
    }
    messages.extend(o.need("messages", |raw| list(raw, |item| message(item, way)))?);
    let (tool_choice, parallel_tools) = o.with("tool_choice", tool_choice)?.unwrap_or_default();
    let (effort, format) = o.with("output_config", output_config)?.unwrap_or_default();
    let max_tokens = o.count("max_tokens")?;
    if max_tokens.is_none() {
        return Err(invalid("the field is missing").within("max_tokens"));
    }
    let request = Request {
        messages,
        tools: o.with("tools", |raw| list(raw, |item| tool(item, way)))?.unwrap_or_default(),
        tool_choice,
        parallel_tools,
        format,
        max_tokens,
        temperature: o.number("temperature")?,
        top_p: o.number("top_p")?,
        top_k: o.count("top_k")?,
        stop: o.with("stop_sequences", |raw| list(raw, text))?.unwrap_or_default(),
        reasoning: o.with("thinking", |raw| thinking(raw, effort.clone()))?.or_else(|| effort.map(Reasoning::Effort)),
        service_tier: o.with("service_tier", service_tier)?.flatten(),
        user: o.with("metadata", user)?.flatten(),
        stream: o.flag("stream")?.unwrap_or_default(),
        // This shape always tells.
        include_usage: true,
        ..Request::default()
    };
    o.only("thread", &[], "the target keeps no conversations: send the whole of it, without `thread`")?;
    o.only("speed", &[r#""standard""#], "the target has one speed")?;
    o.only("mcp_servers", &["[]"], "the target does not call MCP servers itself")?;
    // These only save tokens, or tell why none were saved.
    o.give_up(&["cache_control", "context_management", "diagnostics"], &mut way.given_up)?;
    o.end()?;
    Ok(request)
}

fn message(raw: &RawValue, way: &mut Way<'_>) -> Read<Message> {
    let mut o = Object::read(raw)?;
    let role = match o.need("role", text)?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(invalid("expected user or assistant").within("role")),
    };
    let content = o.need("content", |raw| blocks(raw, way))?;
    o.end()?;
    Ok(Message { role, content })
}

/// A text, or a list of blocks.
fn blocks(raw: &RawValue, way: &mut Way<'_>) -> Read<Vec<Block>> {
    if is_text(raw) { Ok(vec![Content::Text(text(raw)?).into()]) } else { list(raw, |item| block(item, way)) }
}

/// What a tool gave: a text, or a list of blocks, none of which is a call or a result again.
fn results(raw: &RawValue, way: &mut Way<'_>) -> Read<Vec<Content>> {
    if is_text(raw) {
        return Ok(vec![Content::Text(text(raw)?)]);
    }
    list(raw, |raw| {
        let kind = Object::read(raw)?.need("type", text)?;
        match kind.as_str() {
            "text" | "image" | "document" => Ok(block(raw, way)?.content),
            _ => Err(cannot("the target does not know such a block here").within("type")),
        }
    })
}

fn block(raw: &RawValue, way: &mut Way<'_>) -> Read<Block> {
    let mut o = Object::read(raw)?;
    let cache = o.with("cache_control", keep)?;
    let kind = o.need("type", text)?;
    let content = match kind.as_str() {
        "text" => {
            o.give_up(&["citations"], &mut way.given_up)?;
            Content::Text(o.need("text", text)?)
        }
        "image" => Content::Image { source: o.need("source", source)?, detail: None },
        "document" => {
            o.give_up(&["citations", "context"], &mut way.given_up)?;
            let name = o.text("title")?;
            o.need("source", |raw| document(raw, name))?
        }
        "tool_use" => {
            // Who called, where it is not the model itself, is of no use to a model that cannot call so.
            o.give_up(&["caller"], &mut way.given_up)?;
            let (id, name) = (o.need("id", text)?, o.need("name", text)?);
            let arguments = o.need("input", |raw| {
                if raw.get().starts_with('{') { Ok(json(raw)) } else { Err(invalid("expected an object")) }
            })?;
            Content::ToolCall { id, name, arguments }
        }
        "tool_result" => Content::ToolResult {
            id: o.need("tool_use_id", text)?,
            content: o.with("content", |raw| results(raw, way))?.unwrap_or_default(),
            failed: o.flag("is_error")?.unwrap_or_default(),
        },
        "thinking" => Content::Reasoning {
            text: o.need("thinking", text)?,
            signature: o.text("signature")?.filter(|s| !s.is_empty()),
        },
        "redacted_thinking" => Content::Sealed(o.need("data", text)?),
        _ => return Err(cannot("the target does not know such a block").within("type")),
    };
    o.end()?;
    Ok(Block { content, cache })
}

/// A document. What is text already needs no file around it, which not every target could read.
fn document(raw: &RawValue, name: Option<String>) -> Read<Content> {
    let mut o = Object::read(raw)?;
    let said = match o.need("type", text)?.as_str() {
        "text" => {
            o.only("media_type", &[r#""text/plain""#], "only plain text is text")?;
            o.need("data", text)?
        }
        "content" => o.need("content", |raw| {
            let part = |raw| {
                let mut o = Object::read(raw)?;
                o.only("type", &[r#""text""#], "the target takes only text in such a document")?;
                o.take("cache_control")?;
                o.need("text", text)
            };
            if is_text(raw) { text(raw) } else { Ok(list(raw, part)?.join("\n\n")) }
        })?,
        _ => return Ok(Content::Document { source: source(raw)?, name }),
    };
    o.end()?;
    Ok(Content::Text(name.into_iter().chain([said]).collect::<Vec<_>>().join("\n\n")))
}

fn source(raw: &RawValue) -> Read<Source> {
    let mut o = Object::read(raw)?;
    let kind = o.need("type", text)?;
    let source = match kind.as_str() {
        "base64" => Source::Inline { media_type: o.need("media_type", text)?, base64: o.need("data", text)? },
        "url" => o.need("url", |raw| match data_url::read(text(raw)?)? {
            url @ Source::Url(_) => Ok(url),
            Source::Inline { .. } => Err(invalid("expected an http or https URL")),
        })?,
        "file" => {
            return Err(cannot("a file that lies with another provider cannot be read: send its bytes").within("type"));
        }
        _ => return Err(cannot("only base64 and url are translated").within("type")),
    };
    o.end()?;
    Ok(source)
}

fn tool(raw: &RawValue, way: &mut Way<'_>) -> Read<Tool> {
    let mut o = Object::read(raw)?;
    o.only("type", &[r#""custom""#], "a tool that Anthropic runs itself; the target does not have it")?;
    let tool = Tool {
        name: o.need("name", text)?,
        description: o.text("description")?,
        schema: Some(o.need("input_schema", |raw| Ok(json(raw)))?),
        strict: o.flag("strict")?,
        cache: o.with("cache_control", keep)?,
    };
    o.only("defer_loading", &["false"], "the target loads all tools")?;
    o.only("allowed_callers", &[r#"["direct"]"#], "the target's tools are called by the model only")?;
    o.give_up(&["eager_input_streaming", "input_examples"], &mut way.given_up)?;
    o.end()?;
    Ok(tool)
}

fn tool_choice(raw: &RawValue) -> Read<(Option<ToolChoice>, Option<bool>)> {
    let mut o = Object::read(raw)?;
    let choice = match o.need("type", text)?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Any,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(o.need("name", text)?),
        _ => return Err(invalid("expected auto, any, tool or none").within("type")),
    };
    let parallel = o.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    o.end()?;
    Ok((Some(choice), parallel))
}

fn thinking(raw: &RawValue, effort: Option<String>) -> Read<Reasoning> {
    let mut o = Object::read(raw)?;
    let reasoning = match o.need("type", text)?.as_str() {
        "enabled" => Reasoning::Budget(
            o.count("budget_tokens")?.ok_or_else(|| invalid("the field is missing").within("budget_tokens"))?,
        ),
        "adaptive" => Reasoning::Adaptive(effort),
        "disabled" => Reasoning::Off,
        _ => return Err(cannot("only enabled, adaptive and disabled are translated").within("type")),
    };
    // How much of the thoughts is shown; other APIs do not let it be chosen here.
    o.take("display")?;
    o.end()?;
    Ok(reasoning)
}

fn output_config(raw: &RawValue) -> Read<(Option<String>, Option<Format>)> {
    let mut o = Object::read(raw)?;
    let effort = o.text("effort")?;
    let format = o.with("format", |raw| {
        let mut o = Object::read(raw)?;
        o.only("type", &[r#""json_schema""#], "only json_schema is translated")?;
        let schema = o.need("schema", |raw| Ok(json(raw)))?;
        o.end()?;
        // Anthropic always holds to the schema.
        Ok(Format::Schema { name: None, description: None, schema, strict: Some(true) })
    })?;
    o.end()?;
    Ok((effort, format))
}

fn service_tier(raw: &RawValue) -> Read<Option<String>> {
    match text(raw)?.as_str() {
        "auto" | "standard_only" => Ok(None),
        _ => Err(invalid("expected auto or standard_only")),
    }
}

fn user(raw: &RawValue) -> Read<Option<String>> {
    let mut o = Object::read(raw)?;
    let user = o.text("user_id")?;
    o.end()?;
    Ok(user)
}
