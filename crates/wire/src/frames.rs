//! Amazon's event streams: binary frames, each with a checksum, headers and a payload, read as server-sent events.
//!
//! So read, a stream of Bedrock's goes through the same hands as any other. What depends on the framing alone is decided here:
//! which bytes form a whole frame, whether it is undamaged, and what kind of event it is.

use std::borrow::Cow;

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

use crate::Dialect;
use crate::http1::BodyError;
use crate::translate::{Failure, Shape};

/// The media type of such a stream.
pub const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";
/// Longest frame that is read, in bytes. Events of models have some hundred; the last one, with a trace, some thousand.
pub const LONGEST: usize = 1024 * 1024;
/// Length of the frame, length of its headers, and the checksum of both.
const PRELUDE: usize = 12;
/// The least that a frame has: a prelude and a checksum.
const LEAST: usize = 16;

/// What the frames of a stream hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Converse's events: what kind stands in a header, the payload is the event.
    Events,
    /// InvokeModel's: the model's own events, each in base64 within the payload.
    Chunks,
}

impl Holds {
    /// What the frames of an answer hold that is read in this dialect: chunks hold what only the model's maker defines.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        if dialect == Dialect::Bedrock { Self::Events } else { Self::Chunks }
    }
}

/// Splits a stream into frames, whatever the pieces that it comes in.
#[derive(Debug)]
pub struct Frames {
    holds: Holds,
    held: BytesMut,
    damaged: bool,
    threw: bool,
}

/// What a piece of a stream made whole.
#[derive(Debug, Default)]
pub struct Taken {
    /// The frames as they came.
    pub frames: Bytes,
    /// The same as server-sent events, named by their kind.
    pub events: Bytes,
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramesOpening {
    /// With nothing of weight yet.
    Nothing,
    /// The model speaks, or has finished without a word.
    Token,
    /// With an exception of this name.
    Exception(String, Bytes),
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    name: String,
    exception: bool,
    payload: Bytes,
}

impl Frames {
    /// For a stream whose frames hold this.
    #[must_use]
    pub fn new(holds: Holds) -> Self {
        Self { holds, held: BytesMut::new(), damaged: false, threw: false }
    }

    /// Takes a piece, and gives what is whole now. After a damaged frame nothing is given any more.
    pub fn push(&mut self, piece: &[u8]) -> Taken {
        if self.damaged {
            return Taken::default();
        }
        self.held.extend_from_slice(piece);
        let (mut whole, mut events) = (0, Vec::new());
        while !self.damaged {
            match frame(&self.held[whole..]) {
                Ok(Some((frame, length))) => {
                    frame.write(self.holds, &mut events);
                    self.threw |= frame.exception;
                    whole += length;
                }
                Ok(None) => break,
                Err(_) => self.damaged = true,
            }
        }
        let frames = self.held.split_to(whole).freeze();
        if self.damaged {
            // Nobody will read what follows, so it is not kept either.
            self.held.clear();
        }
        Taken { frames, events: events.into() }
    }

    /// Bytes of a frame that is not whole yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether an exception was among what came.
    #[must_use]
    pub fn threw(&self) -> bool {
        self.threw
    }

    /// Whether a frame was damaged, so that nothing behind it can be read.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.damaged
    }
}

/// How the stream begins of which these are the first bytes.
///
/// # Errors
///
/// When a frame is damaged.
pub fn opening(holds: Holds, mut bytes: &[u8]) -> Result<FramesOpening, BodyError> {
    while let Some((frame, length)) = frame(bytes)? {
        bytes = &bytes[length..];
        if frame.exception {
            return Ok(FramesOpening::Exception(frame.name, frame.payload));
        }
        match holds {
            Holds::Events => match frame.name.as_str() {
                // Only the block of a call has a start.
                "contentBlockStart" | "contentBlockDelta" | "messageStop" | "metadata" => {
                    return Ok(FramesOpening::Token);
                }
                _ => {}
            },
            Holds::Chunks => {
                let event = inner(&frame.payload).unwrap_or_default();
                match kind(&event).as_deref() {
                    Some("message_start" | "content_block_start" | "ping") => {}
                    Some("error") => {
                        return Ok(FramesOpening::Exception("modelStreamErrorException".to_owned(), event.into()));
                    }
                    _ => return Ok(FramesOpening::Token),
                }
            }
        }
    }
    Ok(FramesOpening::Nothing)
}

