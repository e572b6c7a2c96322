//! Requests to a model that answers with numbers: embeddings, classes, scores.

use serde_json::Value;

use super::fields::{self, Fields};
use super::prompt::{Cache, Prompt, push_text, token_list};
use super::{Refusal, Served};

/// Which route a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Embed,
    Classify,
    Pooling,
    Score,
    Rerank,
}

/// A request that can be answered: texts to be read, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pooled {
    /// The name that answers.
    pub(crate) model: String,
    pub(crate) adapter: Option<u32>,
    /// For scores: the two texts of each pair as one.
    pub(crate) prompts: Vec<Prompt>,
    /// The documents of a ranking.
    pub(crate) documents: Vec<String>,
    /// Whether numbers are wanted as base64.
    pub(crate) base64: bool,
    /// How many documents are wanted.
    pub(crate) best: Option<usize>,
}

/// Reads a body.
///
/// # Errors
/// When vLLM would refuse it.
pub(crate) fn read(pool: Pool, body: &[u8], served: Served<'_>) -> Result<Pooled, Refusal> {
    let object = fields::object(body)?;
    let fields = Fields(&object);
    let model = fields.text("model")?;
    let cache = |adapter: Option<u32>| Cache {
        block_size: served.block_size,
        apart: adapter.map_or(0, |number| u64::from(number) + 1),
    };
    let list =
        |name: &str| fields.get(name).ok_or_else(|| fields.missing(name, 0)).and_then(|value| texts(name, value));
    let (firsts, seconds) = match pool {
        Pool::Embed | Pool::Classify | Pool::Pooling => (Vec::new(), inputs(&fields)?),
        Pool::Rerank => (list("query")?, list("documents")?),
        Pool::Score if fields.get("queries").is_some() => (list("queries")?, list("documents")?),
        Pool::Score => (list("text_1")?, list("text_2")?),
    };
    // Unlike a generating model's refusal, this one names no others.
    let (model, adapter) = served.model(model).map_err(|refusal| Refusal {
        message: format!("The model `{}` does not exist.", model.unwrap_or_default()),
        param: None,
        ..refusal
    })?;
    empty(&seconds)?;
    if let Some(dimensions) = fields.number("dimensions")? {
        let message = format!(
            "Model '{model}' does not support Matryoshka embeddings; dimensions must be unset (received \
             dimensions={dimensions})."
        );
        return Err(Refusal::bad(message, None));
    }
    let prompts: Vec<Prompt> = match pool {
        Pool::Score | Pool::Rerank => {
            let pairs = firsts.len().max(seconds.len());
            let at =
                |list: &[Input], at: usize| list.get(at).or_else(|| list.first()).map(Input::text).unwrap_or_default();
            (0..pairs)
                .map(|pair| Prompt::of_text(format!("{}\n{}", at(&firsts, pair), at(&seconds, pair)), cache(adapter)))
                .collect()
        }
        _ => seconds.iter().map(|input| input.prompt(cache(adapter))).collect(),
    };
    if prompts.iter().any(|prompt| prompt.tokens > served.max_model_len) {
        return Err(Refusal::too_long(served.max_model_len));
    }
    let count = |name: &str| -> Result<Option<usize>, Refusal> {
        Ok(fields.number(name)?.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0))
    };
    Ok(Pooled {
        model,
        adapter,
        prompts,
        documents: if pool == Pool::Rerank { seconds.iter().map(Input::text).collect() } else { Vec::new() },
        base64: fields.text("encoding_format")? == Some("base64"),
        best: count("top_n")?,
    })
}

enum Input {
    Words(String),
    Tokens(Vec<u32>),
}

impl Input {
    fn text(&self) -> String {
        match self {
            Self::Words(text) => text.clone(),
            Self::Tokens(tokens) => crate::text::text_of(tokens),
        }
    }

    fn prompt(&self, cache: Cache) -> Prompt {
        match self {
            Self::Words(text) => Prompt::of_text(text.clone(), cache),
            Self::Tokens(tokens) => Prompt::of_tokens(tokens, cache),
        }
    }
}

/// There must be something to read.
fn empty(inputs: &[Input]) -> Result<(), Refusal> {
    let message = if inputs.is_empty() {
        "You must pass at least one prompt"
    } else if inputs.iter().any(|input| input.text().is_empty()) {
        "The decoder prompt cannot be empty"
    } else {
        return Ok(());
    };
    Err(Refusal::bad(message.to_owned(), None))
}

/// `input` is a text, a list of token numbers, or a list of either; or there are `messages`.
fn inputs(fields: &Fields<'_>) -> Result<Vec<Input>, Refusal> {
    if let (None, Some(messages)) = (fields.get("input"), fields.get("messages")) {
        return Ok(vec![Input::Words(super::prompt::conversation(messages, None)?)]);
    }
    let input = fields.get("input").ok_or_else(|| fields.missing("input", 0))?;
    if let Some(tokens) = input.as_array().filter(|list| !list.is_empty()).and_then(|list| token_list(list)) {
        return Ok(vec![Input::Tokens(tokens)]);
    }
    texts("input", input)
}

fn texts(name: &str, value: &Value) -> Result<Vec<Input>, Refusal> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(Input::Words(text.clone())),
        Value::Array(tokens) => token_list(tokens).map(Input::Tokens),
        Value::Object(parts) => {
            let mut text = Vec::new();
            push_text(&mut text, parts.get("content").unwrap_or(&Value::Null));
            Some(Input::Words(text.join("\n")))
        }
        _ => None,
    };
    let all = match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => one(other).map(|input| vec![input]),
    };
    all.ok_or_else(|| Refusal::invalid("string_type", &format!("body.{name}"), "Input should be a valid string", value))
}
