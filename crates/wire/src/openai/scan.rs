//! One pass over a request's body: is it one JSON object, and what do the few fields say that routing needs?
//!
//! Nothing is built but a few names. The engine reads the same bytes with another parser, so whatever two parsers could
//! read in two ways is refused here: a field that stands twice, a flag that is a text, a count with a fraction. What
//! routing does not read is left to the engine to judge.

use std::borrow::Cow;
use std::ops::Range;

pub use self::error::{ScanError, ScanProblem};
pub(super) use self::reader::Reader;

mod error;
mod reader;

/// Deepest nesting taken, as serde_json and most engines have it.
const DEEPEST: u32 = 128;
/// Most answers to one prompt, as vLLM has it by default.
const MOST_ANSWERS: u32 = 16_384;
/// Asks an engine to end a stream with the count of its tokens. It stands first in the object that it is put into.
const ASK_FOR_USAGE: &[u8] = br#""stream_options":{"include_usage":true},"#;

/// The members of the outermost object that are read. None may stand twice.
const KNOWN: [&str; 32] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "user",
    "metadata",
    "prompt_cache_key",
    "conversation",
    "session_id",
    "messages",
    "tools",
    "functions",
    "prompt",
    "suffix",
    "input",
    "system",
    "instructions",
    "query",
    "queries",
    "documents",
    "text_1",
    "text_2",
    "response_format",
    "text",
    "output_config",
    // As Bedrock's Converse has them.
    "toolConfig",
    "inferenceConfig",
    "outputConfig",
];

/// What routing reads of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The model asked for; `None` also when `model` is no text.
    pub model: Option<Model<'a>>,
    /// Whether the answer is to be streamed.
    pub stream: Option<bool>,
    /// What is said about the stream's contents.
    pub stream_options: StreamOptions,
    /// Most tokens of each answer: `max_completion_tokens`, or the older `max_tokens`, or `max_output_tokens`.
    pub max_tokens: Option<u32>,
    /// How many answers are asked for.
    pub n: Option<u32>,
    /// How many answers are made, of which the best `n` are given.
    pub best_of: Option<u32>,
    /// Whom the caller asks for: `user`, or `metadata.user_id`.
    pub user: Option<Cow<'a, str>>,
    /// The part of the application that asks: `metadata.feature`.
    pub feature: Option<Cow<'a, str>>,
    /// What the request continues: `prompt_cache_key`, `conversation` or `session_id`.
    pub session: Option<Cow<'a, str>>,
    /// How many messages there are, where `messages` is a list; for `input`, how many items.
    pub messages: u32,
    /// Whether tools or functions are offered to the model.
    pub tools: bool,
    /// Whether a part of a message says that it is an image.
    pub images: bool,
    /// Whether the answer must be JSON: `response_format`, `text.format` or `output_config.format` says another type than
    /// text.
    pub schema: bool,
    /// Where the value of `tools`, or else of `functions`, stands.
    pub tools_span: Option<Range<usize>>,
    /// Where the value of `messages`, `input` or `prompt` stands.
    pub prompt_span: Option<Range<usize>>,
    /// Bytes of all that the model reads, as JSON, but for encoded images, sounds and files.
    pub prompt_bytes: usize,
    /// Place right after the opening brace.
    inside: usize,
}

/// The model's name and its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// The name, unescaped.
    pub name: Cow<'a, str>,
    /// Where the value stands in the body, quotes included.
    pub span: Range<usize>,
}

/// What `stream_options` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StreamOptions {
    /// It is not there.
    #[default]
    Absent,
    /// It is `null`, at this place.
    Null(Range<usize>),
    /// It is an object.
    Given {
        /// Whether the stream is to end with the count of its tokens, if that is said.
        include_usage: Option<bool>,
    },
}

/// Judges a body and reads its fields.
///
/// # Errors
///
/// When the body is not one well-formed JSON object in UTF-8, or says in two ways or in a wrong one what routing reads.
pub fn scan(body: &[u8]) -> Result<Fields<'_>, ScanError> {
    if let Err(error) = simdutf8::compat::from_utf8(body) {
        return Err(ScanError { at: error.valid_up_to(), problem: ScanProblem::NotUtf8 });
    }
    let mut reader = Reader::new(body);
    let mut request = Request::default();
    reader.space();
    if reader.peek() != Some(b'{') {
        let marked = body.starts_with(b"\xEF\xBB\xBF");
        return Err(reader.wrong(if marked { ScanProblem::ByteOrderMark } else { ScanProblem::NotAnObject }));
    }
    request.fields.inside = reader.at + 1;
    reader.object(|reader, key, key_at| request.member(reader, key, key_at))?;
    reader.space();
    if reader.at < body.len() {
        return Err(reader.wrong(ScanProblem::TrailingText));
    }
    Ok(request.into_fields(&reader))
}

