//! Frames of Amazon's event streams.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::body::Bytes;

/// The kind of a stream of frames.
pub(crate) const FRAMES: &str = "application/vnd.amazon.eventstream";

/// A frame that holds an event.
pub(crate) fn event(name: &'static str, payload: &str) -> Bytes {
    frame("event", ":event-type", name, payload)
}

/// A frame that ends a stream with an error.
pub(crate) fn exception(name: String, payload: &str) -> Bytes {
    frame("exception", ":exception-type", name, payload)
}

fn frame(kind: &'static str, name_of: &'static str, name: impl Into<String>, payload: &str) -> Bytes {
    let text = |text: String| HeaderValue::String(text.into());
    let message = Message::new(Bytes::copy_from_slice(payload.as_bytes()))
        .add_header(Header::new(name_of, text(name.into())))
        .add_header(Header::new(":content-type", text("application/json".to_owned())))
        .add_header(Header::new(":message-type", text(kind.to_owned())));
    let mut bytes = Vec::new();
    // It fails for headers or payloads beyond what a frame can hold; nothing here is near that.
    let _ = write_message_to(&message, &mut bytes);
    bytes.into()
}
