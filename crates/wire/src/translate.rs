//! From one API's shape to another's: requests on their way to a target, answers and streams on their way back.
//!
//! Both ways lead through one model of a conversation, so that each shape needs a reader and a writer and knows nothing of
//! the others. Where client and target speak the same shape, nothing here is used: the bytes pass as they are.
//! [`request`] is the way there; [`answer`], [`Stream`] and [`Failure`] are the ways back. What happens to each field is in
//! docs/routes.md.

mod chat;
mod choice;
mod converse;
mod data_url;
mod events;
mod failure;
mod invoke;
mod json;
mod messages;
mod responses;
mod schema;
mod stream;
mod told;
mod write;

use std::fmt;

use http::StatusCode;

use crate::Dialect;
use crate::openai::ErrorBody;
use crate::unified::{Answer, Reasoning, Request, Role};

pub use self::failure::{Class, Failure};
pub use self::invoke::invoke;
pub use self::messages::own::{own_thoughts, wants_thread};
pub use self::responses::own::{Reader, own_reasoning};
pub use self::stream::{End, Stream};
pub use crate::unified::Tokens;

/// The shape of a request and of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's `/v1/chat/completions`, also spoken by Ollama and many others.
    Chat,
    /// OpenAI's `/v1/completions`: a text that is to be continued. Only passed on.
    Completions,
    /// OpenAI's `/v1/embeddings`. Only passed on.
    Embeddings,
    /// OpenAI's `/v1/responses`.
    Responses,
    /// Anthropic's `/v1/messages`.
    Messages,
    /// Bedrock's `Converse` and `ConverseStream`. Only translated into, and passed on.
    Converse,
}

impl Shape {
    /// The dialect in which a client of this shape is told of errors.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Embeddings => Dialect::OpenAi,
            Self::Responses => Dialect::Responses,
            Self::Messages => Dialect::Anthropic,
            Self::Converse => Dialect::Bedrock,
        }
    }
}

impl Shape {
    /// Where an API of this shape is asked, below the version in its base URL; `None` for Converse, whose path holds the
    /// model.
    #[must_use]
    pub fn path(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("/chat/completions"),
            Self::Completions => Some("/completions"),
            Self::Embeddings => Some("/embeddings"),
            Self::Responses => Some("/responses"),
            Self::Messages => Some("/messages"),
            Self::Converse => None,
        }
    }
}

/// The shape in which conversations are held in a dialect.
impl From<Dialect> for Shape {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Self::Chat,
            Dialect::Responses => Self::Responses,
            Dialect::Anthropic => Self::Messages,
            Dialect::Bedrock => Self::Converse,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Converse => "Converse",
        })
    }
}

/// What a request is translated for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model's name at the target.
    pub model: &'a str,
    /// Most completion tokens if the request does not say, for APIs that want it said (Messages).
    pub max_tokens: u32,
    /// The target follows OpenAI's API as of 2023, as Ollama and others do: it knows `max_tokens`, not
    /// `max_completion_tokens`, and takes `top_k`.
    pub compatible: bool,
}

/// A request in the target's shape.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The body to send. For Converse, `model` is a part of the path and `stream` is another path.
    pub body: Vec<u8>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Fields that the target does not know and that change nothing of what the answer means: hints for caches, labels,
    /// how closely to look. All others that cannot be said are refused.
    pub given_up: Vec<&'static str>,
    /// What the answer repeats of the request.
    pub echo: Echo,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// Whether a stream of chat completions is to end with its usage.
    pub(crate) include_usage: bool,
    /// Members of a response's body, from its request: JSON without the braces.
    pub(crate) members: String,
}

/// What an answer is made with besides the target's own answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's id, unique; the answer's id is made of it.
    pub id: String,
    /// When the request came, in seconds since 1970.
    pub created: u64,
    /// The model that the client asked for, for targets whose answers name none.
    pub model: String,
    /// From [`Translated`].
    pub echo: Echo,
}

/// An answer in the client's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The body to send.
    pub body: Vec<u8>,
    /// What the answer took, if the target said so.
    pub tokens: Option<Tokens>,
}

