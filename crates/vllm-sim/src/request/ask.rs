//! Requests for answers: chats, completions, messages, responses.

use serde_json::{Map, Value};

use super::fields::{self, Fields, flag};
use super::prompt::{Cache, Prompt, conversation, empty_conversation, push_text, token_list};
use super::{Refusal, Served};
use crate::text::{key_of, mix};

/// Which route a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
    Messages,
    Responses,
}

/// Which events of a stream tell the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usages {
    None,
    Last,
    Every,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    /// The name that answers.
    pub(crate) model: String,
    pub(crate) adapter: Option<u32>,
    /// One, but a completion may ask about several.
    pub(crate) prompts: Vec<Prompt>,
    /// Answers to each prompt.
    pub(crate) n: u32,
    /// Most tokens of each answer. Absent: the answer ends by itself.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stream: bool,
    pub(crate) usages: Usages,
    /// How many alternatives to tell for each token; absent when no probabilities are wanted.
    pub(crate) logprobs: Option<u32>,
    /// Whether an answer begins with its prompt.
    pub(crate) echo: bool,
    /// Whether nothing but the prompt is wanted.
    pub(crate) only_echo: bool,
    /// Words that end an answer.
    pub(crate) stop: Vec<String>,
    /// Whether such a word stays in the answer.
    pub(crate) keep_stop: bool,
    /// Tokens that end an answer.
    pub(crate) stop_tokens: Vec<u32>,
    /// The token that the request's bias allows alone.
    pub(crate) forced: Option<u32>,
    pub(crate) priority: i64,
    /// The fields, of which a response tells some again.
    pub(crate) fields: Map<String, Value>,
}

/// vLLM runs at most this many answers to one prompt (`VLLM_MAX_N_SEQUENCES`).
const MOST_ANSWERS: i64 = 16_384;
/// vLLM tells at most so many alternatives (`--max-logprobs`).
const MOST_LOGPROBS: i64 = 20;
/// vLLM takes at most so many words that end an answer.
const MOST_STOPS: usize = 4;
/// From this bias on, a token is the only one that can come.
const FORCING: f64 = 100.0;

/// Reads a body.
///
/// # Errors
/// When vLLM would refuse it.
pub(crate) fn read(kind: Kind, body: &[u8], served: Served<'_>) -> Result<Ask, Refusal> {
    let object = fields::object(body)?;
    let fields = Fields(&object);
    let model = fields.text("model")?;
    let stream = fields.flag("stream")?;
    let usages = usages(&fields, stream)?;
    let n = if kind == Kind::Messages { 1 } else { answers(fields.number("n")?)? };
    required(kind, &fields)?;
    let max_tokens = limit(kind, &fields, served.max_model_len)?;
    sampling(&fields, n, max_tokens)?;
    tools(kind, &fields, served.tools)?;
    if kind == Kind::Responses {
        unstored(&fields)?;
    }
    let salt = fields.text("cache_salt")?;
    if salt == Some("") {
        let message = "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)";
        return Err(Refusal::bad(message.to_owned(), Some("cache_salt")));
    }
    let stop = stops(&fields)?;
    let logprobs = logprobs(kind, &fields)?;
    let texts = texts(kind, &fields)?;
    let (name, adapter) = served.model(model)?;
    let apart =
        salt.map_or(0, |salt| mix(key_of(salt.as_bytes()))) ^ adapter.map_or(0, |number| mix(u64::from(number) + 1));
    let prompts = prompts(texts, Cache { block_size: served.block_size, apart })?;
    if prompts.iter().any(|prompt| prompt.tokens >= served.max_model_len) {
        return Err(Refusal::too_long(served.max_model_len));
    }
    let echo = kind == Kind::Completion && fields.flag("echo")?;
    Ok(Ask {
        kind,
        model: name,
        adapter,
        prompts,
        n,
        max_tokens: max_tokens.map(|most| most.max(1)),
        stream,
        usages,
        logprobs,
        echo,
        only_echo: echo && max_tokens == Some(0),
        stop,
        keep_stop: fields.flag("include_stop_str_in_output")?,
        stop_tokens: fields
            .get("stop_token_ids")
            .and_then(Value::as_array)
            .and_then(|ids| token_list(ids))
            .unwrap_or_default(),
        forced: forced(&fields),
        priority: fields.number("priority")?.unwrap_or(0),
        fields: object,
    })
}

fn usages(fields: &Fields<'_>, stream: bool) -> Result<Usages, Refusal> {
    let Some(options) = fields.object("stream_options")? else { return Ok(Usages::None) };
    if !stream {
        let message = "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
        return Err(Refusal::bad(message.to_owned(), Some("stream_options")));
    }
    let option = |name: &str| flag(options.get(name), &format!("body.stream_options.{name}"));
    Ok(match (option("include_usage")?, option("continuous_usage_stats")?) {
        (false, _) => Usages::None,
        (true, false) => Usages::Last,
        (true, true) => Usages::Every,
    })
}

