//! Reads the body of a request as vLLM does, and refuses what vLLM refuses, in the same shape.

use serde_json::{Map, Value};

use crate::text::{key_of, tokens_in};

/// Which of the two routes a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    /// One for a chat; a completion may ask about several.
    pub(crate) prompts: Vec<Prompt>,
    /// Answers to each prompt.
    pub(crate) n: u32,
    /// Most tokens of each answer. Absent: the answer ends by itself.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stream: bool,
    /// Whether a stream ends with the usage.
    pub(crate) include_usage: bool,
}

/// A text to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Its length.
    pub(crate) tokens: u32,
    /// Stands for its content.
    pub(crate) key: u64,
}

/// Why a request is not answered: an HTTP status and vLLM's error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

/// What the engine serves, as far as requests are judged by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served<'a> {
    pub(crate) names: &'a [String],
    pub(crate) max_model_len: u32,
}

/// vLLM runs at most this many answers to one prompt (`VLLM_MAX_N_SEQUENCES`).
const MOST_ANSWERS: i64 = 16_384;

impl Refusal {
    fn bad(message: String, param: Option<&str>) -> Self {
        Self { status: 400, kind: "BadRequestError", message, param: param.map(str::to_owned) }
    }

    /// A value that does not fit the request's schema.
    fn invalid(kind: &str, at: &str, problem: &str, input: &Value) -> Self {
        Self {
            status: 400,
            kind: "Bad Request",
            message: format!(
                "1 validation error:\n  {{'type': '{kind}', 'loc': '{at}', 'msg': '{problem}', 'input': '{}'}}",
                summary(input)
            ),
            param: Some(at.to_owned()),
        }
    }

    /// A body that says it is not JSON.
    pub(crate) fn media_type() -> Self {
        Self {
            status: 400,
            kind: "Bad Request",
            message: "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed".to_owned(),
            param: None,
        }
    }

    /// A body that is larger than the simulator takes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self {
            status: 413,
            kind: "Request Entity Too Large",
            message: format!("the body is larger than {limit} bytes"),
            param: None,
        }
    }

    fn server(message: &str) -> Self {
        Self { status: 500, kind: "InternalServerError", message: message.to_owned(), param: None }
    }

    /// A request that came after the signal to stop.
    pub(crate) fn draining() -> Self {
        Self::server("cannot schedule new futures after shutdown")
    }

    /// A request that was running when the engine was ended.
    pub(crate) fn aborted() -> Self {
        Self::server("EngineCore encountered an issue. See stack trace (above) for the root cause.")
    }
}

/// Reads a body.
///
/// # Errors
/// When vLLM would refuse it.
pub(crate) fn read(kind: Kind, body: &[u8], served: Served<'_>) -> Result<Ask, Refusal> {
    if body.is_empty() {
        return Err(Refusal::invalid("missing", "body", "Field required", &Value::Null));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
    let fields = match &value {
        Value::Object(fields) => Fields(fields),
        Value::Null => return Err(Refusal::invalid("missing", "body", "Field required", &value)),
        _ => {
            let problem = "Input should be a valid dictionary or object to extract fields from";
            return Err(Refusal::invalid("model_attributes_type", "body", problem, &value));
        }
    };
    let model = fields.text("model")?;
    let stream = fields.flag("stream")?;
    let options = fields.object("stream_options")?;
    if options.is_some() && !stream {
        let message = "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
        return Err(Refusal::bad(message.to_owned(), Some("stream_options")));
    }
    let include_usage = match options {
        Some(options) => flag(options.get("include_usage"), "body.stream_options.include_usage")?,
        None => false,
    };
    let n = answers(fields.number("n")?)?;
    let limit = limit(kind, &fields, served.max_model_len)?;
    let prompts = match kind {
        Kind::Chat => vec![conversation(&fields)?],
        Kind::Completion => prompts(&fields)?,
    };
    if let Some(name) = model.filter(|name| !name.is_empty() && !served.names.iter().any(|known| known == name)) {
        return Err(Refusal {
            status: 404,
            kind: "NotFoundError",
            message: format!("The model `{name}` does not exist. Valid aliases: {}.", served.names.join(", ")),
            param: Some("model".to_owned()),
        });
    }
    let longest = prompts.iter().map(|prompt| prompt.tokens).max().unwrap_or(0);
    if longest >= served.max_model_len {
        return Err(too_long(served.max_model_len));
    }
    Ok(Ask { kind, prompts, n, max_tokens: limit, stream, include_usage })
}

/// A conversation is as long as the text of its messages.
fn conversation(fields: &Fields<'_>) -> Result<Prompt, Refusal> {
    let whole = || Value::Object(fields.0.clone());
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) => messages,
        Some(other) => {
            return Err(Refusal::invalid("list_type", "body.messages", "Input should be a valid list", other));
        }
        None => return Err(Refusal::invalid("missing", "body.messages", "Field required", &whole())),
    };
    if messages.is_empty() {
        let message = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return Err(Refusal::bad(message.to_owned(), None));
    }
    let mut text = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let Some(Value::String(role)) = message.get("role") else {
            let at = format!("body.messages.{at}.role");
            return Err(Refusal::invalid("missing", &at, "Field required", message));
        };
        text.push(role.as_str());
        match message.get("content") {
            None | Some(Value::Null) => {}
            Some(Value::String(content)) => text.push(content),
            Some(Value::Array(parts)) => {
                text.extend(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)));
            }
            Some(other) => {
                let at = format!("body.messages.{at}.content");
                return Err(Refusal::invalid("string_type", &at, "Input should be a valid string", other));
            }
        }
    }
    let text = text.join("\n");
    Ok(Prompt { tokens: tokens_in(text.len()), key: key_of(text.as_bytes()) })
}

