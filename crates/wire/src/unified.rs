//! One conversation with a model, whichever API told of it: what was asked, what was answered, and the events of a stream.
//!
//! Every dialect is read into these types and written from them, so that four dialects need four readers and four
//! writers, not twelve translations. What stands here is what at least two dialects can say.

use std::borrow::Cow;

use serde_json::Number;

/// A JSON text, kept as it came: the order of a schema's members and the form of its numbers are part of what a model
/// is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) String);

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called at once; every API allows it if nothing is said.
    pub(crate) parallel_tools: Option<bool>,
    pub(crate) format: Option<Format>,
    /// Most completion tokens, reasoning included.
    pub(crate) max_tokens: Option<u64>,
    pub(crate) temperature: Option<Number>,
    pub(crate) top_p: Option<Number>,
    pub(crate) top_k: Option<u64>,
    pub(crate) frequency_penalty: Option<Number>,
    pub(crate) presence_penalty: Option<Number>,
    pub(crate) seed: Option<Number>,
    pub(crate) stop: Vec<String>,
    pub(crate) reasoning: Option<Reasoning>,
    /// How long the answer should be: low, medium, high.
    pub(crate) verbosity: Option<String>,
    /// In OpenAI's words; `None` for the usual one.
    pub(crate) service_tier: Option<String>,
    pub(crate) user: Option<String>,
    /// Which requests share a beginning, so that they may share a cache.
    pub(crate) cache_key: Option<String>,
    /// The caller's own notes on the request.
    pub(crate) metadata: Option<Json>,
    pub(crate) stream: bool,
    /// Whether a stream is to end with its usage, where that is the client's choice.
    pub(crate) include_usage: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: Vec<Block>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) content: Content,
    /// The prompt up to here is worth keeping.
    pub(crate) cache: Option<Keep>,
}

impl From<Content> for Block {
    fn from(content: Content) -> Self {
        Self { content, cache: None }
    }
}

/// How long a prompt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Minutes,
    Hour,
}

/// What a part of a message is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Text(String),
    Refusal(String),
    Image {
        source: Source,
        /// How closely to look: auto, low, high.
        detail: Option<String>,
    },
    Document {
        source: Source,
        name: Option<String>,
    },
    /// A call of a tool. The arguments are one JSON object.
    ToolCall {
        id: String,
        name: String,
        arguments: Json,
    },
    ToolResult {
        id: String,
        content: Vec<Self>,
        failed: bool,
    },
    /// What the model thought, and the provider's seal on it.
    Reasoning {
        text: String,
        signature: Option<String>,
    },
    /// Thoughts that only the provider can read.
    Sealed(String),
}

/// Where the bytes of an image or a document are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Url(String),
    /// In the request itself, in base64.
    Inline {
        media_type: String,
        base64: String,
    },
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// JSON schema of its arguments.
    pub(crate) schema: Option<Json>,
    pub(crate) strict: Option<bool>,
    pub(crate) cache: Option<Keep>,
}

/// Which tools the model has to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    Auto,
    None,
    /// One or more, whichever it likes.
    Any,
    Named(String),
}

/// The form of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Some JSON object.
    Object,
    Schema {
        name: Option<String>,
        description: Option<String>,
        schema: Json,
        strict: Option<bool>,
    },
}

/// How much the model should think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reasoning {
    Off,
    /// none, minimal, low, medium, high, xhigh, max.
    Effort(String),
    /// At most so many tokens.
    Budget(u64),
    /// As much as the model finds right, with this effort if one is named.
    Adaptive(Option<String>),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The model that answered, if it is named.
    pub(crate) model: Option<String>,
    pub(crate) content: Vec<Content>,
    pub(crate) stop: Stop,
    pub(crate) tokens: Option<Tokens>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The model had said all.
    End,
    /// One of the request's stop sequences, if it is known which.
    Sequence(Option<String>),
    /// The limit of completion tokens.
    Length,
    /// The model's context is full.
    Context,
    /// The model waits for results of tools.
    ToolUse,
    /// The provider's or the model's own rules.
    Refused,
    /// The provider wants the same conversation again to go on.
    Pause,
}

/// Tokens read and written. Each token is counted in one field only, but for `reasoning`, which is a part of `completion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt tokens that were neither read from a cache nor written to one.
    pub prompt: u64,
    /// Prompt tokens read from a cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache.
    pub cache_write: u64,
    /// Those of `cache_write` that are kept for an hour.
    pub cache_write_hour: u64,
    /// Tokens of the answer, reasoning included.
    pub completion: u64,
    /// Those of `completion` that are reasoning, where the provider says.
    pub reasoning: Option<u64>,
}

impl Tokens {
    /// All that the model read.
    #[must_use]
    pub fn whole_prompt(&self) -> u64 {
        self.prompt.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// All that was read and written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.whole_prompt().saturating_add(self.completion)
    }
}

/// One step of a stream. Blocks are not announced: they change when another kind of piece comes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event<'a> {
    /// The answer has begun. `tokens` is what is known of its prompt.
    Start {
        model: Option<Cow<'a, str>>,
        tokens: Option<Tokens>,
    },
    Text(Cow<'a, str>),
    Refusal(Cow<'a, str>),
    Reasoning(Cow<'a, str>),
    /// Seals the reasoning since the last seal.
    Signature(Cow<'a, str>),
    Sealed(Cow<'a, str>),
    /// Another call of a tool. Its arguments come until the next one.
    ToolCall {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
    },
    Arguments(Cow<'a, str>),
    Stop(Stop),
    /// Replaces what was told of tokens before.
    Tokens(Tokens),
    /// The stream is whole.
    End,
}
