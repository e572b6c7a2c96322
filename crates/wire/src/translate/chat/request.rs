//! Reads a request of a client of chat completions.

use serde_json::value::RawValue;

use crate::translate::choice::{Choice, unknown};
use crate::translate::json::{Object, Read, arguments, cannot, invalid, is_text, json, list, text};
use crate::translate::{Way, data_url};
use crate::unified::{Block, Content, Format, Keep, Message, Reasoning, Request, Role, Tool, ToolChoice};

pub(crate) fn read(body: &[u8], way: &mut Way<'_>) -> Read<Request> {
    let mut o = Object::parse(body)?;
    o.take("model")?;
    let mut request = Request {
        messages: o.need("messages", |raw| list(raw, |item| message(item, way)))?,
        tools: o.with("tools", |raw| list(raw, tool))?.unwrap_or_default(),
        tool_choice: None,
        parallel_tools: o.flag("parallel_tool_calls")?,
        format: o.with("response_format", format)?.flatten(),
        max_tokens: None,
        temperature: o.number("temperature")?,
        top_p: o.number("top_p")?,
        top_k: o.count("top_k")?,
        frequency_penalty: o.number("frequency_penalty")?,
        presence_penalty: o.number("presence_penalty")?,
        seed: o.number("seed")?,
        stop: o.with("stop", stop)?.unwrap_or_default(),
        reasoning: o.text("reasoning_effort")?.map(Reasoning::Effort),
        verbosity: o.text("verbosity")?,
        service_tier: o.text("service_tier")?.filter(|tier| tier != "auto" && tier != "default"),
        user: o.text("user")?,
        cache_key: o.text("prompt_cache_key")?,
        metadata: o.json("metadata")?,
        stream: o.flag("stream")?.unwrap_or_default(),
        include_usage: false,
    };
    let choice = o.with("tool_choice", tool_choice)?.map(|choice| choice.of(&mut request.tools));
    request.tool_choice = choice.transpose().map_err(|why| why.within("tool_choice"))?;
    let (older, newer) = (o.count("max_tokens")?, o.count("max_completion_tokens")?);
    request.max_tokens = newer.or(older);
    request.include_usage = o.with("stream_options", stream_options)?.unwrap_or_default();
    refuse(&mut o)?;
    o.take("store")?;
    let hints = ["safety_identifier", "prompt_cache_retention", "prompt_cache_options", "prediction"];
    o.give_up(&hints, &mut way.given_up)?;
    o.end()?;
    Ok(request)
}