/// Fields without which a request is none.
fn required(kind: Kind, fields: &Fields<'_>) -> Result<(), Refusal> {
    // A response's own id was filled in before.
    let (names, more): (&[&str], usize) = match kind {
        Kind::Chat => (&["messages"], 0),
        Kind::Completion => (&[], 0),
        Kind::Messages => (&["model", "messages", "max_tokens"], 0),
        Kind::Responses => (&["input"], 1),
    };
    let missing: Vec<&str> = names.iter().copied().filter(|name| fields.get(name).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { Err(Refusal::missing(&missing, fields.0.len() + more)) }
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

/// The output limit. A chat's `max_completion_tokens` goes before its `max_tokens`; a completion without one gets 16 tokens,
/// and may have none when it only wants its prompt back.
fn limit(kind: Kind, fields: &Fields<'_>, most: u32) -> Result<Option<u32>, Refusal> {
    let older = fields.number("max_tokens")?;
    let (name, asked) = match kind {
        Kind::Chat => match fields.number("max_completion_tokens")? {
            Some(newer) => ("max_completion_tokens", Some(newer)),
            None => ("max_tokens", older),
        },
        Kind::Completion => ("max_tokens", Some(older.unwrap_or(16))),
        Kind::Messages => ("max_completion_tokens", older),
        Kind::Responses => ("max_output_tokens", fields.number("max_output_tokens")?),
    };
    let Some(asked) = asked else { return Ok(None) };
    if kind == Kind::Messages && asked < 1 {
        return Err(Refusal::invalid_with(
            "value_error",
            "body.max_tokens",
            "'Value error, max_tokens must be positive'",
            &Value::from(asked),
            ", 'ctx': {'error': ValueError('max_tokens must be positive')}",
        ));
    }
    match u32::try_from(asked) {
        Ok(0) if kind == Kind::Completion && fields.flag("echo")? => Ok(Some(0)),
        Ok(limit @ 1..) if limit <= most => Ok(Some(limit)),
        Ok(1..) => {
            let problem = format!(
                "{name}={asked} cannot be greater than max_model_len={most}. Please request fewer output tokens."
            );
            Err(Refusal::value(name, &problem, &asked.to_string()))
        }
        _ => {
            let problem = format!("max_tokens must be at least 1, got {asked}.");
            Err(Refusal::value("max_tokens", &problem, &asked.to_string()))
        }
    }
}

fn sampling(fields: &Fields<'_>, n: u32, max_tokens: Option<u32>) -> Result<(), Refusal> {
    let temperature = fields.float("temperature")?;
    if let Some(value) = temperature.filter(|value| *value < 0.0) {
        let problem = format!("temperature must be non-negative, got {value:?}.");
        return Err(Refusal::value("temperature", &problem, &format!("{value:?}")));
    }
    if let Some(value) = fields.float("top_p")?.filter(|value| *value <= 0.0 || *value > 1.0) {
        let problem = format!("top_p must be in (0, 1], got {value:?}.");
        return Err(Refusal::value("top_p", &problem, &format!("{value:?}")));
    }
    if temperature == Some(0.0) && n > 1 {
        return Err(Refusal::bad(format!("n must be 1 when using greedy sampling, got {n}."), None));
    }
    if let (Some(least), Some(most)) = (fields.number("min_tokens")?, max_tokens)
        && least > i64::from(most)
    {
        let message = format!("min_tokens must be less than or equal to max_tokens={most}, got {least}.");
        return Err(Refusal::bad(message, None));
    }
    if fields.get("suffix").is_some() {
        let message = "suffix is only supported for models with FIM completion rendering";
        return Err(Refusal::bad(message.to_owned(), Some("suffix")));
    }
    Ok(())
}

/// A chat may name tools only where the engine was told how its model calls them.
fn tools(kind: Kind, fields: &Fields<'_>, (by_itself, at_all): (bool, bool)) -> Result<(), Refusal> {
    let named = fields.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    if kind != Kind::Chat || !named {
        return Ok(());
    }
    let message = match fields.get("tool_choice").and_then(Value::as_str) {
        None | Some("auto") if !by_itself => {
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"
        }
        Some("required") if !at_all => "tool_choice=\"required\" requires --tool-call-parser to be set",
        _ => return Ok(()),
    };
    Err(Refusal::bad(message.to_owned(), None))
}

/// Responses are not stored, so what needs a stored one is refused.
fn unstored(fields: &Fields<'_>) -> Result<(), Refusal> {
    if let Some(id) = fields.text("previous_response_id")? {
        return Err(Refusal::no_response(id));
    }
    if !fields.flag("background")? {
        return Ok(());
    }
    if fields.get("store") == Some(&Value::Bool(false)) {
        let message = "background can only be used when `store` is true (parameter=background)";
        return Err(Refusal::bad(message.to_owned(), Some("background")));
    }
    Err(Refusal {
        kind: "invalid_request_error",
        ..Refusal::bad(
            "This vLLM engine does not support `store=True` and therefore does not support the background mode. To enable \
             these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM \
             server."
                .to_owned(),
            Some("background"),
        )
    })
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    let list = match fields.get("stop").or_else(|| fields.get("stop_sequences")) {
        None => return Ok(Vec::new()),
        Some(Value::String(one)) => return Ok(vec![one.clone()]),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(Refusal::invalid("string_type", "body.stop", "Input should be a valid string", other));
        }
    };
    if list.len() > MOST_STOPS {
        let size = list.len();
        return Err(Refusal {
            message: format!(
                "2 validation errors:\n  {{'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid \
                 string', 'input': '<list of {size} items>'}}\n  {{'type': 'too_long', 'loc': 'body.stop', 'msg': 'List \
                 should have at most {MOST_STOPS} items after validation, not {size}', 'input': '<list of {size} \
                 items>', 'ctx': {{'field_type': 'List', 'max_length': {MOST_STOPS}, 'actual_length': {size}}}}}"
            ),
            ..Refusal::invalid("string_type", "body.stop", "", &Value::Null)
        });
    }
    Ok(list.iter().filter_map(|word| word.as_str().filter(|word| !word.is_empty()).map(str::to_owned)).collect())
}

fn logprobs(kind: Kind, fields: &Fields<'_>) -> Result<Option<u32>, Refusal> {
    let wanted = match kind {
        Kind::Chat if fields.flag("logprobs")? => Some(fields.number("top_logprobs")?.unwrap_or(0)),
        Kind::Chat => {
            if fields.number("top_logprobs")?.is_some_and(|count| count > 0) {
                let message = "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)";
                return Err(Refusal::bad(message.to_owned(), Some("top_logprobs")));
            }
            None
        }
        Kind::Completion => fields.number("logprobs")?,
        Kind::Messages | Kind::Responses => None,
    };
    match wanted {
        Some(count) if count > MOST_LOGPROBS => {
            let problem =
                format!("Requested sample logprobs of {count}, which is greater than max allowed: {MOST_LOGPROBS}");
            Err(Refusal::value("logprobs", &problem, &count.to_string()))
        }
        other => Ok(other.and_then(|count| u32::try_from(count).ok())),
    }
}

/// A bias so strong that nothing but its token can come.
fn forced(fields: &Fields<'_>) -> Option<u32> {
    let bias = fields.get("logit_bias")?.as_object()?;
    bias.iter().find(|(_, bias)| bias.as_f64().is_some_and(|bias| bias >= FORCING))?.0.parse().ok()
}

/// A prompt before it is measured.
enum Text {
    Words(String),
    Tokens(Vec<u32>),
}

fn prompts(texts: Vec<Text>, cache: Cache) -> Result<Vec<Prompt>, Refusal> {
    let measured = texts.into_iter().map(|text| match text {
        Text::Words(text) => Prompt::of_text(text, cache),
        Text::Tokens(tokens) => Prompt::of_tokens(&tokens, cache),
    });
    Ok(measured.collect())
}

fn texts(kind: Kind, fields: &Fields<'_>) -> Result<Vec<Text>, Refusal> {
    let words = |text: String| vec![Text::Words(text)];
    let empty = Value::Array(Vec::new());
    match kind {
        Kind::Completion => completion(fields),
        Kind::Chat => {
            let messages = fields.get("messages").unwrap_or(&empty);
            let text = conversation(messages, None)?;
            if messages == &empty { Err(empty_conversation()) } else { Ok(words(text)) }
        }
        Kind::Messages => {
            let messages = fields.get("messages").unwrap_or(&empty);
            let text = conversation(messages, Some(&["user", "assistant", "system"]))?;
            let mut system = Vec::new();
            if let Some(content) = fields.get("system") {
                system.push("system");
                push_text(&mut system, content);
            }
            system.push(&text);
            if messages == &empty { Err(empty_conversation()) } else { Ok(words(system.join("\n"))) }
        }
        Kind::Responses => {
            let mut text = Vec::new();
            if let Some(instructions) = fields.text("instructions")? {
                text.extend(["system", instructions]);
            }
            match fields.get("input") {
                Some(Value::String(input)) => text.extend(["user", input]),
                Some(Value::Array(items)) if items.is_empty() => return Err(empty_conversation()),
                Some(Value::Array(items)) => {
                    for item in items {
                        text.push(item.get("role").and_then(Value::as_str).unwrap_or("user"));
                        push_text(&mut text, item.get("content").unwrap_or(&Value::Null));
                    }
                }
                other => {
                    let problem = "Input should be a valid string";
                    return Err(Refusal::invalid("string_type", "body.input", problem, other.unwrap_or(&Value::Null)));
                }
            }
            Ok(words(text.join("\n")))
        }
    }
}

/// A completion takes a text, a list of token numbers, or a list of either.
fn completion(fields: &Fields<'_>) -> Result<Vec<Text>, Refusal> {
    let missing = || {
        let message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)";
        Refusal::bad(message.to_owned(), Some("prompt"))
    };
    let invalid = |value: &Value| Refusal::invalid("list_type", "body.prompt", "Input should be a valid list", value);
    let one = |value: &Value| match value {
        Value::String(text) => Ok(Text::Words(text.clone())),
        Value::Array(ids) => token_list(ids).map(Text::Tokens).ok_or_else(|| invalid(value)),
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
