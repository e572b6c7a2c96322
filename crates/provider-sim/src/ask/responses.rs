//! Requests for Responses.

use serde_json::{Value, json};

use super::chat::{choice, form, reasons, repeated};
use super::{Ask, Fields, Tool};
use crate::refusal::{Api, Refusal};

/// Fields that a response repeats.
const REPEATED: [&str; 14] = [
    "instructions",
    "metadata",
    "max_output_tokens",
    "previous_response_id",
    "reasoning",
    "temperature",
    "text",
    "tools",
    "tool_choice",
    "top_p",
    "truncation",
    "user",
    "parallel_tool_calls",
    "store",
];

/// Reads a request for Responses.
pub(crate) fn read(api: Api, body: &Value) -> Result<Ask, Refusal> {
    let fields = Fields::of(api, body)?;
    let model = fields.needed_text("model")?.to_owned();
    let mut ask = Ask { count: 1, ..Ask::default() };
    if let Some(instructions) = fields.text("instructions")? {
        ask.prompt.push(instructions);
    }
    for (at, tool) in fields.list("tools")?.iter().enumerate() {
        ask.prompt.push_value(tool);
        if tool.get("type").and_then(Value::as_str) == Some("function") {
            let name = tool.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| Refusal::missing(api, &format!("tools[{at}].name")))?;
            let schema = tool.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
            ask.tools.push(Tool { name: name.to_owned(), schema });
        }
    }
    match fields.get("input") {
        None => return Err(Refusal::missing(api, "input")),
        Some(Value::String(text)) => {
            ask.prompt.push(text);
            ask.last.clone_from(text);
        }
        Some(Value::Array(items)) => items.iter().for_each(|item| self::item(item, &mut ask)),
        Some(_) => return Err(fields.wrong("input", "a string or an array of items")),
    }
    ask.choice = choice(&fields, "tool_choice")?;
    ask.limit = fields.count("max_output_tokens")?;
    ask.stream = fields.truth("stream")?;
    ask.parallel = fields.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
    ask.form = form(&fields, fields.get("text").and_then(|text| text.get("format")), Some)?;
    let effort = fields.get("reasoning").and_then(|r| r.get("effort")).and_then(Value::as_str);
    ask.reasons = reasons(&model) && effort != Some("none");
    ask.fields = repeated(&fields, &REPEATED);
    ask.model = model;
    Ok(ask)
}

fn item(item: &Value, ask: &mut Ask) {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
    ask.after_tool = kind == "function_call_output";
    let mut text = String::new();
    match item.get("content") {
        Some(Value::String(content)) => text.push_str(content),
        Some(Value::Array(parts)) => {
            for part in parts {
                text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                ask.prompt.images += u64::from(kind.contains("image"));
            }
        }
        _ => ask.prompt.push_value(item),
    }
    ask.prompt.push(&text);
    if item.get("role").and_then(Value::as_str) == Some("user") {
        ask.last = text;
    }
}
