//! How a provider's answer opens. Nothing of it goes to the client before its first token: until then another target can
//! still be asked.
//!
//! Looking takes nothing out of the connection's buffer, so what passes on afterwards is what came.

use std::future::poll_fn;
use std::task::ready;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use wire::Dialect;
use wire::frames::{FramesOpening, Holds, opening};
use wire::http1::{Framing, Head};
use wire::openai::flaw;
use wire::sse::{StreamOpening, stream_opening};
use wire::translate::Failure;
use wire::vllm::is_error;

use super::opening::{is_events, is_frames};
use super::{AskError, Conn};

/// Most bytes before the first token that are waited for, and most of an error that is read.
const MOST_LOOKED_AT: usize = 64 * 1024;
/// The same of a response, whose first two events repeat the request's instructions and tools.
const MOST_OF_A_RESPONSE: usize = 256 * 1024;

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Where Bedrock says what kind of error an answer is.
pub(crate) const EXCEPTION: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An answer of a provider that has begun.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is a success, and its first token is here; or it is no stream.
    Well,
    /// Its status says that it is none. With its body, as far as it was waited for.
    Error(Bytes),
    /// Its status says that it is a success, but it is this error: the first event of weight of a stream, or the whole of a plain
    /// answer.
    Failed(Bytes),
    /// It was a success, but its stream begins with this exception; what its head says has been changed to that.
    Thrown(Bytes),
    /// Its status says that it is a success, and nothing follows.
    Empty,
    /// Its status says that it is a success, but what follows cannot be the answer, for this reason.
    Not(&'static str),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hoped {
    /// What the target speaks.
    pub(crate) dialect: Dialect,
    /// A stream, not a plain answer.
    pub(crate) streams: bool,
    /// A plain answer is a JSON object.
    pub(crate) json: bool,
    /// And has this member.
    pub(crate) holds: Option<&'static str>,
}

impl Conn {
    /// Sends a request and reads its answer's head, and as much of its body as tells how it opens.
    pub(crate) async fn begin(&mut self, head: &[u8], body: &[u8], hoped: Hoped) -> Result<(Head, Begun), AskError> {
        let Hoped { dialect, streams, .. } = hoped;
        let mut head = self.ask(head, body).await?;
        if streams && head.status.is_success() && !head.headers.contains_key(header::CONTENT_TYPE) {
            // What does not say what it is, is what was asked for.
            head.headers.insert(header::CONTENT_TYPE, EVENTS);
        }
        let events = is_events(&head.headers);
        let frames = is_frames(&head.headers).then(|| Holds::of(dialect));
        let error = !head.status.is_success();
        // Providers write a plain answer when it is finished, so waiting for the whole of one costs nothing.
        let long = matches!(head.framing, Framing::Length(length) if length > MOST_LOOKED_AT as u64);
        if long && !(error || events || frames.is_some()) {
            return Ok((head, Begun::Well));
        }
        let most = if events && dialect == Dialect::Responses { MOST_OF_A_RESPONSE } else { MOST_LOOKED_AT };
        // Chunks that are not hostile add no more than that again.
        let framed = 2 * most;
        let begun = poll_fn(|cx| {
            loop {
                let (body, whole) = self.peek(head.framing, framed)?;
                let enough = whole || body.len() >= most;
                if error && (enough || self.buffer().len() >= framed) {
                    return Ok(Begun::Error(Bytes::copy_from_slice(&body))).into();
                }
                if events && !error {
                    match stream_opening(dialect, &body) {
                        StreamOpening::Token => return Ok(Begun::Well).into(),
                        StreamOpening::Error(event) => {
                            return Ok(Begun::Failed(Bytes::copy_from_slice(event))).into();
                        }
                        // A stream that ends without a word was cut, whatever its framing says.
                        StreamOpening::Nothing if whole => return Err(AskError::Closed).into(),
                        StreamOpening::Nothing => {}
                    }
                }
                if let Some(holds) = frames.filter(|_| !error) {
                    match opening(holds, &body)? {
                        FramesOpening::Token => return Ok(Begun::Well).into(),
                        FramesOpening::Exception(name, payload) => {
                            as_exception(&mut head, &name, &payload);
                            return Ok(Begun::Thrown(payload)).into();
                        }
                        FramesOpening::Nothing if whole => return Err(AskError::Closed).into(),
                        FramesOpening::Nothing => {}
                    }
                }
                if whole && !events && !error && frames.is_none() {
                    return Ok(plain(&body, &head, hoped)).into();
                }
                if enough || self.buffer().len() >= framed {
                    return Ok(Begun::Well).into();
                }
                match ready!(self.poll_read(cx)) {
                    Ok(1..) => {}
                    Ok(0) if (error || !events) && head.framing == Framing::UntilClose => {
                        let (body, _) = self.peek(head.framing, framed)?;
                        let whole = || plain(&body, &head, hoped);
                        return Ok(if error { Begun::Error(Bytes::copy_from_slice(&body)) } else { whole() }).into();
                    }
                    // An error of the socket is told once, so nothing more is read from this one.
                    Ok(0) | Err(_) => return Err(AskError::Closed).into(),
                }
            }
        })
        .await?;
        if matches!(begun, Begun::Well) && !events && hoped.json && is_text(&head.headers) {
            let (body, _) = self.peek(head.framing, framed)?;
            if body.trim_ascii_start().starts_with(b"{") {
                // Not every client reads it under another name; a browser would show it.
                head.headers.insert(header::CONTENT_TYPE, JSON);
            }
        }
        Ok((head, begun))
    }
}

/// What the whole of a plain answer is.
fn plain(body: &[u8], head: &Head, hoped: Hoped) -> Begun {
    if body.trim_ascii().is_empty() {
        return Begun::Empty;
    }
    if is_error(body) {
        return Begun::Failed(Bytes::copy_from_slice(body));
    }
    // Vectors may come as bytes, and say so.
    let readable = hoped.json && (is_json(&head.headers) || is_text(&head.headers));
    let flaw = if readable { flaw(body, hoped.holds) } else { None };
    flaw.map_or(Begun::Well, Begun::Not)
}

fn is_json(headers: &HeaderMap) -> bool {
    kind(headers).ends_with(b"json")
}

/// Whether an answer says that it is text, or says nothing.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = kind(headers);
    kind.is_empty() || kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"))
}

/// The media type, without its parameters.
fn kind(headers: &HeaderMap) -> &[u8] {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Makes of a stream that begins with an exception the answer that it would have been without a stream.
fn as_exception(head: &mut Head, name: &str, payload: &[u8]) {
    head.status = Failure::of_converse(name, payload).status;
    // In a stream the names of exceptions begin with a small letter.
    let mut name = name.as_bytes().to_vec();
    if let Some(first) = name.first_mut() {
        first.make_ascii_uppercase();
    }
    if let Ok(name) = HeaderValue::from_bytes(&name) {
        head.headers.insert(EXCEPTION, name);
    }
    head.headers.insert(header::CONTENT_TYPE, JSON);
}
