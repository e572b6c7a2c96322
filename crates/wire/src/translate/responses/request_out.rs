//! Writes a request for a target of responses.

use crate::translate::json::{Read, cannot};
use crate::translate::write::{self, List, Object};
use crate::translate::{Field, OPENAI_SEAL, Way, data_url};
use crate::unified::{Block, Content, Format, Message, Reasoning, Request, Role, Source, Tool, ToolChoice};

/// Fewest output tokens that can be asked for, by OpenAI's own errors.
const LEAST_LIMIT: u64 = 16;

pub(crate) fn write(request: &Request, way: &mut Way<'_>) -> Read<Vec<u8>> {
    refuse(request, way)?;
    notes(request, way);
    way.note_strict(request);
    let effort = way.effort(request.reasoning.as_ref());
    let user = way.user(request);
    // As much as the model finds right, which is left unsaid.
    let thinks = matches!(request.reasoning, Some(Reasoning::Adaptive(_))) && way.takes_effort();
    let (instructions, rest) = match request.messages.as_slice() {
        [Message { role: Role::System, content }, rest @ ..] => match content.as_slice() {
            [Block { content: Content::Text(text), .. }] => (Some(text), rest),
            _ => (None, request.messages.as_slice()),
        },
        all => (None, all),
    };
    if rest.is_empty() {
        return Err(way.cannot(Field::Messages, "the target wants a message beside the system's"));
    }
    let mut out = Vec::with_capacity(way.room);
    write::object(&mut out, |o| {
        o.text("model", way.target.model);
        o.text_if("instructions", instructions.map(String::as_str));
        o.list("input", |l| rest.iter().for_each(|message| items(message, l)));
        if !request.tools.is_empty() {
            o.list("tools", |l| request.tools.iter().for_each(|t| tool(t, way.strict(t), l)));
            tool_choice(request, o);
        }
        text_config(request, o);
        o.plain_if("max_output_tokens", request.max_tokens);
        o.plain_if("temperature", way.unusual(request.temperature.as_ref()));
        o.plain_if("top_p", way.unusual(request.top_p.as_ref()));
        if let Some(effort) = &effort {
            o.object("reasoning", |o| o.text("effort", effort));
        }
        if effort.is_some() || thinks {
            // Nothing is stored, so the next turn must bring the thoughts along. Models that do not reason refuse this.
            o.raw("include", r#"["reasoning.encrypted_content"]"#);
        }
        o.text_if("service_tier", request.service_tier.as_deref());
        o.text_if("user", user);
        o.text_if("prompt_cache_key", request.cache_key.as_deref());
        o.json_if("metadata", request.metadata.as_ref());
        o.plain("store", false);
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
    no(request.top_k.is_some(), "top_k", "the target does not take it")?;
    no(request.max_tokens.is_some_and(|limit| limit < LEAST_LIMIT), "max_tokens", "the target takes 16 or more")?;
    way.no_prefill(request)?;
    way.holds_to(request)?;
    if !request.stop.is_empty() {
        return Err(way.cannot(Field::Stop, "the target has no stop sequences"));
    }
    Ok(())
}

fn notes(request: &Request, way: &mut Way<'_>) {
    let blocks = || request.messages.iter().flat_map(|m| &m.content);
    let cached = blocks().any(|b| b.cache.is_some()) || request.tools.iter().any(|t| t.cache.is_some());
    way.give_up("cache_control", cached);
    way.give_up("is_error", blocks().any(|b| matches!(b.content, Content::ToolResult { failed: true, .. })));
    let foreign = |b: &Block| match &b.content {
        Content::Reasoning { signature, .. } => !signature.as_deref().is_some_and(|s| s.starts_with(OPENAI_SEAL)),
        Content::Sealed(_) => true,
        _ => false,
    };
    way.give_up("thinking", blocks().any(foreign));
}

/// A message as items: its texts and images are one item, each call and each result another.
fn items(message: &Message, l: &mut List<'_>) {
    let mut said: Vec<&Content> = Vec::new();
    for block in &message.content {
        match &block.content {
            Content::ToolCall { id, name, arguments } => {
                flush(message.role, &mut said, l);
                l.object(|o| {
                    o.text("type", "function_call");
                    o.text("call_id", id);
                    o.text("name", name);
                    o.text("arguments", &arguments.0);
                });
            }
            Content::ToolResult { id, content, .. } => {
                flush(message.role, &mut said, l);
                l.object(|o| {
                    o.text("type", "function_call_output");
                    o.text("call_id", id);
                    match content.as_slice() {
                        [] => o.text("output", ""),
                        [Content::Text(text)] => o.text("output", text),
                        parts => {
                            o.list("output", |l| parts.iter().for_each(|p| l.object(|o| part(p, "input_text", o))));
                        }
                    }
                });
            }
            Content::Reasoning { text, signature } => {
                flush(message.role, &mut said, l);
                thought(text, signature.as_deref(), l);
            }
            // Another provider's thoughts cannot be read here.
            Content::Sealed(_) => {}
            content => said.push(content),
        }
    }
    flush(message.role, &mut said, l);
}

fn thought(text: &str, signature: Option<&str>, l: &mut List<'_>) {
    let seal = signature.and_then(|s| s.strip_prefix(OPENAI_SEAL)).and_then(|s| s.split_once(':'));
    let Some((id, encrypted)) = seal else { return };
    l.object(|o| {
        o.text("type", "reasoning");
        o.text("id", id);
        o.list("summary", |l| {
            if !text.is_empty() {
                l.object(|o| {
                    o.text("type", "summary_text");
                    o.text("text", text);
                });
            }
        });
        o.text("encrypted_content", encrypted);
    });
}

fn flush(role: Role, said: &mut Vec<&Content>, l: &mut List<'_>) {
    if said.is_empty() {
        return;
    }
    let (role, kind) = match role {
        Role::System => ("system", "input_text"),
        Role::User => ("user", "input_text"),
        Role::Assistant => ("assistant", "output_text"),
    };
    l.object(|o| {
        o.text("role", role);
        match said.as_slice() {
            [Content::Text(text)] => o.text("content", text),
            parts => o.list("content", |l| parts.iter().for_each(|p| l.object(|o| part(p, kind, o)))),
        }
    });
    said.clear();
}

fn part(content: &Content, text_kind: &str, o: &mut Object<'_>) {
    match content {
        Content::Text(text) => {
            o.text("type", text_kind);
            o.text("text", text);
        }
        Content::Refusal(text) => {
            o.text("type", "refusal");
            o.text("refusal", text);
        }
        Content::Image { source, detail } => {
            o.text("type", "input_image");
            o.text("image_url", &data_url::write(source));
            o.text("detail", detail.as_deref().unwrap_or("auto"));
        }
        Content::Document { source: Source::Url(url), .. } => {
            o.text("type", "input_file");
            o.text("file_url", url);
        }
        Content::Document { source, name } => {
            o.text("type", "input_file");
            o.text("filename", name.as_deref().unwrap_or("document.pdf"));
            o.text("file_data", &data_url::write(source));
        }
        // These are items of their own.
        Content::ToolCall { .. } | Content::ToolResult { .. } | Content::Reasoning { .. } | Content::Sealed(_) => {}
    }
}

fn tool(tool: &Tool, strict: Option<bool>, l: &mut List<'_>) {
    l.object(|o| {
        o.text("type", "function");
        o.text("name", &tool.name);
        o.text_if("description", tool.description.as_deref());
        o.raw("parameters", tool.schema.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |s| &s.0));
        // Unsaid means strict here, and not strict everywhere else.
        o.plain("strict", strict.unwrap_or_default());
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
            o.text("name", name);
        }),
    }
    o.plain_if("parallel_tool_calls", request.parallel_tools);
}

fn text_config(request: &Request, o: &mut Object<'_>) {
    if request.format.is_none() && request.verbosity.is_none() {
        return;
    }
    o.object("text", |o| {
        o.text_if("verbosity", request.verbosity.as_deref());
        match &request.format {
            None => {}
            Some(Format::Object) => o.raw("format", r#"{"type":"json_object"}"#),
            Some(Format::Schema { name, description, schema, strict }) => o.object("format", |o| {
                o.text("type", "json_schema");
                o.text("name", name.as_deref().unwrap_or("answer"));
                o.text_if("description", description.as_deref());
                o.raw("schema", &schema.0);
                o.plain_if("strict", *strict);
            }),
        }
    });
}
