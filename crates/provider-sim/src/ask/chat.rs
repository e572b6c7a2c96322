//! Requests for Chat Completions and Completions.

use serde_json::{Map, Value, json};

use super::{Ask, Choice, Fields, Form, Tool};
use crate::refusal::{Api, Cause, Refusal};

/// Whether `OpenAI`'s model of this name reasons before it answers.
pub(crate) fn reasons(model: &str) -> bool {
    let numbered = model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    numbered || (model.starts_with("gpt-5") && !model.contains("chat"))
}

/// Reads a request for Chat Completions.
pub(crate) fn read(api: Api, body: &Value) -> Result<Ask, Refusal> {
    let fields = Fields::of(api, body)?;
    let model = fields.needed_text("model")?.to_owned();
    let mut ask = Ask { count: fields.count("n")?.unwrap_or(1), stop: fields.texts("stop")?, ..Ask::default() };
    ask.tools = tools(&fields)?;
    for tool in fields.list("tools")? {
        ask.prompt.push_value(tool);
    }
    ask.choice = choice(&fields, "tool_choice")?;
    for (at, message) in fields.needed_list("messages")?.iter().enumerate() {
        self::message(&fields, at, message, &mut ask)?;
    }
    ask.limit = limit(&fields, &model)?;
    ask.stream = fields.truth("stream")?;
    ask.stream_usage = match fields.get("stream_options") {
        Some(_) if !ask.stream => {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(Refusal::field(Cause::Invalid, "stream_options", message));
        }
        options => options.and_then(|o| o.get("include_usage")).and_then(Value::as_bool).unwrap_or(false),
    };
    ask.parallel = fields.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
    ask.form = form(&fields, fields.get("response_format"), |format| format.get("json_schema"))?;
    let effort = fields.text("reasoning_effort")?;
    ask.reasons = reasons(&model) && effort != Some("none");
    if fields.truth("logprobs")? {
        ask.probabilities = Some(fields.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0));
    }
    fields.number("temperature", 0.0..=2.0)?;
    fields.number("top_p", 0.0..=1.0)?;
    ask.model = model;
    Ok(ask)
}

/// Reads a request for Completions.
pub(crate) fn read_completion(api: Api, body: &Value) -> Result<Ask, Refusal> {
    let fields = Fields::of(api, body)?;
    let mut ask = Ask { count: fields.count("n")?.unwrap_or(1), stop: fields.texts("stop")?, ..Ask::default() };
    fields.needed_text("model")?.clone_into(&mut ask.model);
    if fields.get("prompt").is_none() {
        return Err(Refusal::missing(api, "prompt"));
    }
    ask.last = fields.texts("prompt")?.join("\n");
    ask.prompt.push(&ask.last);
    // The default of this API, and of no other.
    ask.limit = Some(fields.count("max_tokens")?.unwrap_or(16));
    ask.stream = fields.truth("stream")?;
    let options = fields.get("stream_options");
    ask.stream_usage = options.and_then(|o| o.get("include_usage")).and_then(Value::as_bool).unwrap_or(false);
    Ok(ask)
}

fn limit(fields: &Fields<'_>, model: &str) -> Result<Option<u64>, Refusal> {
    let old = fields.count("max_tokens")?;
    if old.is_some() && fields.api != Api::Compatible && reasons(model) {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(Refusal::field(Cause::Unsupported, "max_tokens", message));
    }
    Ok(fields.count("max_completion_tokens")?.or(old))
}

fn message(fields: &Fields<'_>, at: usize, message: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    if !["system", "developer", "user", "assistant", "tool", "function"].contains(&role) {
        return Err(fields.wrong(&format!("messages[{at}].role"), "one of system, developer, user, assistant, tool"));
    }
    let mut text = String::new();
    match message.get("content") {
        None | Some(Value::Null) if role == "assistant" => {}
        Some(Value::String(content)) => text.push_str(content),
        Some(Value::Array(parts)) => parts.iter().for_each(|part| self::part(part, &mut text, ask)),
        _ => return Err(fields.wrong(&format!("messages[{at}].content"), "a string or an array of content parts")),
    }
    if role == "tool" && message.get("tool_call_id").is_none() {
        return Err(Refusal::missing(fields.api, &format!("messages[{at}].tool_call_id")));
    }
    ask.prompt.push(&text);
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        ask.prompt.push_value(call);
    }
    ask.after_tool = role == "tool";
    if role == "user" {
        ask.last = text;
    }
    Ok(())
}

fn part(part: &Value, text: &mut String, ask: &mut Ask) {
    if let Some(said) = part.get("text").and_then(Value::as_str) {
        text.push_str(said);
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    ask.prompt.images += u64::from(kind.contains("image"));
}

fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let read = |(at, tool): (usize, &Value)| {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Refusal::missing(fields.api, &format!("tools[{at}].function.name")))?;
        let schema = function.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
        Ok(Tool { name: name.to_owned(), schema })
    };
    fields.list("tools")?.iter().enumerate().map(read).collect()
}

/// The choice of a tool; Responses write it almost the same.
pub(super) fn choice(fields: &Fields<'_>, name: &str) -> Result<Choice, Refusal> {
    match fields.get(name) {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(Choice::None),
            "auto" => Ok(Choice::Auto),
            "required" => Ok(Choice::Any),
            _ => Err(fields.wrong(name, "one of none, auto, required")),
        },
        Some(object) => {
            let function = object.get("function").unwrap_or(object);
            let named = function.get("name").and_then(Value::as_str);
            named
                .map(|named| Choice::Named(named.to_owned()))
                .ok_or_else(|| fields.wrong(name, "the name of a function"))
        }
    }
}

/// The form that is asked for. `schema_in` finds what holds the schema.
pub(super) fn form<'a>(
    fields: &Fields<'_>,
    format: Option<&'a Value>,
    schema_in: impl Fn(&'a Value) -> Option<&'a Value>,
) -> Result<Form, Refusal> {
    let Some(format) = format else { return Ok(Form::Text) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Form::Text),
        Some("json_object") => Ok(Form::Object),
        Some("json_schema") => {
            let schema = schema_in(format).and_then(|holder| holder.get("schema"));
            let schema = schema.ok_or_else(|| Refusal::missing(fields.api, "response_format.json_schema.schema"))?;
            Ok(Form::Schema(schema.clone()))
        }
        _ => Err(fields.wrong("response_format.type", "one of text, json_object, json_schema")),
    }
}

/// Fields of the body that an answer repeats.
pub(super) fn repeated(fields: &Fields<'_>, names: &[&str]) -> Map<String, Value> {
    let kept = names.iter().filter_map(|name| fields.get(name).map(|value| ((*name).to_owned(), value.clone())));
    kept.collect()
}