/// What other APIs cannot do, each with its reason.
fn refuse(o: &mut Object<'_>) -> Read<()> {
    o.only("n", &["1"], "the target gives one answer to a request: ask once for each")?;
    o.only("logprobs", &["false"], "the target does not tell how likely its tokens are")?;
    o.only("top_logprobs", &["0"], "the target does not tell how likely its tokens are")?;
    o.only("logit_bias", &["{}"], "the target does not take biases of tokens")?;
    o.only("modalities", &[r#"["text"]"#], "the target answers in text only")?;
    o.only("audio", &[], "the target answers in text only")?;
    o.only("functions", &["[]"], "superseded, and not translated: use tools")?;
    o.only("function_call", &[], "superseded, and not translated: use tool_choice")
}

fn stream_options(raw: &RawValue) -> Read<bool> {
    let mut o = Object::read(raw)?;
    let include_usage = o.flag("include_usage")?.unwrap_or_default();
    // Padding against those who measure the length of packets; the translated stream has none.
    o.take("include_obfuscation")?;
    o.end()?;
    Ok(include_usage)
}

fn stop(raw: &RawValue) -> Read<Vec<String>> {
    if is_text(raw) { Ok(vec![text(raw)?]) } else { list(raw, text) }
}

fn message(raw: &RawValue, way: &mut Way<'_>) -> Read<Message> {
    let mut o = Object::read(raw)?;
    let role = o.need("role", text)?;
    let message = match role.as_str() {
        "system" | "developer" => {
            o.give_up(&["name"], &mut way.given_up)?;
            Message { role: Role::System, content: o.need("content", parts)? }
        }
        "user" => {
            o.give_up(&["name"], &mut way.given_up)?;
            Message { role: Role::User, content: o.need("content", parts)? }
        }
        "assistant" => {
            o.give_up(&["name"], &mut way.given_up)?;
            Message { role: Role::Assistant, content: said(&mut o)? }
        }
        "tool" => {
            let id = o.need("tool_call_id", text)?;
            let parts = o.need("content", parts)?;
            let cache = parts.iter().rev().find_map(|part| part.cache);
            let content = parts.into_iter().map(|part| part.content).collect();
            o.take("name")?;
            let content = Content::ToolResult { id, content, failed: false };
            Message { role: Role::User, content: vec![Block { content, cache }] }
        }
        "function" => return Err(cannot("superseded, and not translated: use a tool message").within("role")),
        _ => return Err(invalid("expected system, developer, user, assistant or tool").within("role")),
    };
    o.end()?;
    Ok(message)
}

/// What the model said in an earlier turn.
fn said(o: &mut Object<'_>) -> Read<Vec<Block>> {
    let mut content: Vec<Block> = o.with("thinking_blocks", |raw| list(raw, thought))?.unwrap_or_default();
    let (thought, reasoning) = (o.text("reasoning_content")?, o.text("reasoning")?);
    if let Some(text) = thought.or(reasoning).filter(|text| !text.is_empty() && content.is_empty()) {
        content.push(Content::Reasoning { text, signature: None }.into());
    }
    content.extend(o.with("content", parts)?.unwrap_or_default());
    if let Some(text) = o.text("refusal")? {
        content.push(Content::Refusal(text).into());
    }
    content.extend(o.with("tool_calls", |raw| list(raw, tool_call))?.unwrap_or_default());
    o.only("audio", &[], "the target answers in text only")?;
    o.only("function_call", &[], "superseded, and not translated: use tool_calls")?;
    o.only("annotations", &["[]"], "the target does not read citations")?;
    Ok(content)
}

/// A block of reasoning as it stands in our own answers: the shape of Anthropic's.
fn thought(raw: &RawValue) -> Read<Block> {
    let mut o = Object::read(raw)?;
    let kind = o.need("type", text)?;
    let content = match kind.as_str() {
        "thinking" => Content::Reasoning {
            text: o.text("thinking")?.unwrap_or_default(),
            signature: o.text("signature")?.filter(|s| !s.is_empty()),
        },
        "redacted_thinking" => Content::Sealed(o.need("data", text)?),
        _ => return Err(invalid("expected thinking or redacted_thinking").within("type")),
    };
    o.end()?;
    Ok(content.into())
}

fn tool_call(raw: &RawValue) -> Read<Block> {
    let mut o = Object::read(raw)?;
    let id = o.need("id", text)?;
    o.only("type", &[r#""function""#], "only calls of functions are translated")?;
    o.take("index")?;
    let content = o.need("function", |raw| {
        let mut o = Object::read(raw)?;
        let name = o.need("name", text)?;
        let arguments = o.with("arguments", |raw| {
            arguments(&text(raw)?).ok_or_else(|| invalid("expected a text that is a JSON object"))
        })?;
        o.end()?;
        let arguments = arguments.unwrap_or_else(|| crate::unified::Json("{}".to_owned()));
        Ok(Content::ToolCall { id, name, arguments })
    })?;
    o.end()?;
    Ok(content.into())
}

/// The content of a message: a text, or a list of parts.
fn parts(raw: &RawValue) -> Read<Vec<Block>> {
    if is_text(raw) { Ok(vec![Content::Text(text(raw)?).into()]) } else { list(raw, part) }
}

fn part(raw: &RawValue) -> Read<Block> {
    let mut o = Object::read(raw)?;
    let kind = o.need("type", text)?;
    let content = match kind.as_str() {
        "text" => Content::Text(o.need("text", text)?),
        "refusal" => Content::Refusal(o.need("refusal", text)?),
        "image_url" => o.need("image_url", image)?,
        "file" => o.need("file", file)?,
        "input_audio" => return Err(cannot("the target does not hear").within("type")),
        _ => return Err(cannot("the target does not know such a part").within("type")),
    };
    let cache = o.with("cache_control", keep)?;
    let breakpoint = o.take("prompt_cache_breakpoint")?.map(|_| Keep::Minutes);
    o.end()?;
    Ok(Block { content, cache: cache.or(breakpoint) })
}

/// Anthropic's mark of a prompt that is worth keeping, which many clients of chat completions send too.
pub(crate) fn keep(raw: &RawValue) -> Read<Keep> {
    let mut o = Object::read(raw)?;
    o.only("type", &[r#""ephemeral""#], "the one known type is ephemeral")?;
    let keep = match o.text("ttl")?.as_deref() {
        None | Some("5m") => Keep::Minutes,
        Some("1h") => Keep::Hour,
        Some(_) => return Err(invalid("expected 5m or 1h").within("ttl")),
    };
    o.end()?;
    Ok(keep)
}

fn image(raw: &RawValue) -> Read<Content> {
    let mut o = Object::read(raw)?;
    let source = o.need("url", |raw| data_url::read(text(raw)?))?;
    let detail = o.text("detail")?;
    o.end()?;
    Ok(Content::Image { source, detail })
}

fn file(raw: &RawValue) -> Read<Content> {
    let mut o = Object::read(raw)?;
    o.only("file_id", &[], "a file that lies with another provider cannot be read: send its bytes as file_data")?;
    let source = o.need("file_data", |raw| data_url::read(text(raw)?))?;
    let name = o.text("filename")?;
    o.end()?;
    Ok(Content::Document { source, name })
}

fn tool(raw: &RawValue) -> Read<Tool> {
    let mut o = Object::read(raw)?;
    let kind = o.need("type", text)?;
    if kind != "function" {
        return Err(cannot("only functions are translated; the target does not have this tool").within("type"));
    }
    let mut tool = o.need("function", |raw| {
        let mut o = Object::read(raw)?;
        let tool = Tool {
            name: o.need("name", text)?,
            description: o.text("description")?,
            schema: o.json("parameters")?,
            strict: o.flag("strict")?,
            cache: o.with("cache_control", keep)?,
        };
        o.end()?;
        Ok(tool)
    })?;
    tool.cache = o.with("cache_control", keep)?.or(tool.cache);
    o.end()?;
    Ok(tool)
}

fn tool_choice(raw: &RawValue) -> Read<Choice> {
    if is_text(raw) {
        return Choice::word(raw);
    }
    let name = |o: &mut Object<'_>| o.need("function", |raw| Object::read(raw)?.need("name", text));
    let mut o = Object::read(raw)?;
    let choice = match o.need("type", text)?.as_str() {
        "function" => ToolChoice::Named(name(&mut o)?).into(),
        "allowed_tools" => o.need("allowed_tools", |raw| Choice::among(&mut Object::read(raw)?, name))?,
        _ => return Err(unknown()),
    };
    o.end()?;
    Ok(choice)
}

fn format(raw: &RawValue) -> Read<Option<Format>> {
    let mut o = Object::read(raw)?;
    let kind = o.need("type", text)?;
    let format = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Format::Object),
        "json_schema" => Some(o.need("json_schema", |raw| {
            let mut o = Object::read(raw)?;
            let format = Format::Schema {
                name: o.text("name")?,
                description: o.text("description")?,
                schema: o.need("schema", |raw| Ok(json(raw)))?,
                strict: o.flag("strict")?,
            };
            o.end()?;
            Ok(format)
        })?),
        _ => return Err(invalid("expected text, json_object or json_schema").within("type")),
    };
    o.end()?;
    Ok(format)
}
