//! Requests for Anthropic's Messages.

use serde_json::{Value, json};

use super::{Ask, Choice, Fields, Form, Prompt, Tool, Ttl};
use crate::refusal::{Api, Cause, Refusal};

/// Smallest budget for thinking that is taken.
const LEAST_THINKING: u64 = 1024;

/// Reads a request for Messages. In the body of Bedrock's `InvokeModel` there is no model; it stands in the path.
pub(crate) fn read(body: &Value, model_in_path: Option<&str>) -> Result<Ask, Refusal> {
    let fields = Fields::of(Api::Anthropic, body)?;
    let model = match model_in_path {
        Some(model) => model,
        None => fields.needed_text("model")?,
    };
    let mut ask = Ask { model: model.to_owned(), count: 1, parallel: true, ..Ask::default() };
    let limit = fields.count("max_tokens")?.ok_or_else(|| Refusal::missing(Api::Anthropic, "max_tokens"))?;
    ask.limit = Some(limit);
    prompt(&fields, &mut ask)?;
    ask.stop = fields.texts("stop_sequences")?;
    ask.stream = fields.truth("stream")?;
    ask.reasons = thinking(&fields, limit)?;
    if let Some(choice) = fields.get("tool_choice") {
        ask.parallel = choice.get("disable_parallel_tool_use").and_then(Value::as_bool) != Some(true);
        ask.choice = self::choice(&fields, choice)?;
    }
    let format =
        fields.get("output_config").and_then(|config| config.get("format")).or_else(|| fields.get("output_format"));
    if let Some(schema) = format.and_then(|format| format.get("schema")) {
        ask.form = Form::Schema(schema.clone());
    }
    fields.number("temperature", 0.0..=1.0)?;
    fields.number("top_p", 0.0..=1.0)?;
    Ok(ask)
}

/// Reads a request to count the tokens of a prompt.
pub(crate) fn read_count(body: &Value) -> Result<Ask, Refusal> {
    let fields = Fields::of(Api::Anthropic, body)?;
    let mut ask = Ask { model: fields.needed_text("model")?.to_owned(), ..Ask::default() };
    prompt(&fields, &mut ask)?;
    Ok(ask)
}

/// Tools come first, then the system prompt, then the messages: the order in which the cache sees them.
fn prompt(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Refusal> {
    for (at, tool) in fields.list("tools")?.iter().enumerate() {
        ask.prompt.push_value(tool);
        mark(tool, &mut ask.prompt);
        let name = tool.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Refusal::missing(Api::Anthropic, &format!("tools.{at}.name")))?;
        let schema = tool.get("input_schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
        ask.tools.push(Tool { name: name.to_owned(), schema });
    }
    match fields.get("system") {
        None => {}
        Some(Value::String(text)) => ask.prompt.push(text),
        Some(Value::Array(blocks)) => blocks.iter().for_each(|block| {
            self::block(block, ask);
        }),
        Some(_) => return Err(fields.wrong("system", "a string or an array of text blocks")),
    }
    for (at, message) in fields.needed_list("messages")?.iter().enumerate() {
        self::message(fields, at, message, ask)?;
    }
    // One for the whole request stands for one at its end.
    if let Some(control) = fields.get("cache_control") {
        ask.prompt.mark(ttl(control));
    }
    Ok(())
}

fn message(fields: &Fields<'_>, at: usize, message: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    if !["user", "assistant"].contains(&role) {
        return Err(fields.wrong(&format!("messages.{at}.role"), "'user' or 'assistant'"));
    }
    if at == 0 && role != "user" {
        let message = "messages: first message must use the \"user\" role";
        return Err(Refusal::field(Cause::Invalid, "messages", message));
    }
    let mut said = String::new();
    ask.after_tool = false;
    match message.get("content") {
        Some(Value::String(text)) => {
            ask.prompt.push(text);
            said.push_str(text);
        }
        Some(Value::Array(blocks)) => {
            for block in blocks {
                said.push_str(self::block(block, ask));
                ask.after_tool |= block.get("type").and_then(Value::as_str) == Some("tool_result");
            }
        }
        _ => return Err(fields.wrong(&format!("messages.{at}.content"), "a valid string or list")),
    }
    if role == "user" {
        ask.last = said;
    }
    Ok(())
}

/// Adds a block to the prompt, and gives its text.
fn block<'a>(block: &'a Value, ask: &mut Ask) -> &'a str {
    let text = block.get("text").and_then(Value::as_str);
    match (block.get("type").and_then(Value::as_str), text) {
        (Some("image" | "document"), _) => ask.prompt.images += 1,
        (_, Some(text)) => ask.prompt.push(text),
        _ => ask.prompt.push_value(block),
    }
    mark(block, &mut ask.prompt);
    text.unwrap_or_default()
}

fn mark(block: &Value, prompt: &mut Prompt) {
    if let Some(control) = block.get("cache_control").filter(|control| !control.is_null()) {
        prompt.mark(ttl(control));
    }
}

fn ttl(control: &Value) -> Ttl {
    if control.get("ttl").and_then(Value::as_str) == Some("1h") { Ttl::Hour } else { Ttl::Minutes }
}

fn thinking(fields: &Fields<'_>, limit: u64) -> Result<bool, Refusal> {
    let Some(thinking) = fields.get("thinking") else { return Ok(false) };
    match thinking.get("type").and_then(Value::as_str) {
        Some("disabled") => Ok(false),
        Some("adaptive" | "between_tools") => Ok(true),
        Some("enabled") => match thinking.get("budget_tokens").and_then(Value::as_u64) {
            Some(budget) if budget < LEAST_THINKING => {
                let message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024";
                Err(Refusal::field(Cause::Invalid, "thinking", message))
            }
            Some(budget) if budget >= limit => {
                let message = "`max_tokens` must be greater than `thinking.budget_tokens`.";
                Err(Refusal::field(Cause::Invalid, "thinking", message))
            }
            Some(_) => Ok(true),
            None => Err(Refusal::missing(Api::Anthropic, "thinking.enabled.budget_tokens")),
        },
        _ => Err(fields.wrong("thinking.type", "one of enabled, adaptive, disabled, between_tools")),
    }
}

fn choice(fields: &Fields<'_>, choice: &Value) -> Result<Choice, Refusal> {
    let name = || choice.get("name").and_then(Value::as_str).map(str::to_owned);
    match choice.get("type").and_then(Value::as_str) {
        Some("auto") => Ok(Choice::Auto),
        Some("any") => Ok(Choice::Any),
        Some("none") => Ok(Choice::None),
        Some("tool") => {
            name().map(Choice::Named).ok_or_else(|| Refusal::missing(Api::Anthropic, "tool_choice.tool.name"))
        }
        _ => Err(fields.wrong("tool_choice.type", "one of auto, any, tool, none")),
    }
}
