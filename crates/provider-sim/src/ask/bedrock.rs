//! Requests for Bedrock's Converse.

mod rules;

use serde_json::{Value, json};

use super::{Ask, Choice, Fields, Form, Tool, Ttl};
use crate::refusal::{Api, Cause, Refusal};

/// By what names the answer's fields hold how it was served.
pub(crate) const TIER: &str = "serviceTier";
pub(crate) const LATENCY: &str = "performanceConfig";

/// Reads a request for Converse; model and streaming stand in the path.
pub(crate) fn read(body: &Value, model: &str, stream: bool) -> Result<Ask, Refusal> {
    let fields = Fields::of(Api::Bedrock, body)?;
    let mut ask = Ask { model: model.to_owned(), count: 1, parallel: true, stream, ..Ask::default() };
    if let Some(config) = fields.get("toolConfig") {
        tools(config, &mut ask)?;
    }
    for block in fields.list("system")? {
        self::block(block, &mut ask);
    }
    for (at, message) in fields.needed_list("messages")?.iter().enumerate() {
        self::message(&fields, at, message, &mut ask)?;
    }
    if let Some(config) = fields.get("inferenceConfig") {
        let config = Fields::of(Api::Bedrock, config)?;
        ask.limit = config.count("maxTokens")?;
        ask.stop = config.texts("stopSequences")?;
        config.number("temperature", 0.0..=1.0)?;
        config.number("topP", 0.0..=1.0)?;
    }
    let more = fields.get("additionalModelRequestFields");
    let thinking = more.and_then(|more| more.get("thinking")).and_then(|thinking| thinking.get("type"));
    ask.reasons = thinking.and_then(Value::as_str).is_some_and(|kind| kind != "disabled");
    if let Some(schema) = schema(&fields)? {
        ask.form = Form::Schema(schema);
    }
    let text = |name: &str, key: &str| fields.get(name)?.get(key)?.as_str();
    served(text("serviceTier", "type"), text("performanceConfig", "latency"), &mut ask)?;
    rules::check(body, model)?;
    Ok(ask)
}

/// Notes how the request wants to be served, which the answer repeats. InvokeModel is told so by headers.
pub(crate) fn served(tier: Option<&str>, latency: Option<&str>, ask: &mut Ask) -> Result<(), Refusal> {
    for (name, value, known) in [
        (TIER, tier, &["priority", "default", "flex", "reserved"][..]),
        (LATENCY, latency, &["standard", "optimized"][..]),
    ] {
        let Some(value) = value else { continue };
        if !known.contains(&value) {
            let known = known.join(", ");
            let why = format!(
                "Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy enum value set: [{known}]"
            );
            return Err(Refusal::new(Cause::Invalid, why));
        }
        ask.fields.insert(name.to_owned(), value.into());
    }
    Ok(())
}

fn message(fields: &Fields<'_>, at: usize, message: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    if !["user", "assistant"].contains(&role) {
        return Err(fields.wrong(&format!("messages.{}.member.role", at + 1), "one of [user, assistant]"));
    }
    let content = message.get("content").and_then(Value::as_array);
    let content =
        content.ok_or_else(|| Refusal::missing(Api::Bedrock, &format!("messages.{}.member.content", at + 1)))?;
    ask.after_tool = false;
    let mut said = String::new();
    for block in content {
        said.push_str(self::block(block, ask));
        ask.after_tool |= block.get("toolResult").is_some();
    }
    if role == "user" {
        ask.last = said;
    }
    Ok(())
}

/// Adds a block to the prompt, and gives its text.
fn block<'a>(block: &'a Value, ask: &mut Ask) -> &'a str {
    if let Some(point) = block.get("cachePoint") {
        let hour = point.get("ttl").and_then(Value::as_str) == Some("1h");
        ask.prompt.mark(if hour { Ttl::Hour } else { Ttl::Minutes });
        return "";
    }
    if let Some(text) = block.get("text").and_then(Value::as_str) {
        ask.prompt.push(text);
        return text;
    }
    if block.get("image").is_some() || block.get("document").is_some() {
        ask.prompt.images += 1;
    } else {
        ask.prompt.push_value(block);
    }
    ""
}

fn tools(config: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    for tool in config.get("tools").and_then(Value::as_array).into_iter().flatten() {
        let Some(spec) = tool.get("toolSpec") else {
            block(tool, ask);
            continue;
        };
        ask.prompt.push_value(spec);
        let name = spec.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Refusal::missing(Api::Bedrock, "toolConfig.tools.1.member.toolSpec.name"))?;
        let schema = spec.get("inputSchema").and_then(|schema| schema.get("json")).cloned();
        ask.tools.push(Tool { name: name.to_owned(), schema: schema.unwrap_or_else(|| json!({"type": "object"})) });
    }
    if let Some(choice) = config.get("toolChoice") {
        let named = choice.get("tool").and_then(|tool| tool.get("name")).and_then(Value::as_str);
        ask.choice = match (named, choice.get("any")) {
            (Some(name), _) => Choice::Named(name.to_owned()),
            (None, Some(_)) => Choice::Any,
            (None, None) => Choice::Auto,
        };
    }
    Ok(())
}

/// The schema of the answer. It comes as a text that holds JSON.
fn schema(fields: &Fields<'_>) -> Result<Option<Value>, Refusal> {
    let format = fields.get("outputConfig").and_then(|config| config.get("textFormat"));
    let structure = format.and_then(|format| format.get("structure")).and_then(|s| s.get("jsonSchema"));
    let Some(schema) = structure.and_then(|json| json.get("schema")) else { return Ok(None) };
    let parsed = schema.as_str().map_or_else(|| Ok(schema.clone()), serde_json::from_str);
    parsed.map(Some).map_err(|_| fields.wrong("outputConfig.textFormat.structure.jsonSchema.schema", "a JSON schema"))
}