/// Whose fault it is that a request cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is wrong, whatever target it is for.
    Request,
    /// This target cannot do it; one that speaks the request's own shape may.
    Target,
}

/// Why a request cannot be translated. The client is told with status 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untranslatable {
    /// Where in the request, as in `messages[2].content[0].type`; empty for the whole of it.
    pub field: String,
    /// What is wrong with it there, and the way out where there is one.
    pub reason: &'static str,
    /// Whether another target could do it.
    pub fault: Fault,
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(self.reason),
            field => write!(f, "{field}: {}", self.reason),
        }
    }
}

impl std::error::Error for Untranslatable {}

impl Untranslatable {
    pub(crate) fn new(fault: Fault, reason: &'static str) -> Self {
        Self { field: String::new(), reason, fault }
    }

    /// The body that the client gets with status 400, in its own shape.
    #[must_use]
    pub fn body(&self, client: Shape, request_id: &str) -> Vec<u8> {
        let message = self.to_string();
        let code = Some(if self.fault == Fault::Target { "unsupported_by_target" } else { "invalid_value" });
        let param = Some(self.field.as_str()).filter(|field| !field.is_empty());
        let error = ErrorBody { message: &message, kind: "invalid_request_error", param, code };
        client.dialect().error_body(&error, StatusCode::BAD_REQUEST, request_id)
    }

    /// The same, of a member of this name.
    pub(crate) fn within(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// The same, of an item of a list.
    pub(crate) fn within_item(mut self, at: usize) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("[{at}]{dot}{}", self.field);
        self
    }
}

/// Why a target's answer of status 200 is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It is not JSON, or lacks what its shape must have.
    #[error("the target's answer does not have the shape of {0}")]
    Shape(Shape),
    /// A call's arguments are not a JSON object, which the client's shape cannot say.
    #[error("the target's call of a tool has arguments that are no JSON object")]
    Arguments,
    /// It is an error after all.
    #[error("the target failed: {}", .0.message)]
    Failed(Failure),
}

/// A field that more than one shape has, under whichever name.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Messages,
    Format,
    Parallel,
    Reasoning,
    Stop,
}

/// A request on its way from one shape to another.
pub(crate) struct Way<'a> {
    pub(crate) from: Shape,
    pub(crate) target: &'a Target<'a>,
    pub(crate) given_up: Vec<&'static str>,
    /// Bytes of the request, and so about those of what is written.
    pub(crate) room: usize,
}

