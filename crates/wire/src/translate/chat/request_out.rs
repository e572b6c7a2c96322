//! Writes a request for a target of chat completions.

use crate::translate::json::{Read, cannot, is_object};
use crate::translate::write::{self, List, Object};
use crate::translate::{EXTRA_SEAL, Field, PLAIN_SEAL, Way, data_url};
use crate::unified::{Block, Content, Format, Request, Role, Source, Tool, ToolChoice};

pub(crate) fn write(request: &Request, way: &mut Way<'_>) -> Read<Vec<u8>> {
    if request.top_k.is_some() && !way.target.compatible {
        return Err(cannot("the target does not take it").within("top_k"));
    }
    if request.stop.len() > 4 && !way.target.compatible {
        return Err(way.cannot(Field::Stop, "the target takes at most four"));
    }
    way.no_prefill(request)?;
    way.holds_to(request)?;
    way.note_strict(request);
    let inline = |c: &Content| !matches!(c, Content::Document { source: Source::Url(_), .. });
    if !request.messages.iter().flat_map(|m| &m.content).all(|b| inline(&b.content)) {
        return Err(way.cannot(Field::Messages, "the target does not fetch documents: send its bytes in base64"));
    }
    notes(request, way);
    let effort = way.effort(request.reasoning.as_ref());
    let user = way.user(request);
    let mut out = Vec::with_capacity(way.room);
    write::object(&mut out, |o| {
        o.text("model", way.target.model);
        o.list("messages", |l| messages(request, way.target.compatible, l));
        if !request.tools.is_empty() {
            o.list("tools", |l| request.tools.iter().for_each(|t| tool(t, way.strict(t), l)));
            tool_choice(request, o);
        }
        format(request, o);
        let limit = if way.target.compatible { "max_tokens" } else { "max_completion_tokens" };
        o.plain_if(limit, request.max_tokens);
        o.plain_if("temperature", way.unusual(request.temperature.as_ref()));
        o.plain_if("top_p", way.unusual(request.top_p.as_ref()));
        o.plain_if("top_k", request.top_k);
        o.plain_if("frequency_penalty", request.frequency_penalty.as_ref());
        o.plain_if("presence_penalty", request.presence_penalty.as_ref());
        o.plain_if("seed", request.seed.as_ref());
        match request.stop.as_slice() {
            [] => {}
            [one] => o.text("stop", one),
            all => o.list("stop", |l| all.iter().for_each(|s| l.text(s))),
        }
        o.text_if("reasoning_effort", effort.as_deref());
        o.text_if("verbosity", request.verbosity.as_deref());
        o.text_if("service_tier", request.service_tier.as_deref());
        o.text_if("user", user);
        o.text_if("prompt_cache_key", request.cache_key.as_deref());
        if request.stream {
            o.plain("stream", true);
            // Always asked for: what the client does not want is left out on the way back, and the rest needs it.
            o.raw("stream_options", r#"{"include_usage":true}"#);
        }
    });
    Ok(out)
}

/// Which hints this shape has no place for.
fn notes(request: &Request, way: &mut Way<'_>) {
    let blocks = || request.messages.iter().flat_map(|message| &message.content);
    let cached = blocks().any(|b| b.cache.is_some()) || request.tools.iter().any(|t| t.cache.is_some());
    // OpenAI and its kind keep every prompt that is long enough, without being asked.
    way.give_up("cache_control", cached);
    // Taken only together with `store`, which is for the same provider's own pages.
    way.give_up("metadata", request.metadata.is_some());
    way.give_up("is_error", blocks().any(|b| matches!(b.content, Content::ToolResult { failed: true, .. })));
    // Thoughts of an earlier turn have no place in this API, but for what some servers want back; the model thinks again.
    let compatible = way.target.compatible;
    let thoughts = |b: &Block| match &b.content {
        Content::Reasoning { signature, .. } => !compatible || back(signature.as_deref()).is_none(),
        Content::Sealed(_) => true,
        _ => false,
    };
    way.give_up("thinking", blocks().any(thoughts));
}

/// The effort that comes nearest to a budget of tokens.
pub(crate) fn class(tokens: u64) -> &'static str {
    match tokens {
        0..4096 => "low",
        4096..16_384 => "medium",
        _ => "high",
    }
}

/// What a server that is compatible wants back of its thoughts.
enum Back<'a> {
    /// Their words.
    Words,
    /// JSON that belongs to the call behind it.
    WithCall(&'a str),
}

fn back(signature: Option<&str>) -> Option<Back<'_>> {
    match signature? {
        PLAIN_SEAL => Some(Back::Words),
        seal => seal.strip_prefix(EXTRA_SEAL).filter(|json| is_object(json)).map(Back::WithCall),
    }
}

fn messages(request: &Request, compatible: bool, l: &mut List<'_>) {
    for message in &request.messages {
        match message.role {
            Role::System => l.object(|o| {
                o.text("role", "system");
                content(&message.content.iter().map(|b| &b.content).collect::<Vec<_>>(), o);
            }),
            Role::User => user(&message.content, l),
            Role::Assistant => l.object(|o| assistant(&message.content, compatible, o)),
        }
    }
}

