//! Writes a request for Bedrock's Converse. The model's name is a part of the path.

use super::marks::Marks;
use super::names::{Names, call_id, document_name};
use crate::translate::json::{Read, cannot};
use crate::translate::messages::request_out::limit;
use crate::translate::messages::sampling::{sampled, stops};
use crate::translate::messages::thinking::{Thinking, thinking};
use crate::translate::messages::turns::{Turn, says_something, system_blocks, turns};
use crate::translate::write::{self, List, Object};
use crate::translate::{Field, Way};
use crate::unified::{Block, Content, Format, Keep, Reasoning, Request, Role, Source, Tool, ToolChoice};

pub(crate) fn write(request: &Request, way: &mut Way<'_>) -> Read<Vec<u8>> {
    refuse(request, way)?;
    let turns = turns(request);
    if turns.is_empty() {
        return Err(way.cannot(Field::Messages, "the target wants a message of the user beside the system's"));
    }
    // How a model is told to think differs between the models behind Converse; Anthropic's are told as elsewhere.
    let claude = way.target.model.contains("anthropic.");
    let thinking = if claude { thinking(request, &turns, way) } else { None };
    let sampled = if claude { sampled(request, thinking.as_ref(), way)? } else { (true, true) };
    if claude {
        stops(request, way)?;
    }
    let unsaid = matches!(thinking, Some(Thinking::Budget(_))).then(|| limit(way, thinking.as_ref()));
    notes(request, claude, way);
    let mut out = Vec::with_capacity(way.room);
    let (names, marks) = (Names::default(), Marks::of(way.target.model));
    way.give_up("cache_control", unmarked(request, marks));
    write::object(&mut out, |o| {
        let system = system_blocks(request);
        if !system.is_empty() {
            o.list("system", |l| system.iter().for_each(|b| block(b, &names, marks.system.then_some(marks), l)));
        }
        o.list("messages", |l| turns.iter().for_each(|turn| l.object(|o| message(turn, &names, marks, o))));
        inference(request, sampled, request.max_tokens.or(unsaid), o);
        // A choice of none is the same as having none to choose from.
        if !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None) {
            o.object("toolConfig", |o| {
                o.list("tools", |l| request.tools.iter().for_each(|t| tool(t, marks, l)));
                tool_choice(request, o);
            });
        }
        format(request, o);
        if request.top_k.is_some() || thinking.is_some() {
            o.object("additionalModelRequestFields", |o| {
                match request.top_k {
                    // Nova has an object of its own for what the other models have beside the rest.
                    Some(top_k) if way.target.model.contains("amazon.nova") => {
                        o.object("inferenceConfig", |o| o.plain("topK", top_k));
                    }
                    top_k => o.plain_if("top_k", top_k),
                }
                if let Some(thinking) = &thinking {
                    thinking.write(o);
                    if let Some(effort) = thinking.effort() {
                        o.object("output_config", |o| o.text("effort", effort));
                    }
                }
            });
        }
        if let Some(tier) = &request.service_tier {
            o.object("serviceTier", |o| o.text("type", tier));
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
    let hot = request.temperature.as_ref().and_then(serde_json::Number::as_f64).is_some_and(|t| t > 1.0);
    no(hot, "temperature", "the target takes 0 to 1")?;
    let tier = request.service_tier.as_deref();
    no(!matches!(tier, None | Some("priority" | "flex")), "service_tier", "the target does not have this tier")?;
    // Meta's models have no such parameter.
    no(request.top_k.is_some() && way.target.model.contains("meta."), "top_k", "the target's model does not have it")?;
    if request.format == Some(Format::Object) {
        return Err(way.cannot(Field::Format, "the target needs a schema: use json_schema"));
    }
    if request.parallel_tools == Some(false) && !request.tools.is_empty() {
        return Err(way.cannot(Field::Parallel, "the target cannot be held to one call at a time"));
    }
    let blocks = || request.messages.iter().flat_map(|m| &m.content);
    let calls = blocks().any(|b| matches!(b.content, Content::ToolCall { .. } | Content::ToolResult { .. }));
    if calls && (request.tools.is_empty() || request.tool_choice == Some(ToolChoice::None)) {
        return Err(cannot("the target wants the tools of earlier calls, and cannot be kept from calling them")
            .within(if request.tools.is_empty() { "tools" } else { "tool_choice" }));
    }
    let url = |c: &Content| match c {
        Content::Image { source: Source::Url(_), .. } | Content::Document { source: Source::Url(_), .. } => true,
        Content::ToolResult { content, .. } => content.iter().any(|c| {
            matches!(
                c,
                Content::Image { source: Source::Url(_), .. } | Content::Document { source: Source::Url(_), .. }
            )
        }),
        _ => false,
    };
    if blocks().any(|b| url(&b.content)) {
        return Err(way.cannot(Field::Messages, "the target does not fetch images: send their bytes in base64"));
    }
    Ok(())
}

fn notes(request: &Request, claude: bool, way: &mut Way<'_>) {
    way.give_up("verbosity", request.verbosity.is_some());
    way.give_up("prompt_cache_key", request.cache_key.is_some());
    way.give_up("metadata", request.metadata.is_some());
    way.give_up("user", request.user.is_some());
    let asked = !matches!(request.reasoning, None | Some(Reasoning::Off));
    way.give_up(way.name(Field::Reasoning), asked && !claude);
    let blocks = || request.messages.iter().flat_map(|m| &m.content);
    way.give_up("detail", blocks().any(|b| matches!(b.content, Content::Image { detail: Some(_), .. })));
}

/// `sampled` says whether `temperature` and `top_p` are told.
fn inference(request: &Request, sampled: (bool, bool), max_tokens: Option<u64>, o: &mut Object<'_>) {
    let temperature = request.temperature.as_ref().filter(|_| sampled.0);
    let top_p = request.top_p.as_ref().filter(|_| sampled.1);
    let said = max_tokens.is_some() || temperature.is_some() || top_p.is_some();
    if !said && request.stop.is_empty() {
        return;
    }
    o.object("inferenceConfig", |o| {
        o.plain_if("maxTokens", max_tokens);
        o.plain_if("temperature", temperature);
        o.plain_if("topP", top_p);
        if !request.stop.is_empty() {
            o.list("stopSequences", |l| request.stop.iter().for_each(|s| l.text(s)));
        }
    });
}

fn message(turn: &Turn<'_>, names: &Names, marks: Marks, o: &mut Object<'_>) {
    o.text("role", if turn.role == Role::Assistant { "assistant" } else { "user" });
    o.list("content", |l| {
        turn.blocks.iter().for_each(|b| block(b, names, marks.messages.then_some(marks), l));
        // Bedrock wants a text beside documents. Where the client sent none, the name of the first one is what it said.
        if let Some(name) = wordless(turn) {
            l.object(|o| o.text("text", &name));
        }
    });
}

/// The name of the first document of a message that has no text.
fn wordless(turn: &Turn<'_>) -> Option<String> {
    let says = |block: &&Block| matches!(block.content, Content::Text(_) | Content::Refusal(_));
    let name = |block: &&Block| match &block.content {
        Content::Document { name, .. } => Some(document_name(name.as_deref())),
        _ => None,
    };
    turn.blocks.iter().find_map(name).filter(|_| !turn.blocks.iter().any(says))
}

fn block(block: &Block, names: &Names, marks: Option<Marks>, l: &mut List<'_>) {
    l.object(|o| content(&block.content, names, o));
    cache_point(block.cache, marks, l);
}

/// Whether a mark is left out, as the model does not take it there.
fn unmarked(request: &Request, marks: Marks) -> bool {
    let tools = request.tools.iter().any(|tool| tool.cache.is_some());
    let within = |of_system: bool| {
        let messages = request.messages.iter().filter(move |m| (m.role == Role::System) == of_system);
        messages.flat_map(|m| &m.content).any(|block| block.cache.is_some())
    };
    tools && !marks.tools || within(true) && !marks.system || within(false) && !marks.messages
}

/// Here the mark is a block of its own, after what is worth keeping.
fn cache_point(cache: Option<Keep>, marks: Option<Marks>, l: &mut List<'_>) {
    if let (Some(keep), Some(marks)) = (cache, marks) {
        l.object(|o| {
            o.object("cachePoint", |o| {
                o.text("type", "default");
                if keep == Keep::Hour && marks.hour {
                    o.text("ttl", "1h");
                }
            });
        });
    }
}

fn content(content: &Content, names: &Names, o: &mut Object<'_>) {
    match content {
        Content::Text(text) | Content::Refusal(text) => o.text("text", text),
        Content::Image { source, .. } => o.object("image", |o| bytes(source, o)),
        Content::Document { source, name } => o.object("document", |o| {
            o.text("name", &names.next(name.as_deref()));
            bytes(source, o);
        }),
        Content::ToolCall { id, name, arguments } => o.object("toolUse", |o| {
            o.text("toolUseId", &call_id(id));
            o.text("name", name);
            o.raw("input", &arguments.0);
        }),
        Content::ToolResult { id, content: parts, failed } => o.object("toolResult", |o| {
            o.text("toolUseId", &call_id(id));
            // Bedrock refuses an empty text, also of a tool that had nothing to say.
            o.list("content", |l| {
                parts.iter().filter(|p| says_something(p)).for_each(|p| l.object(|o| self::content(p, names, o)));
            });
            if *failed {
                o.text("status", "error");
            }
        }),
        Content::Reasoning { text, signature } => o.object("reasoningContent", |o| {
            o.object("reasoningText", |o| {
                o.text("text", text);
                o.text_if("signature", signature.as_deref());
            });
        }),
        Content::Sealed(data) => o.object("reasoningContent", |o| o.text("redactedContent", data)),
    }
}

/// Base64, as the JSON form of bytes has it. The format is the end of the media type.
fn bytes(source: &Source, o: &mut Object<'_>) {
    if let Source::Inline { media_type, base64 } = source {
        let format = match media_type.rsplit('/').next().unwrap_or_default() {
            "jpg" => "jpeg",
            "plain" => "txt",
            "markdown" => "md",
            other => other,
        };
        o.text("format", format);
        o.object("source", |o| o.text("bytes", base64));
    }
}

fn tool(tool: &Tool, marks: Marks, l: &mut List<'_>) {
    l.object(|o| {
        o.object("toolSpec", |o| {
            o.text("name", &tool.name);
            o.text_if("description", tool.description.as_deref().filter(|d| !d.is_empty()));
            let schema = tool.schema.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |s| &s.0);
            o.object("inputSchema", |o| o.raw("json", schema));
            o.plain_if("strict", tool.strict.filter(|strict| *strict));
        });
    });
    cache_point(tool.cache, marks.tools.then_some(marks), l);
}

fn tool_choice(request: &Request, o: &mut Object<'_>) {
    match &request.tool_choice {
        None | Some(ToolChoice::None) => {}
        Some(ToolChoice::Auto) => o.raw("toolChoice", r#"{"auto":{}}"#),
        Some(ToolChoice::Any) => o.raw("toolChoice", r#"{"any":{}}"#),
        Some(ToolChoice::Named(name)) => o.object("toolChoice", |o| o.object("tool", |o| o.text("name", name))),
    }
}

fn format(request: &Request, o: &mut Object<'_>) {
    let Some(Format::Schema { name, description, schema, .. }) = &request.format else { return };
    o.object("outputConfig", |o| {
        o.object("textFormat", |o| {
            o.text("type", "json_schema");
            o.object("structure", |o| {
                o.object("jsonSchema", |o| {
                    // A text that holds JSON.
                    o.text("schema", &schema.0);
                    o.text_if("name", name.as_deref());
                    o.text_if("description", description.as_deref());
                });
            });
        });
    });
}