impl Way<'_> {
    /// What the client calls a field.
    pub(crate) fn name(&self, field: Field) -> &'static str {
        match (field, self.from) {
            (Field::Messages, Shape::Responses) => "input",
            (Field::Messages, _) => "messages",
            (Field::Format, Shape::Responses) => "text.format",
            (Field::Format, Shape::Messages) => "output_config.format",
            (Field::Format, _) => "response_format",
            (Field::Parallel, Shape::Messages) => "tool_choice.disable_parallel_tool_use",
            (Field::Parallel, _) => "parallel_tool_calls",
            (Field::Reasoning, Shape::Messages) => "thinking",
            (Field::Reasoning, Shape::Responses) => "reasoning",
            (Field::Reasoning, _) => "reasoning_effort",
            (Field::Stop, Shape::Messages) => "stop_sequences",
            (Field::Stop, _) => "stop",
        }
    }

    /// Whether the target may be told how much to think by a client that does not know it. OpenAI's models before
    /// the fifth refuse it, as do some servers that are compatible.
    pub(crate) fn takes_effort(&self) -> bool {
        let model = self.target.model;
        let model = model.strip_prefix("ft:").unwrap_or(model);
        !self.target.compatible && !["gpt-4", "gpt-3.5", "chatgpt-"].iter().any(|old| model.starts_with(old))
    }

    /// Whether the target's model knows no effort above `high`, as those before GPT-5.2 do.
    fn thinks_up_to_high(&self) -> bool {
        let model = self.target.model;
        let first = model == "gpt-5" || model.starts_with("gpt-5-") || model.starts_with("gpt-5.1");
        (first && !model.ends_with("-max")) || ["o1", "o3", "o4"].iter().any(|old| model.starts_with(old))
    }

    /// OpenAI's word for how much to think. Budgets of tokens have none, so they are put into classes.
    pub(crate) fn effort(&mut self, reasoning: Option<&Reasoning>) -> Option<String> {
        let (effort, name) = match reasoning? {
            Reasoning::Effort(effort) => (Some(effort.as_str()), "output_config.effort"),
            Reasoning::Budget(tokens) => (Some(chat::request_out::class(*tokens)), "thinking"),
            Reasoning::Adaptive(effort) => (effort.as_deref(), "thinking"),
            // Not every model can be told so; those that do not think unless asked need not be.
            Reasoning::Off => return None,
        };
        let effort = effort.filter(|_| self.from != Shape::Messages || self.takes_effort());
        self.give_up(name, effort.is_none());
        let most = if self.from == Shape::Messages && self.thinks_up_to_high() { "high" } else { "xhigh" };
        effort.map(|effort| match effort {
            "max" => most.to_owned(),
            "xhigh" if most == "high" => most.to_owned(),
            effort => effort.to_owned(),
        })
    }

    /// Who asks, where OpenAI takes the name: it refuses longer ones, such as those of Claude Code.
    pub(crate) fn user<'r>(&mut self, request: &'r Request) -> Option<&'r str> {
        let user = request.user.as_deref()?;
        let fits = user.chars().count() <= MOST_OF_A_USER;
        let name = if self.from == Shape::Messages { "metadata.user_id" } else { "user" };
        self.give_up(name, !fits);
        fits.then_some(user)
    }

    /// A temperature or `top_p` that OpenAI has to be told: not 1, which is the usual one, and which models that reason
    /// do not want to hear. What is usual at servers that are compatible is not known.
    pub(crate) fn unusual<'r>(&self, number: Option<&'r serde_json::Number>) -> Option<&'r serde_json::Number> {
        number.filter(|number| self.target.compatible || number.as_f64() != Some(1.0))
    }

    /// Refuses what Anthropic's clients call a prefill: other APIs begin a new message behind the last one of the assistant.
    pub(crate) fn no_prefill(&self, request: &Request) -> Result<(), Untranslatable> {
        let begun = request.messages.last().is_some_and(|message| message.role == Role::Assistant);
        if begun && self.from == Shape::Messages {
            let why = "the target does not go on from the beginning of an answer: end with a message of the user";
            return Err(self.cannot(Field::Messages, why));
        }
        Ok(())
    }

    pub(crate) fn cannot(&self, field: Field, reason: &'static str) -> Untranslatable {
        json::cannot(reason).within(self.name(field))
    }

    /// Notes that a hint was given up, if it was there.
    pub(crate) fn give_up(&mut self, name: &'static str, there: bool) {
        if there && !self.given_up.contains(&name) {
            self.given_up.push(name);
        }
    }
}

/// Longest name of a user that OpenAI takes, in characters, by its own errors.
const MOST_OF_A_USER: usize = 64;

/// Before what a compatible server gave with a call and wants back with it: the JSON of its `extra_content`, in which Gemini
/// seals its thoughts.
pub(crate) const EXTRA_SEAL: &str = "extra:";
/// In the place of a seal: the thoughts came in `reasoning_content`. Servers that write it (DeepSeek's, Moonshot's) want it back
/// beside calls of tools.
pub(crate) const PLAIN_SEAL: &str = "plain:reasoning_content";
/// Before the seal of reasoning by OpenAI, where it stands in the place of Anthropic's: neither reads the other's.
pub(crate) const OPENAI_SEAL: &str = "openai:";

/// Before the seal of reasoning by Anthropic, where it stands in the place of OpenAI's.
pub(crate) const ANTHROPIC_SEAL: &str = "anthropic:";
/// Before thoughts that only Anthropic can read, in the same place.
pub(crate) const ANTHROPIC_SEALED: &str = "anthropic-redacted:";

/// Whether a seal says by its beginning that it is neither Anthropic's nor OpenAI's own where it stands.
pub(crate) fn is_foreign(seal: &str) -> bool {
    [OPENAI_SEAL, EXTRA_SEAL, PLAIN_SEAL].iter().any(|other| seal.starts_with(other))
}