/// Results of tools are messages of their own here. Images among them follow in a message of the user.
fn user(blocks: &[Block], l: &mut List<'_>) {
    let mut rest: Vec<&Content> = Vec::new();
    for block in blocks {
        if let Content::ToolResult { id, content: parts, .. } = &block.content {
            l.object(|o| {
                o.text("role", "tool");
                o.text("tool_call_id", id);
                let texts: Vec<&Content> = parts.iter().filter(|p| matches!(p, Content::Text(_))).collect();
                content(&texts, o);
            });
            rest.extend(parts.iter().filter(|p| !matches!(p, Content::Text(_))));
        }
    }
    rest.extend(blocks.iter().map(|b| &b.content).filter(|c| !matches!(c, Content::ToolResult { .. })));
    if !rest.is_empty() {
        l.object(|o| {
            o.text("role", "user");
            content(&rest, o);
        });
    }
}

fn assistant(blocks: &[Block], compatible: bool, o: &mut Object<'_>) {
    o.text("role", "assistant");
    let texts: Vec<&Content> = blocks.iter().map(|b| &b.content).filter(|c| matches!(c, Content::Text(_))).collect();
    let calls = blocks.iter().any(|b| matches!(b.content, Content::ToolCall { .. }));
    if texts.is_empty() && calls {
        o.raw("content", "null");
    } else {
        content(&texts, o);
    }
    if let Some(Content::Refusal(text)) = blocks.iter().map(|b| &b.content).find(|c| matches!(c, Content::Refusal(_))) {
        o.text("refusal", text);
    }
    if calls {
        let words = |b: &'_ Block| match &b.content {
            Content::Reasoning { text, signature } if matches!(back(signature.as_deref()), Some(Back::Words)) => {
                Some(text.clone())
            }
            _ => None,
        };
        let words: Vec<String> = blocks.iter().filter_map(words).collect();
        if compatible && !words.is_empty() {
            o.text("reasoning_content", &words.concat());
        }
        o.list("tool_calls", |l| tool_calls(blocks, compatible, l));
    }
}

fn tool_calls(blocks: &[Block], compatible: bool, l: &mut List<'_>) {
    let mut extra = None;
    for block in blocks {
        match &block.content {
            Content::Reasoning { signature, .. } if compatible => {
                if let Some(Back::WithCall(json)) = back(signature.as_deref()) {
                    extra = Some(json);
                }
            }
            Content::ToolCall { id, name, arguments } => l.object(|o| {
                call(id, name, &arguments.0, o);
                if let Some(json) = extra.take() {
                    o.raw("extra_content", json);
                }
            }),
            _ => {}
        }
    }
}

/// A call of a function, as it stands in requests and whole answers.
pub(crate) fn call(id: &str, name: &str, arguments: &str, o: &mut Object<'_>) {
    o.text("id", id);
    o.text("type", "function");
    o.object("function", |o| {
        o.text("name", name);
        o.text("arguments", arguments);
    });
}

/// One text as a text, anything else as a list of parts.
fn content(parts: &[&Content], o: &mut Object<'_>) {
    match parts {
        [] => o.text("content", ""),
        [Content::Text(text)] => o.text("content", text),
        parts => o.list("content", |l| parts.iter().for_each(|p| l.object(|o| part(p, o)))),
    }
}

fn part(content: &Content, o: &mut Object<'_>) {
    match content {
        Content::Text(text) => {
            o.text("type", "text");
            o.text("text", text);
        }
        Content::Image { source, detail } => {
            o.text("type", "image_url");
            o.object("image_url", |o| {
                o.text("url", &data_url::write(source));
                o.text_if("detail", detail.as_deref());
            });
        }
        Content::Document { source, name } => {
            o.text("type", "file");
            o.object("file", |o| {
                o.text("file_data", &data_url::write(source));
                o.text("filename", name.as_deref().unwrap_or("document.pdf"));
            });
        }
        Content::Refusal(text) => {
            o.text("type", "refusal");
            o.text("refusal", text);
        }
        // These have places of their own.
        Content::ToolCall { .. } | Content::ToolResult { .. } | Content::Reasoning { .. } | Content::Sealed(_) => {}
    }
}

fn tool(tool: &Tool, strict: Option<bool>, l: &mut List<'_>) {
    l.object(|o| {
        o.text("type", "function");
        o.object("function", |o| {
            o.text("name", &tool.name);
            o.text_if("description", tool.description.as_deref());
            o.json_if("parameters", tool.schema.as_ref());
            o.plain_if("strict", strict);
        });
    });
}

fn tool_choice(request: &Request, o: &mut Object<'_>) {
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => o.text("tool_choice", "auto"),
        Some(ToolChoice::None) => o.text("tool_choice", "none"),
        Some(ToolChoice::Any) => o.text("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => o.object("tool_choice", |o| {
            o.text("type", "function");
            o.object("function", |o| o.text("name", name));
        }),
    }
    o.plain_if("parallel_tool_calls", request.parallel_tools);
}

fn format(request: &Request, o: &mut Object<'_>) {
    match &request.format {
        None => {}
        Some(Format::Object) => o.raw("response_format", r#"{"type":"json_object"}"#),
        Some(Format::Schema { name, description, schema, strict }) => o.object("response_format", |o| {
            o.text("type", "json_schema");
            o.object("json_schema", |o| {
                o.text("name", name.as_deref().unwrap_or("answer"));
                o.text_if("description", description.as_deref());
                o.raw("schema", &schema.0);
                o.plain_if("strict", *strict);
            });
        }),
    }
}
