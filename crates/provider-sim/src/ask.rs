//! What a request asks for, whatever shape it came in.

pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod responses;

use serde_json::{Map, Value};

use crate::refusal::{Api, Cause, Refusal};

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    /// Whether the last word was a tool's.
    pub(crate) after_tool: bool,
    /// What the last message of the user says.
    pub(crate) last: String,
    /// Most tokens of the answer, reasoning included.
    pub(crate) limit: Option<u64>,
    pub(crate) stream: bool,
    /// Whether a stream of chat is to tell its usage.
    pub(crate) stream_usage: bool,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    /// Whether more than one tool may be called.
    pub(crate) parallel: bool,
    /// The form that the answer has to have.
    pub(crate) form: Form,
    pub(crate) reasons: bool,
    /// Answers to one prompt.
    pub(crate) count: u64,
    pub(crate) stop: Vec<String>,
    /// How many alternatives to each token are told, when probabilities are asked for.
    pub(crate) probabilities: Option<u64>,
    /// Fields that the answer repeats.
    pub(crate) fields: Map<String, Value>,
}

/// A tool that can be called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Which tool is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Form {
    #[default]
    Text,
    /// Any JSON object.
    Object,
    /// JSON that fits this schema.
    Schema(Value),
}

/// How long what is written into the cache stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    Minutes,
    Hour,
}

/// All text of a prompt, in the order in which a cache sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    pub(crate) images: u64,
    /// Where the client marked the end of a part to be cached.
    pub(crate) breaks: Vec<(usize, Ttl)>,
}

impl Prompt {
    /// Adds a text.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Adds what is no text, as it came.
    pub(crate) fn push_value(&mut self, value: &Value) {
        self.push(&value.to_string());
    }

    /// Marks the end of a part to be cached.
    pub(crate) fn mark(&mut self, ttl: Ttl) {
        self.breaks.push((self.text.len(), ttl));
    }
}

/// A request's body, read for one API.
pub(crate) struct Fields<'a> {
    pub(crate) api: Api,
    pub(crate) all: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object that the body has to be.
    pub(crate) fn of(api: Api, body: &'a Value) -> Result<Self, Refusal> {
        let all = body.as_object().ok_or_else(|| Refusal::new(Cause::Invalid, "The body must be a JSON object."))?;
        Ok(Self { api, all })
    }

    /// The field, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.all.get(name).filter(|value| !value.is_null())
    }

    /// A text that may be absent.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "a string"))).transpose()
    }

    /// A text that has to be there.
    pub(crate) fn needed_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::missing(self.api, name))
    }

    /// A truth; absent is false.
    pub(crate) fn truth(&self, name: &str) -> Result<bool, Refusal> {
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.wrong(name, "a boolean")))
    }

    /// A whole number from one up, that may be absent.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let read = |value: &Value| value.as_u64().filter(|n| *n > 0);
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name, "an integer of at least 1"))).transpose()
    }

    /// A list that may be absent.
    pub(crate) fn list(&self, name: &str) -> Result<&'a [Value], Refusal> {
        self.get(name).map_or(Ok(&[][..]), |value| {
            value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(name, "an array"))
        })
    }

    /// A list that has to be there and to hold something.
    pub(crate) fn needed_list(&self, name: &str) -> Result<&'a [Value], Refusal> {
        if self.get(name).is_none() {
            return Err(Refusal::missing(self.api, name));
        }
        match self.list(name)? {
            [] => Err(self.wrong(name, "a non-empty array")),
            list => Ok(list),
        }
    }

    /// A number within `range`, that may be absent.
    pub(crate) fn number(&self, name: &str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, Refusal> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let read = |value: &Value| value.as_f64().filter(|n| range.contains(n));
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name, &what))).transpose()
    }

    /// Texts, of which one alone may stand for a list of one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(all)) => {
                let read = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, "strings"));
                all.iter().map(read).collect()
            }
            Some(_) => Err(self.wrong(name, "a string or an array of strings")),
        }
    }

    /// A field of the wrong kind.
    pub(crate) fn wrong(&self, name: &str, wanted: &str) -> Refusal {
        let message = match self.api {
            Api::Anthropic => format!("{name}: Input should be {wanted}"),
            Api::Bedrock => format!("The value at {name} is invalid: it must be {wanted}"),
            Api::OpenAi | Api::Azure | Api::Compatible => {
                format!("Invalid type for '{name}': expected {wanted}.")
            }
        };
        Refusal::field(Cause::Invalid, name, message)
    }
}