impl Fields<'_> {
    /// Tokens that all answers together may have, if the client set a limit.
    #[must_use]
    pub fn most_tokens(&self) -> Option<u64> {
        let answers = self.n.unwrap_or(1).max(self.best_of.unwrap_or(1));
        self.max_tokens.map(|each| u64::from(each) * u64::from(answers))
    }

    /// What to put where, to have a stream end with the count of its tokens. `None` when the client has said what it
    /// wants itself.
    #[must_use]
    pub fn ask_for_usage(&self) -> Option<Splice<'static>> {
        match &self.stream_options {
            StreamOptions::Absent => Some(Splice::new(self.inside..self.inside, ASK_FOR_USAGE)),
            StreamOptions::Null(span) => Some(Splice::new(span.clone(), br#"{"include_usage":true}"#)),
            StreamOptions::Given { .. } => None,
        }
    }
}

/// Bytes to be put in the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice<'a> {
    /// The place in the body; an empty one to insert.
    pub span: Range<usize>,
    /// What stands there then.
    pub with: Cow<'a, [u8]>,
}

impl<'a> Splice<'a> {
    /// `with` in the place of `span`.
    #[must_use]
    pub fn new(span: Range<usize>, with: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { span, with: with.into() }
    }

    /// Another model's name in the place of a JSON text.
    #[must_use]
    pub fn model(span: Range<usize>, name: &str) -> Self {
        // Text always serializes, so the fallback is never seen.
        Self { span, with: serde_json::to_vec(name).unwrap_or_default().into() }
    }
}

/// The body with some bytes replaced, in two parts: all up to the last change, and the rest as it came, which for most
/// requests is nearly all and is not copied. The places are in ascending order and apart.
#[must_use]
pub fn splice<'a>(body: &'a [u8], splices: &[Splice<'_>]) -> (Vec<u8>, &'a [u8]) {
    let (mut out, mut from) = (Vec::new(), 0);
    for splice in splices {
        out.extend_from_slice(&body[from..splice.span.start]);
        out.extend_from_slice(&splice.with);
        from = splice.span.end;
    }
    (out, &body[from..])
}

/// What was read so far.
#[derive(Default)]
struct Request<'a> {
    fields: Fields<'a>,
    /// A bit for each of [`KNOWN`].
    seen: u32,
    max_completion_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    metadata_user: Option<Cow<'a, str>>,
    /// The session hint's rank; a lesser one is kept.
    session_rank: u8,
}

