//! How a provider's answer opens. Nothing of it goes to the client before its first token: until then another target can
//! still be asked.
//!
//! Looking takes nothing out of the connection's buffer, so what passes on afterwards is what came.

use std::future::poll_fn;
use std::task::ready;

use bytes::Bytes;
use wire::Dialect;
use wire::http1::{Framing, Head};
use wire::sse::{StreamOpening, stream_opening};

use super::opening::is_events;
use super::{AskError, Conn};

/// Most bytes before the first token that are waited for, and most of an error that is read.
const MOST_LOOKED_AT: usize = 64 * 1024;
/// What framing adds to that at most, by chunks that are not hostile.
const MOST_FRAMED: usize = 2 * MOST_LOOKED_AT;

/// An answer of a provider that has begun.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is a success, and its first token is here; or it is no stream.
    Well,
    /// Its status says that it is none. With its body, as far as it was waited for.
    Error(Bytes),
    /// It is a stream whose first event of weight is this error.
    ErrorEvent(Bytes),
}

impl Conn {
    /// Sends a request and reads its answer's head, and as much of its body as tells how it opens.
    pub(crate) async fn begin(
        &mut self,
        head: &[u8],
        body: &[u8],
        dialect: Dialect,
    ) -> Result<(Head, Begun), AskError> {
        let head = self.ask(head, body).await?;
        let events = is_events(&head.headers);
        let error = !head.status.is_success();
        let short = matches!(head.framing, Framing::Length(length) if length <= MOST_LOOKED_AT as u64);
        if !(error || events || short) {
            return Ok((head, Begun::Well));
        }
        let begun = poll_fn(|cx| {
            loop {
                let (body, whole) = self.peek(head.framing, MOST_FRAMED)?;
                let enough = whole || body.len() >= MOST_LOOKED_AT;
                if error && (enough || self.buffer().len() >= MOST_FRAMED) {
                    return Ok(Begun::Error(Bytes::copy_from_slice(&body))).into();
                }
                if events && !error {
                    match stream_opening(dialect, &body) {
                        StreamOpening::Token => return Ok(Begun::Well).into(),
                        StreamOpening::Error(event) => {
                            return Ok(Begun::ErrorEvent(Bytes::copy_from_slice(event))).into();
                        }
                        // A stream that ends without a word was cut, whatever its framing says.
                        StreamOpening::Nothing if whole => return Err(AskError::Closed).into(),
                        StreamOpening::Nothing => {}
                    }
                }
                if enough || self.buffer().len() >= MOST_FRAMED {
                    return Ok(Begun::Well).into();
                }
                match ready!(self.poll_read(cx)) {
                    Ok(1..) => {}
                    Ok(0) if error && head.framing == Framing::UntilClose => {
                        let (body, _) = self.peek(head.framing, MOST_FRAMED)?;
                        return Ok(Begun::Error(Bytes::copy_from_slice(&body))).into();
                    }
                    // An error of the socket is told once, so nothing more is read from this one.
                    Ok(0) | Err(_) => return Err(AskError::Closed).into(),
                }
            }
        })
        .await?;
        Ok((head, begun))
    }
}
