//! Where client and target speak different shapes: the request on its way there, and answers on their way back.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use router_core::Refusal;
use tokio::time::timeout_at;
use wire::http1::{BodyDecoder, Head, Step};
use wire::translate::{self, BadAnswer, Failure, Shape, Stream};

use super::limits::Limits;
use super::remote::Asked;
use super::send::{Passage, refusal};
use super::settle::Record;
use crate::request_log;
use crate::surface::Surface;
use crate::upstream::{AskError, Conn, is_events};

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
        let there = translate::request(to, from, &ask.body, &wanted)
            .map_err(|why| unfit(why.field.clone(), format!("take this request: {why}")))?;
        let asked = translate::Asked {
            id: record.request_id().to_owned(),
            created: request_log::now().as_secs(),
            model: ask.model.clone(),
            echo: there.echo,
        };
        Ok((there.body, Self { from, to, asked, stream: there.stream }))
    }

    /// An answer whose status is an error's, in the client's words.
    pub(super) fn failure(&self, head: &mut Head, body: &[u8], record: &Record) -> Passage {
        let failure = Failure::read(self.from, head.status, body, None);
        head.status = failure.status_for(self.to);
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
        if is_events(&head.headers) {
            let stream = Stream::new(self.from, self.to, self.asked.clone()).filter(|_| self.stream);
            let stream = stream.ok_or_else(|| strange("it is a stream".to_owned(), record))?;
            return Ok(Passage::Translated(Box::new(stream)));
        }
        let read = timeout_at(limits.until, whole(conn, head)).await.unwrap_or(Err(AskError::Silent));
        let body = read.map_err(|error| refusal(&error, limits, record))?;
        let body = body.ok_or_else(|| strange(format!("it has more than {MOST} bytes"), record))?;
        record.look(&body);
        let whole = translate::answer(self.from, self.to, &body, &self.asked).map_err(|why| match why {
            BadAnswer::Failed(_) => Refusal::UpstreamFailed { upstream: record.upstream() },
            BadAnswer::Shape(_) | BadAnswer::Arguments => strange(why.to_string(), record),
        })?;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Passage::Whole(whole.body.into()))
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

/// All of an answer's body; `None` when that is too much.
async fn whole(conn: &mut Conn, head: &Head) -> Result<Option<Bytes>, AskError> {
    let mut decoder = BodyDecoder::new(head.framing);
    let mut body = BytesMut::new();
    loop {
        match conn.decode(&mut decoder)? {
            Step::Data(data) => body.extend_from_slice(&data),
            Step::End => return Ok(Some(body.freeze())),
            Step::NeedMore => match poll_fn(|cx| conn.poll_read(cx)).await {
                Ok(1..) => {}
                Ok(0) => decoder.close()?,
                Err(_) => return Err(AskError::Closed),
            },
        }
        if decoder.ended() {
            return Ok(Some(body.freeze()));
        }
        if body.len() > MOST {
            return Ok(None);
        }
    }
}