/// A frame that ends a stream with this exception.
#[must_use]
pub fn exception(name: &str, payload: &[u8]) -> Bytes {
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(Bytes::copy_from_slice(payload))
        .add_header(Header::new(":message-type", text("exception")))
        .add_header(Header::new(":exception-type", text(name)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut frame = Vec::new();
    // Only what is longer than any frame cannot be written, and no message of ours is.
    let _ = write_message_to(&message, &mut frame);
    frame.into()
}

/// The first frame, and how long it is; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>, BodyError> {
    let Some(mut prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    // A damaged length would make it wait for bytes that never come.
    let sum = crc32fast::hash(&prelude[..8]);
    let length = usize::try_from(prelude.get_u32()).unwrap_or(usize::MAX);
    prelude.advance(4);
    if prelude.get_u32() != sum || !(LEAST..=LONGEST).contains(&length) {
        return Err(BodyError::BadFrame);
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let message = read_message_from(whole).map_err(|_| BodyError::BadFrame)?;
    let header = |name: &str| {
        let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
        header.value().as_string().ok().map(|text| text.as_str().to_owned())
    };
    let exception = header(":message-type").is_some_and(|kind| kind != "event");
    // An error without an exception's type has a code.
    let named =
        if exception { header(":exception-type").or_else(|| header(":error-code")) } else { header(":event-type") };
    let name = named.filter(|name| name.bytes().all(|b| b.is_ascii_graphic())).unwrap_or_default();
    Ok(Some((Frame { name, exception, payload: message.payload().clone() }, length)))
}

impl Frame {
    /// Appends it as a server-sent event.
    fn write(&self, holds: Holds, out: &mut Vec<u8>) {
        match (holds, self.exception) {
            (Holds::Events, false) => event(&self.name, &self.payload, out),
            (Holds::Events, true) => event(&exceptional(&self.name), &self.payload, out),
            // The model's own clients know errors of the model's own API.
            (Holds::Chunks, true) => {
                let failure = Failure::of_converse(&self.name, &self.payload);
                let status = failure.status_for(Shape::Messages);
                out.extend_from_slice(&Dialect::Anthropic.error_event(&failure.error(), status, "", 0));
            }
            (Holds::Chunks, false) => {
                if let Some(json) = inner(&self.payload) {
                    event(&kind(&json).unwrap_or_default(), &json, out);
                }
            }
        }
    }
}

/// The name by which an exception is known as one, whatever it is called.
fn exceptional(name: &str) -> Cow<'_, str> {
    if name.ends_with("Exception") { name.into() } else { format!("{name}Exception").into() }
}

fn event(name: &str, json: &[u8], out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    // Within a JSON text line feeds are escaped, so those that stand here are mere space.
    out.extend(json.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
    out.extend_from_slice(b"\n\n");
}

/// The event within a chunk.
fn inner(payload: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }
    let chunk: Chunk<'_> = serde_json::from_slice(payload).ok()?;
    STANDARD.decode(chunk.bytes.as_bytes()).ok()
}

/// What kind of event it is, as it says itself.
fn kind(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let kind: Kind = serde_json::from_slice(json).ok()?;
    kind.kind.bytes().all(|b| b.is_ascii_graphic()).then_some(kind.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(kind: &str, name_of: &str, name: &str, payload: &str) -> Vec<u8> {
        let text = |text: &str| HeaderValue::String(text.to_owned().into());
        let message = Message::new(Bytes::copy_from_slice(payload.as_bytes()))
            .add_header(Header::new(name_of.to_owned(), text(name)))
            .add_header(Header::new(":message-type", text(kind)));
        let mut frame = Vec::new();
        write_message_to(&message, &mut frame).unwrap();
        frame
    }

    fn converse() -> Vec<u8> {
        [
            framed("event", ":event-type", "messageStart", r#"{"role":"assistant"}"#),
            framed("event", ":event-type", "contentBlockDelta", "{\"delta\":\n{\"text\":\"Gr\u{fc}\\n\"}}"),
            framed("event", ":event-type", "messageStop", r#"{"stopReason":"end_turn"}"#),
            framed("event", ":event-type", "metadata", r#"{"usage":{"inputTokens":1}}"#),
        ]
        .concat()
    }

    fn chunk(event: &str) -> Vec<u8> {
        let payload = format!(r#"{{"bytes":"{}","p":"abc"}}"#, STANDARD.encode(event));
        framed("event", ":event-type", "chunk", &payload)
    }

    fn all(holds: Holds, pieces: &[&[u8]]) -> (Vec<u8>, String, bool) {
        let mut frames = Frames::new(holds);
        let (mut raw, mut events) = (Vec::new(), Vec::new());
        for piece in pieces {
            let taken = frames.push(piece);
            raw.extend_from_slice(&taken.frames);
            events.extend_from_slice(&taken.events);
        }
        (raw, String::from_utf8(events).unwrap(), frames.damaged())
    }

    const EVENTS: &str = "event: messageStart\ndata: {\"role\":\"assistant\"}\n\n\
        event: contentBlockDelta\ndata: {\"delta\": {\"text\":\"Gr\u{fc}\\n\"}}\n\n\
        event: messageStop\ndata: {\"stopReason\":\"end_turn\"}\n\n\
        event: metadata\ndata: {\"usage\":{\"inputTokens\":1}}\n\n";

    #[test]
    fn frames_become_events() {
        assert_eq!(all(Holds::Events, &[&converse()]), (converse(), EVENTS.to_owned(), false));
        let thrown = framed("exception", ":exception-type", "throttlingException", r#"{"message":"slow"}"#);
        let (_, events, _) = all(Holds::Events, &[&thrown]);
        assert_eq!(events, "event: throttlingException\ndata: {\"message\":\"slow\"}\n\n");
        let mut frames = Frames::new(Holds::Events);
        frames.push(&converse());
        assert!(!frames.threw());
        frames.push(&thrown);
        assert!(frames.threw());
        let broken = framed("error", ":error-code", "InternalFailure", "{}");
        assert_eq!(all(Holds::Events, &[&broken]).1, "event: InternalFailureException\ndata: {}\n\n");
    }

    #[test]
    fn chunks_hold_events_of_the_model() {
        let start = r#"{"type":"message_start","message":{}}"#;
        let frames = [chunk(start), chunk(r#"{"type":"message_stop"}"#)].concat();
        let (raw, events, _) = all(Holds::Chunks, &[&frames]);
        let want = format!(
            "event: message_start\ndata: {start}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        assert_eq!((raw, events), (frames, want));
        let thrown = framed("exception", ":exception-type", "throttlingException", r#"{"message":"slow"}"#);
        let (_, events, _) = all(Holds::Chunks, &[&thrown]);
        assert!(events.starts_with("event: error\n") && events.contains("rate_limit_error"), "{events}");
    }

    #[test]
    fn a_damaged_frame_ends_what_can_be_read() {
        let whole = converse();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let (raw, _, is) = all(Holds::Events, &[&damaged]);
            assert!(is, "byte {at}");
            assert!(whole.starts_with(&raw), "byte {at}: what came before is as it was");
        }
        // Nothing is kept of what nobody will read.
        let mut frames = Frames::new(Holds::Events);
        for _ in 0..100 {
            frames.push(&[0; 1000]);
        }
        assert_eq!((frames.damaged(), frames.held()), (true, 0));
        // A length beyond any frame is not waited for, though its checksum is right.
        let mut long = Vec::from(0x7fff_ffff_u32.to_be_bytes());
        long.extend_from_slice(&[0; 4]);
        long.extend_from_slice(&crc32fast::hash(&long).to_be_bytes());
        assert!(all(Holds::Events, &[&long]).2);
    }

    #[test]
    fn tells_how_a_stream_begins() {
        let start = framed("event", ":event-type", "messageStart", "{}");
        let of = |more: Vec<u8>| opening(Holds::Events, &[start.clone(), more].concat());
        assert_eq!(of(Vec::new()), Ok(FramesOpening::Nothing));
        assert_eq!(of(framed("event", ":event-type", "contentBlockDelta", "{}")), Ok(FramesOpening::Token));
        assert_eq!(of(framed("event", ":event-type", "contentBlockStart", "{}")), Ok(FramesOpening::Token));
        assert_eq!(of(framed("event", ":event-type", "messageStop", "{}")), Ok(FramesOpening::Token));
        let thrown = FramesOpening::Exception("throttlingException".to_owned(), Bytes::from_static(b"{}"));
        assert_eq!(of(exception("throttlingException", b"{}").to_vec()), Ok(thrown));
        assert_eq!(of(vec![0; 16]), Err(BodyError::BadFrame));

        let of = |event: &str| opening(Holds::Chunks, &chunk(event));
        assert_eq!(of(r#"{"type":"message_start"}"#), Ok(FramesOpening::Nothing));
        assert_eq!(of(r#"{"type":"content_block_delta"}"#), Ok(FramesOpening::Token));
        assert_eq!(of(r#"{"outputText":"Hi"}"#), Ok(FramesOpening::Token), "of a model that nothing is known of");
        assert!(matches!(of(r#"{"type":"error","error":{}}"#), Ok(FramesOpening::Exception(..))));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let whole = converse();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            at.extend([0, whole.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(all(Holds::Events, &pieces), (whole.clone(), EVENTS.to_owned(), false));
        }
    }
}