impl<'a> Request<'a> {
    /// A member of the outermost object.
    fn member(&mut self, reader: &mut Reader<'a>, key: &str, key_at: usize) -> Result<(), ScanError> {
        // Lengths first: a body can have a hundred thousand keys.
        let place = KNOWN.iter().position(|known| known.len() == key.len() && *known == key);
        let Some(place) = place else { return reader.skip(1) };
        let name = KNOWN[place];
        if self.seen & (1 << place) != 0 {
            return Err(ScanError { at: key_at, problem: ScanProblem::Repeated(name) });
        }
        self.seen |= 1 << place;
        let start = reader.at;
        match name {
            "model" => {
                if reader.peek() != Some(b'"') {
                    return reader.skip(1);
                }
                let text = reader.text()?;
                let bad = ScanError { at: start, problem: ScanProblem::BadEscape };
                let name = reader.unescaped(&text).ok_or(bad)?;
                self.fields.model = Some(Model { name, span: text.span });
            }
            "stream" => self.fields.stream = flag(reader, name, 1)?,
            "stream_options" => self.fields.stream_options = stream_options(reader, name)?,
            "max_tokens" => self.fields.max_tokens = count(reader, 1, name, 0, u32::MAX)?,
            "max_completion_tokens" => self.max_completion_tokens = count(reader, 1, name, 0, u32::MAX)?,
            "max_output_tokens" => self.max_output_tokens = count(reader, 1, name, 0, u32::MAX)?,
            "n" => self.fields.n = count(reader, 1, name, 1, MOST_ANSWERS)?,
            "best_of" => self.fields.best_of = count(reader, 1, name, 0, MOST_ANSWERS)?,
            "user" => self.fields.user = hint(reader, 1)?,
            "metadata" => {
                let [user, feature] =
                    member_hints(reader, [("user_id", "metadata.user_id"), ("feature", "metadata.feature")])?;
                (self.metadata_user, self.fields.feature) = (user, feature);
            }
            "prompt_cache_key" => self.session(3, hint(reader, 1)?),
            "conversation" => self.session(2, member_hint(reader, "id", "conversation.id")?),
            "session_id" => self.session(1, hint(reader, 1)?),
            "response_format" => self.fields.schema |= asks_for_json(reader, 1)?,
            "text" | "output_config" => self.fields.schema |= format_asks_for_json(reader, "format")?,
            "outputConfig" => self.fields.schema |= format_asks_for_json(reader, "textFormat")?,
            "inferenceConfig" => self.inference_config(reader)?,
            "toolConfig" => self.tool_config(reader)?,
            _ => {
                let media = reader.media;
                let count =
                    if reader.peek() == Some(b'[') { reader.list(1, drop)? } else { reader.skip(1).map(|()| 0)? };
                match name {
                    "messages" | "input" => {
                        self.fields.messages = self.fields.messages.max(count);
                        self.fields.prompt_span = Some(start..reader.at);
                    }
                    "prompt" => self.fields.prompt_span = Some(start..reader.at),
                    "tools" | "functions" => {
                        self.fields.tools |= count > 0;
                        self.fields.tools_span.get_or_insert(start..reader.at);
                    }
                    _ => {}
                }
                let text = reader.at - start;
                self.fields.prompt_bytes += text.saturating_sub(reader.media - media);
            }
        }
        Ok(())
    }

    /// The limit that stands in Converse's parameters.
    fn inference_config(&mut self, reader: &mut Reader<'a>) -> Result<(), ScanError> {
        let name = "inferenceConfig.maxTokens";
        let mut seen = false;
        members(reader, |reader, key, key_at| {
            if key != "maxTokens" {
                return reader.skip(2);
            }
            if std::mem::replace(&mut seen, true) {
                return Err(ScanError { at: key_at, problem: ScanProblem::Repeated(name) });
            }
            self.max_output_tokens = count(reader, 2, name, 0, u32::MAX)?.or(self.max_output_tokens);
            Ok(())
        })
    }

    /// Converse's tools, which stand one level deeper than elsewhere.
    fn tool_config(&mut self, reader: &mut Reader<'a>) -> Result<(), ScanError> {
        let (start, mut seen) = (reader.at, false);
        members(reader, |reader, key, key_at| {
            let at = reader.at;
            if key != "tools" || reader.peek() != Some(b'[') {
                return reader.skip(2);
            }
            if std::mem::replace(&mut seen, true) {
                return Err(ScanError { at: key_at, problem: ScanProblem::Repeated("toolConfig.tools") });
            }
            self.fields.tools |= reader.list(2, drop)? > 0;
            self.fields.tools_span.get_or_insert(at..reader.at);
            Ok(())
        })?;
        self.fields.prompt_bytes += reader.at - start;
        Ok(())
    }

    fn session(&mut self, rank: u8, hint: Option<Cow<'a, str>>) {
        if hint.is_some() && rank > self.session_rank {
            (self.session_rank, self.fields.session) = (rank, hint);
        }
    }

