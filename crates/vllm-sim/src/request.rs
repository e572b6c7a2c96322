//! What requests ask for, read as vLLM reads them, and refused with its words where it refuses them.

use serde_json::Value;

mod ask;
mod fields;
mod pooling;
mod prompt;

pub(crate) use ask::{Ask, Kind, Usages, read};
pub(crate) use fields::object;
pub(crate) use pooling::{Pool, Pooled, read as read_pooling};
pub(crate) use prompt::{Prompt, read_detokenize, read_tokenize};

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
    /// Adapters by their names, each with its number.
    pub(crate) adapters: &'a [(String, u32)],
    pub(crate) max_model_len: u32,
    /// Tokens of a block of the cache.
    pub(crate) block_size: u32,
    /// Whether a model may choose tools by itself, and whether it may be made to.
    pub(crate) tools: (bool, bool),
}

impl Served<'_> {
    /// The name that answers for the asked one, and the adapter behind it.
    fn model(&self, asked: Option<&str>) -> Result<(String, Option<u32>), Refusal> {
        let first = || self.names.first().cloned().unwrap_or_default();
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok((first(), None)) };
        if self.names.iter().any(|known| known == asked) {
            return Ok((first(), None));
        }
        match self.adapters.iter().find(|(name, _)| name == asked) {
            Some((name, number)) => Ok((name.clone(), Some(*number))),
            None => Err(Refusal::unknown_model(asked, self.names)),
        }
    }
}

impl Refusal {
    /// A request that makes no sense.
    pub(crate) fn bad(message: String, param: Option<&str>) -> Self {
        Self { status: 400, kind: "BadRequestError", message, param: param.map(str::to_owned) }
    }

    /// A parameter with a value that makes no sense.
    fn value(param: &str, problem: &str, value: &str) -> Self {
        Self::bad(format!("{problem} (parameter={param}, value={value})"), Some(param))
    }

    /// A value that does not fit the request's schema.
    pub(crate) fn invalid(kind: &str, at: &str, problem: &str, input: &Value) -> Self {
        Self::invalid_with(kind, at, &format!("'{problem}'"), input, "")
    }

    /// The same with the problem as Python shows it, and with more about the rule that was broken.
    pub(crate) fn invalid_with(kind: &str, at: &str, problem: &str, input: &Value, more: &str) -> Self {
        let input = fields::summary(input);
        Self {
            status: 400,
            kind: "Bad Request",
            message: format!(
                "1 validation error:\n  {{'type': '{kind}', 'loc': '{at}', 'msg': {problem}, 'input': '{input}'{more}}}"
            ),
            param: Some(at.to_owned()),
        }
    }

    /// A body of `size` fields that lacks some.
    pub(crate) fn missing(names: &[&str], size: usize) -> Self {
        let of = |name: &&str| {
            format!(
                "\n  {{'type': 'missing', 'loc': 'body.{name}', 'msg': 'Field required', 'input': '<dict of {size} \
                 items>'}}"
            )
        };
        let plural = if names.len() == 1 { "" } else { "s" };
        let list: String = names.iter().map(of).collect();
        Self {
            status: 400,
            kind: "Bad Request",
            message: format!("{} validation error{plural}:{list}", names.len()),
            param: names.first().map(|name| format!("body.{name}")),
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

    /// A prompt that is longer than the model. vLLM stops counting one token past the limit.
    fn too_long(most: u32) -> Self {
        let tokens = u64::from(most) + 1;
        Self::bad(
            format!(
                "This model's maximum context length is {most} tokens. However, your prompt contains at least {tokens} \
                 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the \
                 input prompt. (parameter=input_tokens, value={tokens})"
            ),
            Some("input_tokens"),
        )
    }

    fn unknown_model(asked: &str, names: &[String]) -> Self {
        Self {
            status: 404,
            kind: "NotFoundError",
            message: format!("The model `{asked}` does not exist. Valid aliases: {}.", names.join(", ")),
            param: Some("model".to_owned()),
        }
    }

    /// A stored response that is not stored.
    pub(crate) fn no_response(id: &str) -> Self {
        Self {
            status: 404,
            kind: "invalid_request_error",
            message: format!("Response with id '{id}' not found."),
            param: Some("response_id".to_owned()),
        }
    }

    /// A request beyond a limit of the queue.
    pub(crate) fn busy() -> Self {
        Self {
            status: 503,
            kind: "Service Unavailable",
            message: "The engine is currently busy and cannot accept new requests. Please try again later or on a \
                      different instance."
                .to_owned(),
            param: None,
        }
    }

    /// Something that went wrong within.
    pub(crate) fn server(message: &str) -> Self {
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

#[cfg(test)]
mod tests;
