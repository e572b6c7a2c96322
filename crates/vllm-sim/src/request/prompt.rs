//! Prompts: their lengths, what stands for their content, and the hashes of their blocks.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::{self, Fields};
use super::{Refusal, Served};
use crate::core::blocks::chain;
use crate::text::{key_of, mix, tokens_in};

/// A text to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Its length.
    pub(crate) tokens: u32,
    /// Stands for its content.
    pub(crate) key: u64,
    /// The chained hashes of its full blocks.
    pub(crate) hashes: Arc<[u64]>,
    /// The text itself.
    pub(crate) text: String,
}

/// What keeps equal texts apart in the cache: adapter and salt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cache {
    pub(super) block_size: u32,
    pub(super) apart: u64,
}

impl Prompt {
    pub(super) fn of_text(text: String, cache: Cache) -> Self {
        let block = usize::try_from(cache.block_size).unwrap_or(usize::MAX).saturating_mul(4).max(4);
        let hashes = hashes(text.as_bytes().chunks_exact(block).map(key_of), cache);
        Self { tokens: tokens_in(text.len()), key: key_of(text.as_bytes()), hashes, text }
    }

    pub(super) fn of_tokens(tokens: &[u32], cache: Cache) -> Self {
        let block = usize::try_from(cache.block_size).unwrap_or(usize::MAX).max(1);
        let key_of = |tokens: &[u32]| tokens.iter().fold(3, |key, token| mix(key ^ u64::from(*token)));
        Self {
            tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
            key: key_of(tokens),
            hashes: hashes(tokens.chunks_exact(block).map(key_of), cache),
            text: crate::text::text_of(tokens),
        }
    }

    /// Tokens that stand in full blocks.
    pub(crate) fn in_full_blocks(&self, block_size: u32) -> u32 {
        self.tokens / block_size.max(1) * block_size
    }
}

fn hashes(contents: impl Iterator<Item = u64>, cache: Cache) -> Arc<[u64]> {
    let mut before = cache.apart;
    contents
        .map(|content| {
            before = chain(before, content);
            before
        })
        .collect()
}

/// The text of a conversation: the roles and the texts of its messages.
pub(super) fn conversation(messages: &Value, roles: Option<&[&str]>) -> Result<String, Refusal> {
    let Value::Array(messages) = messages else {
        return Err(Refusal::invalid("list_type", "body.messages", "Input should be a valid list", messages));
    };
    let mut text = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let Some(Value::String(role)) = message.get("role") else {
            let at = format!("body.messages.{at}.role");
            return Err(Refusal::invalid("missing", &at, "Field required", message));
        };
        if let Some(roles) = roles.filter(|roles| !roles.contains(&role.as_str())) {
            return Err(unknown_role(at, role, roles));
        }
        text.push(role.as_str());
        match message.get("content") {
            None | Some(Value::Null) => {}
            Some(content @ (Value::String(_) | Value::Array(_))) => push_text(&mut text, content),
            Some(other) => {
                let at = format!("body.messages.{at}.content");
                return Err(Refusal::invalid("string_type", &at, "Input should be a valid string", other));
            }
        }
    }
    Ok(text.join("\n"))
}

fn unknown_role(at: usize, role: &str, roles: &[&str]) -> Refusal {
    let quoted: Vec<String> = roles.iter().map(|role| format!("'{role}'")).collect();
    let (last, others) = quoted.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
    let expected = format!("{} or {last}", others.join(", "));
    Refusal::invalid_with(
        "literal_error",
        &format!("body.messages.{at}.role"),
        &format!("\"Input should be {expected}\""),
        &Value::from(role),
        &format!(", 'ctx': {{'expected': \"{expected}\"}}"),
    )
}

/// The text of a content: itself, or that of its parts.
pub(super) fn push_text<'a>(out: &mut Vec<&'a str>, content: &'a Value) {
    match content {
        Value::String(text) => out.push(text),
        Value::Array(parts) => out.extend(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str))),
        _ => {}
    }
}

/// vLLM's words for a conversation without messages.
pub(super) fn empty_conversation() -> Refusal {
    let message = "Cannot apply chat template to an empty conversation. Provide at least one message.";
    Refusal::bad(message.to_owned(), None)
}

/// Token numbers of a list, when it is one.
pub(super) fn token_list(list: &[Value]) -> Option<Vec<u32>> {
    list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

/// A text to be cut into tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokenize {
    pub(crate) text: String,
    /// Whether the text of each token is wanted, too.
    pub(crate) texts: bool,
}

/// Reads the body of `/tokenize`.
///
/// # Errors
/// When vLLM would refuse it.
pub(crate) fn read_tokenize(body: &[u8], served: Served<'_>) -> Result<Tokenize, Refusal> {
    let object = fields::object(body)?;
    let fields = Fields(&object);
    let text = match (fields.get("prompt"), fields.get("messages")) {
        (Some(Value::String(text)), _) => text.clone(),
        (None, Some(messages)) => conversation(messages, None)?,
        (None, None) => return Err(Refusal::missing(&["prompt", "messages"], object.len())),
        (Some(other), _) => return Err(not_a_text(other, object.len())),
    };
    served.model(fields.text("model")?)?;
    Ok(Tokenize { text, texts: fields.flag("return_token_strs")? })
}

/// The body may be one of two; it is told why it is neither.
fn not_a_text(prompt: &Value, size: usize) -> Refusal {
    let first = Refusal::invalid("string_type", "body.prompt", "Input should be a valid string", prompt);
    let second = Refusal::missing(&["messages"], size);
    let list = |refusal: &Refusal| refusal.message.split_once(":\n").map_or("", |(_, list)| list).to_owned();
    let message = format!("2 validation errors:\n{}\n{}", list(&first), list(&second));
    Refusal { message, ..first }
}

/// Reads the body of `/detokenize`.
///
/// # Errors
/// When vLLM would refuse it.
pub(crate) fn read_detokenize(body: &[u8], served: Served<'_>) -> Result<Vec<u32>, Refusal> {
    let object: Map<String, Value> = fields::object(body)?;
    let fields = Fields(&object);
    let tokens = match fields.get("tokens") {
        Some(Value::Array(tokens)) => tokens,
        Some(other) => {
            return Err(Refusal::invalid("list_type", "body.tokens", "Input should be a valid list", other));
        }
        None => return Err(fields.missing("tokens", 0)),
    };
    let number = |(at, token): (usize, &Value)| {
        token.as_u64().and_then(|token| u32::try_from(token).ok()).ok_or_else(|| {
            let problem = "Input should be a valid integer, unable to parse string as an integer";
            Refusal::invalid("int_parsing", &format!("body.tokens.{at}"), problem, token)
        })
    };
    let tokens = tokens.iter().enumerate().map(number).collect::<Result<_, _>>()?;
    served.model(fields.text("model")?)?;
    Ok(tokens)
}
