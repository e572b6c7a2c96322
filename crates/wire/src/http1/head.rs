//! The head of an engine's answer: read strictly, framing decided once.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::hop::{ConnectionTokens, is_hop_by_hop};
use super::lines::{LineError, Lines, MAX_HEAD, MAX_HEADERS};

/// Most interim (1xx) answers before the final one.
pub const MAX_INTERIM: u8 = 8;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks, the last of which is empty.
    Chunked,
    /// All bytes until the connection closes.
    UntilClose,
}

/// The head of a final answer.
#[derive(Debug)]
pub struct Head {
    /// Status, from 200 to 599.
    pub status: StatusCode,
    /// Headers that may pass on: nothing hop-by-hop, nor what `Connection` names.
    pub headers: HeaderMap,
    /// How the end of the body is known.
    pub framing: Framing,
    /// The connection may serve another request after the body.
    pub reusable: bool,
}

/// Why the head of an answer is refused. The engine broke the protocol; nothing of its answer can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The first line is not a status line of HTTP/1.0 or 1.1.
    #[error("its status line is malformed")]
    BadStatusLine,
    /// A status outside 100 to 599.
    #[error("its status code is out of range")]
    BadStatus,
    /// A header line is malformed.
    #[error("it has a malformed header")]
    BadHeader,
    /// A line that ends in a line feed without a carriage return.
    #[error("it ends a line with a bare line feed")]
    BareLineFeed,
    /// A header continued on the next line.
    #[error("it folds a header over two lines")]
    FoldedHeader,
    /// More than [`MAX_HEAD`] bytes.
    #[error("its head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("it has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("it has both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// More than one `Content-Length`.
    #[error("it has more than one Content-Length")]
    RepeatedLength,
    /// `Content-Length` is not a plain number below 2⁶³.
    #[error("its Content-Length is not a number")]
    BadLength,
    /// `Transfer-Encoding` is not exactly `chunked`, or comes from an HTTP/1.0 peer.
    #[error("it has a Transfer-Encoding other than chunked")]
    UnknownTransferEncoding,
    /// 101, which was not asked for.
    #[error("it switches protocols, which was not asked for")]
    SwitchingProtocols,
    /// More than [`MAX_INTERIM`] interim answers.
    #[error("it sends interim answers without end")]
    EndlessInterim,
    /// A body where the status allows none.
    #[error("it announces a body that its status does not allow")]
    BodyNotAllowed,
}

/// Reads heads from a growing buffer, over any number of reads, touching each byte once.
#[derive(Debug, Default)]
pub struct HeadReader {
    lines: Lines,
    interim: u8,
}

impl HeadReader {
    /// Takes a final answer's head off the front of `buffer`, past any interim ones; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// When the bytes are no acceptable head. The connection is of no further use then.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Head>, HeadError> {
        while let Some(end) = self.lines.end(buffer)? {
            let bytes = buffer.split_to(end).freeze();
            if let Some(head) = parse(&bytes)? {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(HeadError::EndlessInterim);
            }
        }
        Ok(None)
    }
}

impl From<LineError> for HeadError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::BareLineFeed => Self::BareLineFeed,
            LineError::Folded => Self::FoldedHeader,
            LineError::TooLong => Self::TooLong,
        }
    }
}

/// Parses one complete head; `None` for an interim one.
fn parse(bytes: &Bytes) -> Result<Option<Head>, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut lines);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        // The end of the head is known already, so a shorter or an incomplete parse means that the two readings differ.
        Ok(_) | Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => return Err(HeadError::BadHeader),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Status | httparse::Error::Version | httparse::Error::NewLine | httparse::Error::Token) => {
            return Err(HeadError::BadStatusLine);
        }
    }
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let code = parsed.code.unwrap_or(0);
    match code {
        101 => return Err(HeadError::SwitchingProtocols),
        100..=199 => return Ok(None),
        200..=599 => {}
        _ => return Err(HeadError::BadStatus),
    }
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::BadStatus)?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut hop = HeaderMap::new();
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| HeadError::BadHeader)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(|_| HeadError::BadHeader)?;
        let side = if is_hop_by_hop(&name) { &mut hop } else { &mut headers };
        side.append(name, value);
    }
    let framing = framing(status, version, content_length(&headers)?, &hop)?;
    let tokens = ConnectionTokens::of(&hop);
    let stays = if version == Version::HTTP_10 { tokens.keep_alive } else { !tokens.close };
    for name in tokens.named.iter().filter(|n| *n != header::CONTENT_LENGTH.as_str()) {
        headers.remove(name.as_str());
    }
    Ok(Some(Head { status, headers, framing, reusable: stays && framing != Framing::UntilClose }))
}

/// RFC 9112 §6.3 without its leniences.
fn framing(status: StatusCode, version: Version, length: Option<u64>, hop: &HeaderMap) -> Result<Framing, HeadError> {
    let mut codings = hop.get_all(header::TRANSFER_ENCODING).iter();
    let framing = match (codings.next(), length) {
        (Some(_), Some(_)) => return Err(HeadError::BothLengths),
        (Some(coding), None) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
                return Err(HeadError::UnknownTransferEncoding);
            }
            Framing::Chunked
        }
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilClose,
    };
    match (status, framing) {
        (StatusCode::NO_CONTENT, Framing::Length(1..))
        | (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, Framing::Chunked) => Err(HeadError::BodyNotAllowed),
        // The length that a 304 names is that of the answer it stands for.
        (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => Ok(Framing::Length(0)),
        _ => Ok(framing),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeadError::RepeatedLength);
    }
    plain_number(value.as_bytes()).map(Some).ok_or(HeadError::BadLength)
}

/// The value of a `Content-Length` that is a plain decimal number of at most 18 digits, and so below 2⁶³.
pub(super) fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
