//! The view of a request that rules are written over.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use http::HeaderMap;
use wire::openai::{Fields, outline};

use crate::complexity::{self, Complexity, Features};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// Texts by name.
    Headers,
}

impl Kind {
    /// CEL's name for it.
    #[must_use]
    pub fn cel(self) -> &'static str {
        match self {
            Self::Flag => "bool",
            Self::Number => "int",
            Self::Text => "string",
            Self::Texts => "list(string)",
            Self::Headers => "map(string, string)",
        }
    }
}

/// A field of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name after `request.`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Every value that it can have; empty where that is no closed set.
    pub values: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

const fn field(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, kind, values: &[], meaning }
}

/// Every field of the view, as documented in docs/routes.md.
pub const FIELDS: [Field; 19] = [
    field("model", Kind::Text, "The model that the client asks for."),
    Field {
        values: &[
            "chat_completions",
            "completions",
            "responses",
            "messages",
            "count_tokens",
            "embeddings",
            "rerank",
            "score",
            "classify",
            "pooling",
            "tokenize",
            "detokenize",
            "transcriptions",
            "translations",
            "converse",
            "invoke",
        ],
        ..field("surface", Kind::Text, "The API that the client speaks.")
    },
    field("stream", Kind::Flag, "Whether the answer is to be streamed."),
    field("messageCount", Kind::Number, "How many messages, or items of `input`, the request holds."),
    field(
        "estimatedTokens",
        Kind::Number,
        "Tokens of the prompt, estimated as a quarter of its bytes; images and files left out.",
    ),
    field("maxTokens", Kind::Number, "Most tokens of the answer, as the client has it; 0 when it sets no limit."),
    field("tools", Kind::Texts, "Names of the tools offered to the model, at most 128 of them."),
    field("images", Kind::Flag, "Whether a message holds an image."),
    field("schema", Kind::Flag, "Whether the answer must be JSON: by a schema, or in JSON mode."),
    field(
        "headers",
        Kind::Headers,
        "The request's headers by name. One that is missing reads as the empty text; of one that stands several times, the first counts.",
    ),
    field("caller", Kind::Text, "Who sent the request, as authenticated; empty for an anonymous one."),
    field(
        "user",
        Kind::Text,
        "Whom the caller asks for, as the request says: `user`, or `metadata.user_id`; empty when it does not.",
    ),
    field("namespace", Kind::Text, "The namespace of the policy."),
    field(
        "region",
        Kind::Text,
        "The region that the router runs in, as set with `--region`; empty when it is not set.",
    ),
    Field {
        values: &["trivial", "moderate", "complex"],
        ..field("complexity", Kind::Text, "How hard the request is.")
    },
    field("complexityScore", Kind::Number, "The points behind `complexity`."),
    field("hour", Kind::Number, "The hour of the day, 0 to 23, in UTC."),
    field(
        "requestsToday",
        Kind::Number,
        "Requests that the policy has had since midnight UTC before this one, at all routers together.",
    ),
    field(
        "tokensToday",
        Kind::Number,
        "Tokens of prompts and answers that its targets have counted since midnight UTC, at all routers together.",
    ),
];

/// Where the parts of a request's body stand that few rules need. They are read when a rule asks for them, once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    /// The value of `tools` or `functions`, as JSON.
    pub tools: Option<&'a [u8]>,
    /// The value of `messages`, `input` or `prompt`, as JSON.
    pub prompt: Option<&'a [u8]>,
}

/// What the one pass over a body noted for rules.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Messages or items.
    pub message_count: u32,
    /// Whether there are images.
    pub images: bool,
    /// Whether the answer must be JSON.
    pub schema: bool,
    /// Where the tools stand.
    tools: Option<Range<usize>>,
    /// Where the prompt stands.
    prompt: Option<Range<usize>>,
}

impl Outline {
    /// The outline of a body with these fields.
    #[must_use]
    pub fn of(fields: &Fields<'_>) -> Self {
        Self {
            message_count: fields.messages,
            images: fields.images,
            schema: fields.schema,
            tools: fields.tools_span.clone(),
            prompt: fields.prompt_span.clone(),
        }
    }

    /// The parts of that body which few rules need.
    #[must_use]
    pub fn parts<'a>(&self, body: &'a [u8]) -> Body<'a> {
        let part = |span: &Option<Range<usize>>| body.get(span.clone()?);
        Body { tools: part(&self.tools), prompt: part(&self.prompt) }
    }
}

/// A request as rules see it.
#[derive(Debug)]
pub struct Request<'a> {
    /// See [`FIELDS`], as for all that follow.
    pub model: &'a str,
    /// The surface's label.
    pub surface: &'a str,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Messages or items.
    pub message_count: u32,
    /// Tokens of the prompt.
    pub estimated_tokens: u64,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Whether there are images.
    pub images: bool,
    /// Whether the answer must be JSON.
    pub schema: bool,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub caller: &'a str,
    /// Whom the caller asks for.
    pub user: &'a str,
    /// The policy's namespace.
    pub namespace: &'a str,
    /// The router's region.
    pub region: &'a str,
    /// The hour in UTC.
    pub hour: u8,
    /// What the policy has had today.
    pub today: Today,
    /// Parts of the body.
    pub body: Body<'a>,
    /// What was read of them.
    pub read: Read<'a>,
}

/// What a policy has had since midnight UTC, at all routers together as far as this one knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Today {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
}

/// What was read of the body, because a rule asked for it.
#[derive(Debug, Default)]
pub struct Read<'a> {
    tools: OnceCell<Vec<Cow<'a, str>>>,
    complexity: OnceCell<Complexity>,
}

impl Read<'_> {
    /// Nothing was read yet, but how hard the request is has been found out.
    #[must_use]
    pub fn knowing(complexity: Complexity) -> Self {
        Self { tools: OnceCell::new(), complexity: OnceCell::from(complexity) }
    }
}

impl<'a> Request<'a> {
    /// The names of the tools that are offered.
    #[must_use]
    pub fn tools(&self) -> &[Cow<'a, str>] {
        self.read.tools.get_or_init(|| self.body.tools.map(outline::tool_names).unwrap_or_default())
    }

    /// How hard the request is.
    #[must_use]
    pub fn complexity(&self) -> &Complexity {
        self.read.complexity.get_or_init(|| {
            let text = self.last_words();
            complexity::judge(&Features {
                text: &text,
                prompt_tokens: self.estimated_tokens,
                messages: self.message_count,
                tools: u32::try_from(self.tools().len()).unwrap_or(u32::MAX),
                images: self.images,
                schema: self.schema,
            })
        })
    }

    /// How hard the request was found to be, if anything asked.
    #[must_use]
    pub fn complexity_if_judged(&self) -> Option<&Complexity> {
        self.read.complexity.get()
    }

    /// What the user said last, as far as the request says it in words.
    #[must_use]
    pub fn last_words(&self) -> Cow<'a, str> {
        self.body.prompt.map(outline::last_words).unwrap_or_default()
    }

    /// A header's value; empty when it is missing or no text.
    pub(crate) fn header(&self, name: &http::HeaderName) -> &'a str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
