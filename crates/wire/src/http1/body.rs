//! The body of an engine's answer, taken out of its framing.

use bytes::{Buf, Bytes, BytesMut};

use super::head::Framing;

/// Most bytes of extensions on one chunk's size line. Engines send none; they are read over, never kept.
const MAX_EXTENSION: u16 = 256;
/// Most bytes of extensions in one body. Whoever sends a byte a chunk could otherwise make a small body endless work.
const MAX_EXTENSIONS: u16 = 16 * 1024;
/// Most bytes of trailers after the last chunk, line ends not counted. They are read over too: nobody downstream was promised any.
const MAX_TRAILERS: u16 = 8 * 1024;

/// Why a body cannot be read on. What came before is genuine, but the answer is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection closed inside the body.
    #[error("it closed the connection inside its answer")]
    Cut,
    /// The body is whole as far as its framing goes, but the stream of events in it does not say that it is.
    #[error("it ended its stream without the event that ends one")]
    Unfinished,
    /// A frame of an event stream within the body is damaged, or longer than any.
    #[error("it sent a damaged frame")]
    BadFrame,
    /// A chunk's size is no plain hexadecimal number below 2⁶⁴.
    #[error("it sent a malformed chunk size")]
    BadChunkSize,
    /// A chunk is not followed by a line end, or a line ends in something other than CR LF.
    #[error("it sent a malformed chunk end")]
    BadChunkEnd,
    /// Extensions of more than 256 bytes on one chunk, or of more than 16 KiB in the body.
    #[error("it sent overlong chunk extensions")]
    LongExtension,
    /// Trailers of more than 8 KiB, line ends not counted.
    #[error("it sent overlong trailers")]
    LongTrailers,
}

/// What a look at the buffer gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All payload that the buffer held, in one piece.
    Data(Bytes),
    /// The buffer holds nothing more; read again.
    NeedMore,
    /// The body is whole.
    End,
}

/// Takes payload out of a growing buffer. One call yields everything that is there as one piece, however many chunks it
/// came in, so that one read from the engine becomes one write to the client.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of extensions that the chunks before had.
    extensions: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes still to come.
    Length(u64),
    UntilClose,
    Chunk(Chunk),
    Ended,
}

/// Where in the chunked framing the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In a size, of which this much was read, in this many digits.
    Size(u64, u8),
    /// In an extension of which this many bytes were read over.
    Extension(u64, u16),
    /// After the CR of a size line.
    SizeEnd(u64),
    /// In a payload of which this much is to come.
    Payload(u64),
    /// After a payload.
    PayloadEnd,
    /// After the CR that follows a payload.
    PayloadFeed,
    /// At the start of a trailer line, with this many bytes of trailers behind.
    TrailerStart(u16),
    /// In a trailer line.
    Trailer(u16),
    /// After the CR of a trailer line.
    TrailerFeed(u16),
    /// After the CR of the last, empty line.
    LastFeed,
}

impl BodyDecoder {
    /// A decoder for a body framed like this.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunk(Chunk::Size(0, 0)),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0 }
    }

    /// Whether the body is whole. Bytes left in the buffer then belong to no answer.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes all payload that `buffer` holds. [`BodyDecoder::ended`] may already be true beside data.
    ///
    /// # Errors
    ///
    /// When the framing is broken. Payload ahead of the break in the same buffer is lost with it.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Step, BodyError> {
        let data = match &mut self.state {
            State::Ended => return Ok(Step::End),
            State::UntilClose => buffer.split().freeze(),
            State::Length(left) => {
                let take = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= take as u64;
                if *left == 0 {
                    self.state = State::Ended;
                }
                buffer.split_to(take).freeze()
            }
            State::Chunk(chunk) => {
                let (data, done) = dechunk(chunk, &mut self.extensions, buffer)?;
                if done {
                    self.state = State::Ended;
                }
                data
            }
        };
        Ok(match (data.is_empty(), self.ended()) {
            (false, _) => Step::Data(data),
            (true, true) => Step::End,
            (true, false) => Step::NeedMore,
        })
    }

    /// The connection closed.
    ///
    /// # Errors
    ///
    /// When the body is not whole without more bytes.
    pub fn close(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Ended => Ok(()),
            State::UntilClose => {
                self.state = State::Ended;
                Ok(())
            }
            State::Length(_) | State::Chunk(_) => Err(BodyError::Cut),
        }
    }
}

