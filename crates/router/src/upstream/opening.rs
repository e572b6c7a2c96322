//! How an answer opens, looked at before any of it goes to the client: until then another replica can still be asked.
//!
//! Looking takes nothing out of the connection's buffer, so what passes on afterwards is what came.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::ready;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use wire::Dialect;
use wire::frames;
use wire::http1::{BodyDecoder, Framing, Head, Step};
use wire::sse::{StreamOpening, WholeEvents, engine_opening};
use wire::vllm::{Trouble, gave_up, is_aborted, is_error, trouble};

use super::{AskError, Conn};

/// Most bytes of an error that are waited for and looked at. Every error of an engine is shorter.
const MOST_LOOKED_AT: usize = 8 * 1024;
/// Longest plain answer that is waited for: some ten thousand tokens. Engines write it at once when it is finished.
pub(crate) const MOST_WAITED_FOR: usize = 64 * 1024;
/// Bytes that a stream's events up to its first token mostly fit into, framing included.
const FIRST_LOOK: usize = 1024;

/// An answer that has begun, its body still in the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) conn: Conn,
    pub(crate) opening: Opening,
}

/// What the opening of an answer says of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Nothing bad.
    Well,
    /// A status of 500 or more, and what it is about.
    Trouble(Trouble),
    /// A status of 200, but an error comes before the first token, or the engine gave the answer up.
    Failed,
}

impl Conn {
    /// Sends a request and reads its answer's head and as much of its body as tells how it opens: an error's whole body, a
    /// stream's events up to its first token, the whole of a short plain answer. Nothing of that would be of use to a client alone.
    pub(crate) async fn answer(mut self, head: &[u8], body: &[u8], dialect: Dialect) -> Result<Answer, AskError> {
        let head = self.ask(head, body).await?;
        let opening = self.look(&head, dialect).await?;
        Ok(Answer { head, conn: self, opening })
    }

    async fn look(&mut self, head: &Head, dialect: Dialect) -> Result<Opening, AskError> {
        let events = is_events(&head.headers);
        if !waits(head, events) {
            return Ok(Opening::Well);
        }
        poll_fn(|cx| {
            loop {
                if let Some(opening) = self.opening(head, events, dialect)? {
                    return Ok(opening).into();
                }
                match ready!(self.poll_read(cx)) {
                    Ok(1..) => {}
                    // What ends with the connection is whole, but for a stream that has said nothing.
                    Ok(0) if head.framing == Framing::UntilClose && !events => {
                        let (body, _) = self.peek(head.framing, 2 * MOST_LOOKED_AT)?;
                        return Ok(judge(head.status, events, dialect, &body)).into();
                    }
                    // An error of the socket is told once, so nothing more is read from this one.
                    Ok(0) | Err(_) => return Err(AskError::Closed).into(),
                }
            }
        })
        .await
    }

    /// What is known from the bytes that have come so far, if that is enough.
    fn opening(&self, head: &Head, events: bool, dialect: Dialect) -> Result<Option<Opening>, AskError> {
        if events {
            // Events that came at once are many, and those up to the first token are short.
            let (body, _) = self.peek(head.framing, FIRST_LOOK)?;
            if engine_opening(dialect, &body) != StreamOpening::Nothing {
                return Ok(Some(judge(head.status, events, dialect, &body)));
            }
        }
        let most = if head.status.is_server_error() || events { MOST_LOOKED_AT } else { MOST_WAITED_FOR };
        // Framing has its part of the bytes.
        let (body, whole) = self.peek(head.framing, 2 * most)?;
        let spoken = events && engine_opening(dialect, &body) != StreamOpening::Nothing;
        if events && whole && !spoken && head.status.is_success() {
            // A stream that ends without a word was cut, whatever its framing says.
            return Err(AskError::Closed);
        }
        let enough = whole || body.len() >= most || spoken;
        Ok(enough.then(|| judge(head.status, events, dialect, &body)))
    }

    /// The whole of an error's body, if it has come and was short enough to be waited for.
    pub(crate) fn looked_at(&self, framing: Framing) -> Option<Cow<'_, [u8]>> {
        let (body, whole) = self.peek(framing, 2 * MOST_LOOKED_AT).ok()?;
        whole.then_some(body)
    }

    /// The start of the body, out of at most `most` bytes, and whether that is all of it.
    pub(super) fn peek(&self, framing: Framing, most: usize) -> Result<(Cow<'_, [u8]>, bool), AskError> {
        let raw = &self.buffer()[..self.buffer().len().min(most)];
        match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Ok((raw[..raw.len().min(length)].into(), raw.len() >= length))
            }
            Framing::UntilClose => Ok((raw.into(), false)),
            Framing::Chunked => {
                let (mut raw, mut decoder) = (BytesMut::from(raw), BodyDecoder::new(framing));
                let mut body = Vec::new();
                while let Step::Data(data) = decoder.decode(&mut raw)? {
                    body.extend_from_slice(&data);
                }
                Ok((body.into(), decoder.ended()))
            }
        }
    }
}

/// Whether an answer's opening is worth waiting for.
fn waits(head: &Head, events: bool) -> bool {
    let short = matches!(head.framing, Framing::Length(length) if length <= MOST_WAITED_FOR as u64);
    let error = head.status.is_server_error() || (head.status.is_client_error() && short);
    error || (head.status == StatusCode::OK && (events || short))
}

fn judge(status: StatusCode, events: bool, dialect: Dialect, body: &[u8]) -> Opening {
    if status.is_server_error() {
        return Opening::Trouble(trouble(status.as_u16(), body));
    }
    if !status.is_success() {
        return Opening::Well;
    }
    let failed = if events {
        let first = WholeEvents::first(body).unwrap_or_default();
        gave_up(dialect, first).is_some() || matches!(engine_opening(dialect, body), StreamOpening::Error(_))
    } else {
        is_aborted(dialect, body) || is_error(body)
    };
    if failed { Opening::Failed } else { Opening::Well }
}

/// Whether the answer is a stream of server-sent events in clear text.
pub(crate) fn is_events(headers: &HeaderMap) -> bool {
    is_of(headers, "text/event-stream")
}

/// Whether the answer is a stream of Amazon's frames in clear text.
pub(crate) fn is_frames(headers: &HeaderMap) -> bool {
    is_of(headers, frames::MEDIA_TYPE)
}

fn is_of(headers: &HeaderMap, media_type: &str) -> bool {
    let is = |value: &[u8]| {
        value.get(..media_type.len()).is_some_and(|start| start.eq_ignore_ascii_case(media_type.as_bytes()))
    };
    headers.get(header::CONTENT_TYPE).is_some_and(|value| is(value.as_bytes())) && !is_encoded(headers)
}

/// Whether the answer is compressed, which it is not asked to be.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| !plain(value.as_bytes()))
}
