//! Where client and target speak different shapes: the request on its way there, and answers on their way back.

use http::{HeaderValue, header};
use router_core::Refusal;
use tokio::time::timeout_at;
use wire::http1::Head;
use wire::translate::{self, BadAnswer, Echo, Failure, Shape, Stream};

use super::asked::Asked;
use super::framed::Framed;
use super::limits::Limits;
use super::send::{Passage, refusal};
use super::settle::Record;
use crate::clock;
use crate::surface::Surface;
use crate::upstream::{AskError, Conn, EXCEPTION, is_events, is_frames};

/// Most tokens of an answer where the request sets no limit and the target wants one.
const USUAL_TOKENS: u32 = 4096;
/// Longest whole answer that is translated.
const MOST: usize = 32 * 1024 * 1024;

/// What the way back needs to know.
#[derive(Debug)]
pub(super) struct Back {
    /// The target's shape.
    pub(super) from: Shape,
    /// The client's.
    to: Shape,
    /// It is carried within InvokeModel: the answer is in the client's shape already, errors and frames are Bedrock's.
    pub(super) carries: bool,
    asked: translate::Asked,
    stream: bool,
}

impl Back {
    /// The body of the request in the target's shape, and the way back.
    pub(super) fn prepare(asked: &Asked<'_>, from: Shape, record: &Record) -> Result<(Vec<u8>, Self), Refusal> {
        let (ask, target) = (asked.ask, &asked.target.input);
        let unfit = |field: String, what: String| {
            let field = Some(field).filter(|field| !field.is_empty());
            Refusal::Unfit { upstream: record.upstream(), field, what }
        };
        let Some(to) = shape(asked.surface) else {
            return Err(unfit(String::new(), format!("answer {}", asked.surface.label())));
        };
        let wanted = translate::Target {
            model: target.model.as_deref().unwrap_or(&ask.model),
            max_tokens: USUAL_TOKENS,
            compatible: target.api == router_core::Api::OpenAiCompatible,
        };
        let (from, there) = translate::request_at(to, from, &ask.body, &wanted)
            .map_err(|why| unfit(why.field.clone(), format!("take this request: {why}")))?;
        let asked = answered(asked, there.echo, record);
        Ok((there.body, Self { from, to, carries: false, asked, stream: there.stream }))
    }

    /// The body of a request of messages for InvokeModel, and the way back.
    pub(super) fn invoke(asked: &Asked<'_>, record: &Record) -> Result<(Vec<u8>, Self), Refusal> {
        let betas = asked.ask.parts.headers.get_all("anthropic-beta").iter().filter_map(|beta| beta.to_str().ok());
        let own = translate::own_thoughts(&asked.ask.body, &asked.ask.model);
        let body = translate::invoke(own.as_deref().unwrap_or(&asked.ask.body), betas).map_err(|why| {
            let field = Some(why.field.clone()).filter(|field| !field.is_empty());
            Refusal::Unfit { upstream: record.upstream(), field, what: format!("take this request: {why}") }
        })?;
        let (shape, stream) = (Shape::Messages, asked.ask.stream);
        let asked = answered(asked, Echo::default(), record);
        Ok((body, Self { from: shape, to: shape, carries: true, asked, stream }))
    }

    /// An answer whose status is an error's, in the client's words.
    pub(super) fn failure(&self, head: &mut Head, body: &[u8], record: &Record) -> Passage {
        let kind = head.headers.get(EXCEPTION).and_then(|kind| kind.to_str().ok());
        let from = if self.carries { Shape::Converse } else { self.from };
        let failure = Failure::read(from, head.status, body, kind);
        head.status = failure.status_for(self.to);
        head.headers.remove(header::CONTENT_ENCODING);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Passage::Whole(failure.body(self.to, record.request_id()).into())
    }

    /// An answer that has begun well: a stream as it comes, any other one once it is whole.
    pub(super) async fn success(
        &self,
        head: &mut Head,
        conn: &mut Conn,
        limits: &Limits,
        record: &mut Record,
    ) -> Result<Passage, Refusal> {
        let strange = |why: String, record: &Record| Refusal::UpstreamStrange { upstream: record.upstream(), why };
        if is_frames(&head.headers) {
            if !self.stream {
                return Err(strange("it is a stream".to_owned(), record));
            }
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            let framed = if self.carries {
                Framed::unpacked(self.to.dialect())
            } else {
                let stream = Stream::new(self.from, self.to, self.asked.clone());
                Framed::translated(Box::new(stream.ok_or_else(|| strange("it is in frames".to_owned(), record))?))
            };
            return Ok(Passage::Framed(Box::new(framed)));
        }
        if is_events(&head.headers) {
            let stream = Stream::new(self.from, self.to, self.asked.clone()).filter(|_| self.stream);
            let stream = stream.ok_or_else(|| strange("it is a stream".to_owned(), record))?;
            return Ok(Passage::Translated(Box::new(stream)));
        }
        if self.carries {
            return Ok(Passage::Remote);
        }
        let read = timeout_at(limits.until, conn.whole(head, MOST)).await.unwrap_or(Err(AskError::Silent));
        let body = read.map_err(|error| refusal(&error, limits, record))?;
        let body = body.ok_or_else(|| strange(format!("it has more than {MOST} bytes"), record))?;
        record.look(&body);
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
        let whole = translate::answer(self.from, self.to, body, &self.asked).map_err(|why| match why {
            BadAnswer::Failed(_) => Refusal::UpstreamFailed { upstream: record.upstream() },
            BadAnswer::Shape(_) | BadAnswer::Arguments => strange(why.to_string(), record),
        })?;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Passage::Whole(whole.body.into()))
    }
}

/// What an answer of ours is made with.
fn answered(asked: &Asked<'_>, echo: Echo, record: &Record) -> translate::Asked {
    translate::Asked {
        id: record.request_id().to_owned(),
        created: clock::since_1970().as_secs(),
        model: asked.ask.model.clone(),
        echo,
    }
}

/// The shape of a surface that carries a conversation.
fn shape(surface: Surface) -> Option<Shape> {
    match surface {
        Surface::ChatCompletions => Some(Shape::Chat),
        Surface::Responses => Some(Shape::Responses),
        Surface::Messages => Some(Shape::Messages),
        _ => None,
    }
}
