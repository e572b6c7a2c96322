//! Reads a request of a client of responses.

use serde_json::value::RawValue;

use crate::translate::choice::{Choice, unknown};
use crate::translate::json::{Object, Read, arguments, cannot, invalid, is_text, json, list, text};
use crate::translate::{ANTHROPIC_SEAL, ANTHROPIC_SEALED, EXTRA_SEAL, OPENAI_SEAL, PLAIN_SEAL, Way, data_url, write};
use crate::unified::{Block, Content, Format, Message, Reasoning, Request, Role, Source, Tool, ToolChoice};

/// What a response repeats of its request, and what it says where the request says nothing.
const REPEATED: [(&str, &str); 13] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("service_tier", r#""default""#),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
];

/// Gives the members, too, that the answer repeats.
pub(crate) fn read(body: &[u8], way: &mut Way<'_>) -> Read<(Request, String)> {
    let mut o = Object::parse(body)?;
    let members = members(&o);
    o.take("model")?;
    let mut messages = Vec::new();
    if let Some(text) = o.text("instructions")? {
        messages.push(Message { role: Role::System, content: vec![Content::Text(text).into()] });
    }
    o.need("input", |raw| input(raw, &mut messages, way))?;
    let (verbosity, format) = o.with("text", text_config)?.unwrap_or_default();
    let mut tools = o.with("tools", |raw| list(raw, tool))?.unwrap_or_default();
    let choice = o.with("tool_choice", tool_choice)?.map(|choice| choice.of(&mut tools));
    let request = Request {
        messages,
        tools,
        tool_choice: choice.transpose().map_err(|why| why.within("tool_choice"))?,
        parallel_tools: o.flag("parallel_tool_calls")?,
        format,
        max_tokens: o.count("max_output_tokens")?,
        temperature: o.number("temperature")?,
        top_p: o.number("top_p")?,
        reasoning: o.with("reasoning", |raw| reasoning(raw, way))?.flatten(),
        verbosity,
        service_tier: o.text("service_tier")?.filter(|tier| tier != "auto" && tier != "default"),
        user: o.text("user")?,
        cache_key: o.text("prompt_cache_key")?,
        metadata: o.json("metadata")?,
        stream: o.flag("stream")?.unwrap_or_default(),
        // This shape always tells.
        include_usage: true,
        ..Request::default()
    };
    refuse(&mut o)?;
    // Sealed reasoning is always given; nothing is ever kept here.
    o.take("include")?;
    o.take("store")?;
    o.take("stream_options")?;
    let hints = ["safety_identifier", "prompt_cache_retention", "prompt_cache_options", "context_management"];
    o.give_up(&hints, &mut way.given_up)?;
    o.end()?;
    Ok((request, members))
}

fn members(o: &Object<'_>) -> String {
    let mut out = Vec::new();
    write::object(&mut out, |w| {
        for (name, unsaid) in REPEATED {
            w.raw(name, o.peek(name).unwrap_or(unsaid));
        }
    });
    String::from_utf8(out).map(|text| text[1..text.len() - 1].to_owned()).unwrap_or_default()
}