    fn into_fields(self, reader: &Reader<'a>) -> Fields<'a> {
        let mut fields = self.fields;
        fields.images = reader.images;
        // Of two names for the same limit engines take the newer.
        fields.max_tokens = self.max_completion_tokens.or(fields.max_tokens).or(self.max_output_tokens);
        fields.user = fields.user.or(self.metadata_user);
        fields
    }
}

fn stream_options(reader: &mut Reader<'_>, name: &'static str) -> Result<StreamOptions, ScanError> {
    let start = reader.at;
    if reader.peek() != Some(b'{') {
        reader.skip(1)?;
        return match &reader.body[start..reader.at] {
            b"null" => Ok(StreamOptions::Null(start..reader.at)),
            _ => Err(ScanError { at: start, problem: ScanProblem::NotOptions(name) }),
        };
    }
    let (mut include_usage, mut seen, name) = (None, false, "stream_options.include_usage");
    reader.object(|reader, key, key_at| {
        if key != "include_usage" {
            return reader.skip(2);
        }
        if std::mem::replace(&mut seen, true) {
            return Err(ScanError { at: key_at, problem: ScanProblem::Repeated(name) });
        }
        include_usage = flag(reader, name, 2)?;
        Ok(())
    })?;
    Ok(StreamOptions::Given { include_usage })
}

/// Whether an object that describes a format has another type than `text`. A hint only: a description that says it twice is
/// the engine's to judge.
fn asks_for_json(reader: &mut Reader<'_>, depth: u32) -> Result<bool, ScanError> {
    if reader.peek() != Some(b'{') {
        reader.skip(depth)?;
        return Ok(false);
    }
    let mut json = false;
    reader.object(|reader, key, _| {
        let start = reader.at;
        reader.skip(depth + 1)?;
        json |= key == "type" && &reader.body[start..reader.at] != b"\"text\"";
        Ok(())
    })?;
    Ok(json)
}

/// The same of the member of this name of an object.
fn format_asks_for_json(reader: &mut Reader<'_>, name: &str) -> Result<bool, ScanError> {
    let mut json = false;
    members(reader, |reader, key, _| {
        if key != name {
            return reader.skip(2);
        }
        json |= asks_for_json(reader, 2)?;
        Ok(())
    })?;
    Ok(json)
}

/// The members of a value of the outermost object; none of what is no object.
fn members<'a>(
    reader: &mut Reader<'a>,
    member: impl FnMut(&mut Reader<'a>, &str, usize) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    if reader.peek() == Some(b'{') { reader.object(member) } else { reader.skip(1) }
}

fn flag(reader: &mut Reader<'_>, name: &'static str, depth: u32) -> Result<Option<bool>, ScanError> {
    let start = reader.at;
    reader.skip(depth)?;
    match &reader.body[start..reader.at] {
        b"true" => Ok(Some(true)),
        b"false" => Ok(Some(false)),
        b"null" => Ok(None),
        _ => Err(ScanError { at: start, problem: ScanProblem::NotAFlag(name) }),
    }
}

fn count(
    reader: &mut Reader<'_>,
    depth: u32,
    name: &'static str,
    least: u32,
    most: u32,
) -> Result<Option<u32>, ScanError> {
    let start = reader.at;
    reader.skip(depth)?;
    let value = &reader.body[start..reader.at];
    if value == b"null" {
        return Ok(None);
    }
    let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    let fits = number.filter(|number| (least..=most).contains(number));
    fits.map(Some).ok_or(ScanError { at: start, problem: ScanProblem::NotACount(name, least, most) })
}

/// A text, if the value is one that stands for whole characters; nothing depends on it that an engine would judge.
fn hint<'a>(reader: &mut Reader<'a>, depth: u32) -> Result<Option<Cow<'a, str>>, ScanError> {
    if reader.peek() == Some(b'"') {
        let text = reader.text()?;
        return Ok(reader.unescaped(&text));
    }
    reader.skip(depth)?;
    Ok(None)
}

/// A text, or the text that is this member of an object.
fn member_hint<'a>(
    reader: &mut Reader<'a>,
    member: &str,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, ScanError> {
    member_hints(reader, [(member, name)]).map(|[hint]| hint)
}

/// The texts that are these members of an object, each with its name for an error; or a text, for the first of them.
fn member_hints<'a, const N: usize>(
    reader: &mut Reader<'a>,
    members: [(&str, &'static str); N],
) -> Result<[Option<Cow<'a, str>>; N], ScanError> {
    let (mut found, mut seen) = ([const { None }; N], [false; N]);
    if reader.peek() != Some(b'{') {
        let hint = hint(reader, 1)?;
        if let Some(first) = found.first_mut() {
            *first = hint;
        }
        return Ok(found);
    }
    reader.object(|reader, key, key_at| {
        let Some(at) = members.iter().position(|(member, _)| key == *member) else { return reader.skip(2) };
        if std::mem::replace(&mut seen[at], true) {
            return Err(ScanError { at: key_at, problem: ScanProblem::Repeated(members[at].1) });
        }
        found[at] = hint(reader, 2)?;
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