/// Runs over the buffer once. Payloads after the first are moved up to follow the one before, which costs less than a
/// write for each, and the buffer is then split without copying.
fn dechunk(chunk: &mut Chunk, extensions: &mut u16, buffer: &mut BytesMut) -> Result<(Bytes, bool), BodyError> {
    let (mut at, mut first, mut filled, mut done) = (0, None, 0, false);
    while at < buffer.len() && !done {
        if let Chunk::Payload(left) = *chunk {
            let here = buffer.len() - at;
            let take = usize::try_from(left).map_or(here, |left| left.min(here));
            let start = *first.get_or_insert(at);
            if start + filled != at {
                buffer.copy_within(at..at + take, start + filled);
            }
            filled += take;
            at += take;
            let left = left - take as u64;
            *chunk = if left == 0 { Chunk::PayloadEnd } else { Chunk::Payload(left) };
        } else {
            let next = after(*chunk, buffer[at])?;
            if let (Chunk::Extension(_, read), Some(Chunk::SizeEnd(_))) = (*chunk, next) {
                *extensions += read;
                if *extensions > MAX_EXTENSIONS {
                    return Err(BodyError::LongExtension);
                }
            }
            match next {
                Some(next) => *chunk = next,
                None => done = true,
            }
            at += 1;
        }
    }
    let mut data = buffer.split_to(at);
    data.advance(first.unwrap_or(0));
    data.truncate(filled);
    Ok((data.freeze(), done))
}

/// The state after one byte of framing; `None` after the last byte of the body.
fn after(chunk: Chunk, byte: u8) -> Result<Option<Chunk>, BodyError> {
    let next = match (chunk, byte) {
        (Chunk::Size(size, digits), _) if byte.is_ascii_hexdigit() => {
            if digits == 16 {
                return Err(BodyError::BadChunkSize);
            }
            let digit = char::from(byte).to_digit(16).unwrap_or(0);
            Chunk::Size((size << 4) | u64::from(digit), digits + 1)
        }
        (Chunk::Size(_, 0), _) => return Err(BodyError::BadChunkSize),
        (Chunk::Size(size, _) | Chunk::Extension(size, _), b'\r') => Chunk::SizeEnd(size),
        (Chunk::Size(size, _), b';') => Chunk::Extension(size, 0),
        (Chunk::Size(..), _) => return Err(BodyError::BadChunkSize),
        (Chunk::Extension(..), b'\n') => return Err(BodyError::BadChunkEnd),
        (Chunk::Extension(_, MAX_EXTENSION), _) => return Err(BodyError::LongExtension),
        (Chunk::Extension(size, read), _) => Chunk::Extension(size, read + 1),
        (Chunk::SizeEnd(0), b'\n') => Chunk::TrailerStart(0),
        (Chunk::SizeEnd(size), b'\n') => Chunk::Payload(size),
        (Chunk::PayloadEnd, b'\r') => Chunk::PayloadFeed,
        (Chunk::PayloadFeed, b'\n') => Chunk::Size(0, 0),
        (Chunk::TrailerStart(_), b'\r') => Chunk::LastFeed,
        (Chunk::TrailerStart(MAX_TRAILERS) | Chunk::Trailer(MAX_TRAILERS), _) => return Err(BodyError::LongTrailers),
        (Chunk::Trailer(read), b'\r') => Chunk::TrailerFeed(read),
        (Chunk::TrailerStart(read) | Chunk::Trailer(read), _) if byte != b'\n' => Chunk::Trailer(read + 1),
        (Chunk::TrailerFeed(read), b'\n') => Chunk::TrailerStart(read),
        (Chunk::LastFeed, b'\n') => return Ok(None),
        _ => return Err(BodyError::BadChunkEnd),
    };
    Ok(Some(next))
}

#[cfg(test)]
mod tests;