/// What other APIs cannot do, each with its reason.
fn refuse(o: &mut Object<'_>) -> Read<()> {
    let stored = "what was said before lies with the provider that said it: send the whole conversation as input";
    o.only("previous_response_id", &[], stored)?;
    o.only("conversation", &[], stored)?;
    o.only("prompt", &[], "a stored prompt lies with the provider that keeps it: send its text")?;
    o.only("background", &["false"], "the target answers at once or not at all")?;
    o.only("truncation", &[r#""disabled""#], "the target does not shorten conversations")?;
    o.only("max_tool_calls", &[], "the target does not call tools itself")?;
    o.only("top_logprobs", &["0"], "the target does not tell how likely its tokens are")?;
    o.with("include", |raw| {
        list(raw, |item| match text(item)?.as_str() {
            "reasoning.encrypted_content" => Ok(()),
            _ => Err(cannot("the target has only reasoning.encrypted_content")),
        })
    })?;
    Ok(())
}

fn input(raw: &RawValue, messages: &mut Vec<Message>, way: &mut Way<'_>) -> Read<()> {
    if is_text(raw) {
        messages.push(Message { role: Role::User, content: vec![Content::Text(text(raw)?).into()] });
        return Ok(());
    }
    for Message { role, content } in list(raw, |raw| item(raw, way))? {
        // The pieces of one turn of the model are items of their own here.
        match messages.last_mut().filter(|last| last.role == role && role == Role::Assistant) {
            Some(last) => last.content.extend(content),
            None => messages.push(Message { role, content }),
        }
    }
    Ok(())
}

fn item(raw: &RawValue, way: &mut Way<'_>) -> Read<Message> {
    let mut o = Object::read(raw)?;
    let kind = o.text("type")?;
    o.take("id")?;
    o.take("status")?;
    let message = match kind.as_deref() {
        None | Some("message") => {
            let role = match o.need("role", text)?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" | "developer" => Role::System,
                _ => return Err(invalid("expected user, assistant, system or developer").within("role")),
            };
            o.take("phase")?;
            Message { role, content: o.need("content", |raw| parts(raw, way))? }
        }
        Some("function_call") => {
            direct(&mut o)?;
            let (id, name) = (o.need("call_id", text)?, o.need("name", text)?);
            let arguments = o.need("arguments", |raw| {
                arguments(&text(raw)?).ok_or_else(|| invalid("expected a text that is a JSON object"))
            })?;
            Message { role: Role::Assistant, content: vec![Content::ToolCall { id, name, arguments }.into()] }
        }
        Some("function_call_output") => {
            direct(&mut o)?;
            let id = o.need("call_id", text)?;
            let content = o.need("output", |raw| parts(raw, way))?.into_iter().map(|part| part.content).collect();
            o.take("name")?;
            Message { role: Role::User, content: vec![Content::ToolResult { id, content, failed: false }.into()] }
        }
        Some("reasoning") => {
            // Its id was taken out above; the seal needs it.
            let id = Object::read(raw)?.text("id")?.unwrap_or_default();
            Message { role: Role::Assistant, content: vec![thought(&id, &mut o)?.into()] }
        }
        Some(_) => return Err(cannot("the target does not know such an item").within("type")),
    };
    o.end()?;
    Ok(message)
}

/// A call may say that the model itself made it, and that it is waited for.
fn direct(o: &mut Object<'_>) -> Read<()> {
    o.only("caller", &[r#"{"type":"direct"}"#], "the target's calls are made by the model only")?;
    o.only("async", &["false"], "the target waits for the results of its calls")
}

fn thought(id: &str, o: &mut Object<'_>) -> Read<Content> {
    let texts = |raw| {
        list(raw, |raw| {
            let mut o = Object::read(raw)?;
            o.take("type")?;
            o.need("text", text)
        })
    };
    let summary = o.with("summary", texts)?.unwrap_or_default();
    let content = o.with("content", texts)?.unwrap_or_default();
    let text = if content.is_empty() { summary } else { content }.join("\n\n");
    let sealed = o.text("encrypted_content")?;
    if let Some(data) = sealed.as_deref().and_then(|s| s.strip_prefix(ANTHROPIC_SEALED)) {
        return Ok(Content::Sealed(data.to_owned()));
    }
    let signature = sealed.map(|sealed| match sealed.strip_prefix(ANTHROPIC_SEAL) {
        Some(signature) => signature.to_owned(),
        None if sealed.starts_with(EXTRA_SEAL) || sealed == PLAIN_SEAL => sealed,
        None => format!("{OPENAI_SEAL}{id}:{sealed}"),
    });
    Ok(Content::Reasoning { text, signature })
}

/// A text, or a list of parts.
fn parts(raw: &RawValue, way: &mut Way<'_>) -> Read<Vec<Block>> {
    if is_text(raw) { Ok(vec![Content::Text(text(raw)?).into()]) } else { list(raw, |item| part(item, way)) }
}

fn part(raw: &RawValue, way: &mut Way<'_>) -> Read<Block> {
    let mut o = Object::read(raw)?;
    let elsewhere = "a file that lies with another provider cannot be read: send its bytes";
    let kind = o.need("type", text)?;
    let content = match kind.as_str() {
        "input_text" => Content::Text(o.need("text", text)?),
        "output_text" => {
            o.take("annotations")?;
            o.take("logprobs")?;
            Content::Text(o.need("text", text)?)
        }
        "refusal" => Content::Refusal(o.need("refusal", text)?),
        "input_image" => {
            o.only("file_id", &[], elsewhere)?;
            let source = o.need("image_url", |raw| data_url::read(text(raw)?))?;
            Content::Image { source, detail: o.text("detail")? }
        }
        "input_file" => {
            o.only("file_id", &[], elsewhere)?;
            let source = match o.text("file_url")? {
                Some(url) => Source::Url(url),
                None => o.need("file_data", |raw| data_url::read(text(raw)?))?,
            };
            o.give_up(&["detail"], &mut way.given_up)?;
            Content::Document { source, name: o.text("filename")? }
        }
        _ => return Err(cannot("the target does not know such a part").within("type")),
    };
    o.give_up(&["prompt_cache_breakpoint"], &mut way.given_up)?;
    o.end()?;
    Ok(content.into())
}

fn tool(raw: &RawValue) -> Read<Tool> {
    let mut o = Object::read(raw)?;
    if o.need("type", text)? != "function" {
        return Err(cannot("only functions are translated; the target does not have this tool").within("type"));
    }
    let tool = Tool {
        name: o.need("name", text)?,
        description: o.text("description")?,
        schema: o.json("parameters")?,
        strict: o.flag("strict")?,
        cache: None,
    };
    o.only("defer_loading", &["false"], "the target loads all tools")?;
    o.only("allowed_callers", &[r#"["direct"]"#], "the target's tools are called by the model only")?;
    o.only("async", &["false"], "the target waits for the results of its calls")?;
    o.end()?;
    Ok(tool)
}

fn tool_choice(raw: &RawValue) -> Read<Choice> {
    if is_text(raw) {
        return Choice::word(raw);
    }
    let name = |o: &mut Object<'_>| o.need("name", text);
    let mut o = Object::read(raw)?;
    let choice = match o.need("type", text)?.as_str() {
        "function" => ToolChoice::Named(name(&mut o)?).into(),
        "allowed_tools" => Choice::among(&mut o, name)?,
        _ => return Err(unknown()),
    };
    o.end()?;
    Ok(choice)
}

fn text_config(raw: &RawValue) -> Read<(Option<String>, Option<Format>)> {
    let mut o = Object::read(raw)?;
    let verbosity = o.text("verbosity")?;
    let format = o.with("format", |raw| {
        let mut o = Object::read(raw)?;
        let format = match o.need("type", text)?.as_str() {
            "text" => None,
            "json_object" => Some(Format::Object),
            "json_schema" => Some(Format::Schema {
                name: o.text("name")?,
                description: o.text("description")?,
                schema: o.need("schema", |raw| Ok(json(raw)))?,
                strict: o.flag("strict")?,
            }),
            _ => return Err(invalid("expected text, json_object or json_schema").within("type")),
        };
        o.end()?;
        Ok(format)
    })?;
    o.end()?;
    Ok((verbosity, format.flatten()))
}

fn reasoning(raw: &RawValue, way: &mut Way<'_>) -> Read<Option<Reasoning>> {
    let mut o = Object::read(raw)?;
    let effort = o.text("effort")?;
    // How much of the thoughts is shown; other APIs do not let it be chosen.
    o.take("summary")?;
    o.give_up(&["generate_summary"], &mut way.given_up)?;
    o.end()?;
    Ok(effort.map(Reasoning::Effort))
}