/// A completion takes a text, a list of token numbers, or a list of either.
fn prompts(fields: &Fields<'_>) -> Result<Vec<Prompt>, Refusal> {
    let missing = || {
        let message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)";
        Refusal::bad(message.to_owned(), Some("prompt"))
    };
    let invalid = |value: &Value| Refusal::invalid("list_type", "body.prompt", "Input should be a valid list", value);
    let one = |value: &Value| match value {
        Value::String(text) => Ok(Prompt { tokens: tokens_in(text.len()), key: key_of(text.as_bytes()) }),
        Value::Array(ids) if ids.iter().all(Value::is_u64) => Ok(Prompt {
            tokens: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            key: ids.iter().filter_map(Value::as_u64).fold(0, |key, id| key.rotate_left(5) ^ id),
        }),
        other => Err(invalid(other)),
    };
    match fields.get("prompt") {
        None => Err(missing()),
        Some(Value::String(text)) if text.is_empty() => Err(missing()),
        Some(Value::Array(list)) if list.is_empty() => {
            Err(Refusal::bad("You must pass at least one prompt".to_owned(), None))
        }
        Some(Value::Array(list)) if !list[0].is_number() => list.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

fn answers(n: Option<i64>) -> Result<u32, Refusal> {
    match n.unwrap_or(1) {
        n @ ..1 => Err(Refusal::bad(format!("n must be at least 1, got {n}."), None)),
        n if n > MOST_ANSWERS => Err(Refusal::bad(
            format!(
                "n must be at most {MOST_ANSWERS}, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES \
                 environment variable."
            ),
            None,
        )),
        n => Ok(u32::try_from(n).unwrap_or(1)),
    }
}

/// The output limit; `max_completion_tokens` goes before `max_tokens`, and a completion without one gets 16 tokens.
fn limit(kind: Kind, fields: &Fields<'_>, max_model_len: u32) -> Result<Option<u32>, Refusal> {
    let older = fields.number("max_tokens")?;
    let newer = match kind {
        Kind::Chat => fields.number("max_completion_tokens")?,
        Kind::Completion => None,
    };
    let (name, asked) = match (newer, older, kind) {
        (Some(newer), _, _) => ("max_completion_tokens", newer),
        (None, Some(older), _) => ("max_tokens", older),
        (None, None, Kind::Completion) => ("max_tokens", 16),
        (None, None, Kind::Chat) => return Ok(None),
    };
    match u32::try_from(asked) {
        Ok(limit @ 1..) if limit <= max_model_len => Ok(Some(limit)),
        Ok(1..) => Err(Refusal::bad(
            format!(
                "{name}={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer output \
                 tokens. (parameter={name}, value={asked})"
            ),
            Some(name),
        )),
        _ => Err(Refusal::bad(
            format!("max_tokens must be at least 1, got {asked}. (parameter=max_tokens, value={asked})"),
            Some("max_tokens"),
        )),
    }
}

/// vLLM stops counting one token past the limit.
fn too_long(most: u32) -> Refusal {
    let tokens = u64::from(most) + 1;
    Refusal::bad(
        format!(
            "This model's maximum context length is {most} tokens. However, your prompt contains at least {tokens} input \
             tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input \
             prompt. (parameter=input_tokens, value={tokens})"
        ),
        Some("input_tokens"),
    )
}

/// The place is counted as Python counts it, from 0.
fn not_json(body: &[u8], error: &serde_json::Error) -> Refusal {
    let lines_before: usize = body.split_inclusive(|b| *b == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    let (at, problem) = if error.is_eof() {
        (lines_before + error.column(), "Expecting value")
    } else if error.to_string().starts_with("trailing comma") || error.to_string().starts_with("key must be") {
        let problem = "Expecting property name enclosed in double quotes";
        (lines_before + error.column() - 1, problem)
    } else if error.to_string().starts_with("expected ident") {
        // The first letter looked like `null`, `true` or `false`; the value starts there.
        (lines_before + error.column().saturating_sub(2), "Expecting value")
    } else {
        (lines_before + error.column().saturating_sub(1), "Expecting value")
    };
    Refusal {
        status: 400,
        kind: "Bad Request",
        message: format!(
            "1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body.{at}', 'msg': 'JSON decode error', 'input': \
             '<dict of 0 items>', 'ctx': {{'error': '{problem}'}}}}"
        ),
        param: Some(format!("body.{at}")),
    }
}

/// How an offending value is shown: containers by their size, text cut short.
fn summary(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.chars().take(200).collect(),
        Value::Array(list) => format!("<list of {} items>", list.len()),
        Value::Object(fields) => format!("<dict of {} items>", fields.len()),
    }
}

/// The fields of a body; one that is null is absent.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let problem = "Input should be a valid string";
                Err(Refusal::invalid("string_type", &format!("body.{name}"), problem, other))
            }
        }
    }

    fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(other) => {
                let problem = "Input should be a valid dictionary or object to extract fields from";
                Err(Refusal::invalid("model_attributes_type", &format!("body.{name}"), problem, other))
            }
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        flag(self.get(name), &format!("body.{name}"))
    }

    /// A whole number; a text of digits counts as one.
    fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let invalid = |kind, problem| Refusal::invalid(kind, &format!("body.{name}"), problem, value);
        match value {
            Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| {
                invalid("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }),
            Value::String(text) => text.trim().parse().map(Some).map_err(|_| {
                invalid("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }),
            _ => Err(invalid("int_type", "Input should be a valid integer")),
        }
    }
}

fn flag(value: Option<&Value>, at: &str) -> Result<bool, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => {
            let problem = "Input should be a valid boolean, unable to interpret input";
            Err(Refusal::invalid("bool_parsing", at, problem, other))
        }
    }
}

#[cfg(test)]
mod tests;