/// Whether a seal can be Anthropic's own. In its place vLLM puts a random UUID (version 4, 32 digits without dashes); what
/// Anthropic writes is much longer.
pub(crate) fn is_anthropics(seal: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let uuid = seal.len() == 32 && seal.as_bytes()[12] == b'4' && seal.bytes().all(digit);
    !(seal.is_empty() || uuid || is_foreign(seal))
}

/// Translates a request's body.
///
/// # Errors
/// When the body is no request of its shape, or asks for something that the target's shape cannot say.
pub fn request(from: Shape, to: Shape, body: &[u8], target: &Target<'_>) -> Result<Translated, Untranslatable> {
    let mut way = Way { from, target, given_up: Vec::new(), room: body.len() + 1024 };
    let (request, members) = match from {
        Shape::Chat => (chat::request::read(body, &mut way)?, String::new()),
        Shape::Messages => (messages::request::read(body, &mut way)?, String::new()),
        Shape::Responses => responses::request::read(body, &mut way)?,
        Shape::Completions => {
            return Err(json::cannot(
                "the target answers conversations and cannot continue a bare text: use /v1/chat/completions",
            )
            .within("prompt"));
        }
        Shape::Embeddings => return Err(json::cannot("the target makes no embeddings").within("input")),
        Shape::Converse => return Err(json::cannot("Converse is for targets at Bedrock only")),
    };
    let body = write(&request, to, &mut way)?;
    let echo = Echo { include_usage: request.include_usage, members };
    Ok(Translated { body, stream: request.stream, given_up: way.given_up, echo })
}

/// As [`request`], for a target that has chat completions beside responses where `to` is the latter: what responses cannot say
/// (stop sequences, a very small limit) is said there. Gives the shape that the request has got, too.
///
/// # Errors
/// As [`request`].
pub fn request_at(
    from: Shape,
    to: Shape,
    body: &[u8],
    target: &Target<'_>,
) -> Result<(Shape, Translated), Untranslatable> {
    match request(from, to, body, target) {
        Err(why) if to == Shape::Responses && why.fault == Fault::Target => {
            request(from, Shape::Chat, body, target).map(|there| (Shape::Chat, there))
        }
        other => other.map(|there| (to, there)),
    }
}

fn write(request: &Request, to: Shape, way: &mut Way<'_>) -> Result<Vec<u8>, Untranslatable> {
    match to {
        Shape::Chat => chat::request_out::write(request, way),
        Shape::Messages => messages::request_out::write(request, way),
        Shape::Responses => responses::request_out::write(request, way),
        Shape::Converse => converse::request::write(request, way),
        Shape::Completions | Shape::Embeddings => Err(json::cannot("the target does not answer conversations")),
    }
}

/// Translates a whole answer of status 200.
///
/// # Errors
/// When the answer is none: the target has failed, whatever its status said.
pub fn answer(from: Shape, to: Shape, body: &[u8], asked: &Asked) -> Result<Whole, BadAnswer> {
    let answer: Answer = match from {
        Shape::Chat => chat::answer::read(body, &asked.id),
        Shape::Messages => messages::answer::read(body),
        Shape::Responses => responses::answer::read(body),
        Shape::Converse => converse::answer::read(body),
        Shape::Completions | Shape::Embeddings => Err(BadAnswer::Shape(from)),
    }?;
    let mut body = Vec::with_capacity(body.len() + 256);
    match to {
        Shape::Chat => chat::answer::write(&answer, asked, &mut body),
        Shape::Messages => messages::answer::write(&answer, asked, &mut body),
        Shape::Responses => responses::answer::write(&answer, asked, &mut body),
        Shape::Converse | Shape::Completions | Shape::Embeddings => return Err(BadAnswer::Shape(to)),
    }
    Ok(Whole { body, tokens: answer.tokens })
}

/// A `usage` of Converse.
pub(crate) fn converse_tokens(usage: &[u8]) -> Option<Tokens> {
    serde_json::from_slice::<converse::answer::Usage>(usage).ok()?.tokens()
}

#[cfg(test)]
mod tests;
