//! The head of a client's request: read strictly, framing decided once.
//!
//! A request that two readers could take apart differently is the tool of request smuggling: what one takes for a body,
//! the other takes for the next request. RFC 9112 lets a server forgive much of that; this reader forgives nothing, and
//! says what it does not like.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri, Version};

use super::head::{Framing, plain_number};
use super::hop::ConnectionTokens;
use super::lines::{LineError, Lines, MAX_HEAD, MAX_HEADERS};

/// Most bytes in the target of a request.
pub const MAX_TARGET: usize = 8 * 1024;
/// Longest method. None that exists comes near.
const MAX_METHOD: usize = 32;

/// The head of a request.
#[derive(Debug)]
pub struct Received {
    /// Method, path and query, version and headers as they came. A target in absolute form is reduced to its path and
    /// query. Headers with an underscore in their name are left out: what reads them behind us may take them for the one
    /// with a hyphen.
    pub parts: Parts,
    /// How the end of the body is known: never [`Framing::UntilClose`].
    pub framing: Framing,
    /// The client may send another request after this one.
    pub stays: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects: bool,
}

/// Why the head of a request is refused. The connection is of no further use, since where the next request would begin
/// is not known for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The first line is not a method, a target and a version with one space between.
    #[error("the request line is malformed")]
    BadRequestLine,
    /// The method is no token, or is longer than any that exists.
    #[error("the method is malformed")]
    BadMethod,
    /// The target is neither a path nor an absolute URI without credentials, or has characters that no URI may have.
    #[error("the request target is malformed")]
    BadTarget,
    /// More than [`MAX_TARGET`] bytes of target.
    #[error("the request target is longer than {MAX_TARGET} bytes")]
    LongTarget,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("the HTTP version is not supported; use HTTP/1.1")]
    BadVersion,
    /// A header line is malformed: no colon, space before the colon, or a character that may not be there.
    #[error("a header is malformed")]
    BadHeader,
    /// A line ends in a line feed without a carriage return.
    #[error("a line ends with a bare line feed")]
    BareLineFeed,
    /// A header continues on the next line.
    #[error("a header is folded over two lines")]
    FoldedHeader,
    /// More than [`MAX_HEAD`] bytes.
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("there are more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("there are both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// More than one `Content-Length`.
    #[error("there is more than one Content-Length")]
    RepeatedLength,
    /// `Content-Length` is not a plain number below 10¹⁸.
    #[error("Content-Length is not a number")]
    BadLength,
    /// `Transfer-Encoding` is not exactly `chunked`, or comes over HTTP/1.0.
    #[error("Transfer-Encoding is other than chunked")]
    UnknownTransferEncoding,
    /// HTTP/1.1 without a `Host`.
    #[error("the Host header is missing")]
    MissingHost,
    /// More than one `Host`.
    #[error("there is more than one Host header")]
    RepeatedHost,
    /// `Host` is no host, or not the one of an absolute target.
    #[error("the Host header is malformed")]
    BadHost,
    /// `Expect` asks for something other than `100-continue`.
    #[error("Expect asks for something other than 100-continue")]
    UnknownExpectation,
}

impl RequestError {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::LongTarget => StatusCode::URI_TOO_LONG,
            Self::TooLong | Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A word for this case that is stable across versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequestLine => "bad_request_line",
            Self::BadMethod => "bad_method",
            Self::BadTarget => "bad_target",
            Self::LongTarget => "target_too_long",
            Self::BadVersion => "bad_version",
            Self::BadHeader => "bad_header",
            Self::BareLineFeed => "bare_line_feed",
            Self::FoldedHeader => "folded_header",
            Self::TooLong => "head_too_long",
            Self::TooManyHeaders => "too_many_headers",
            Self::BothLengths => "both_lengths",
            Self::RepeatedLength => "repeated_length",
            Self::BadLength => "bad_length",
            Self::UnknownTransferEncoding => "unknown_transfer_encoding",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::BadHost => "bad_host",
            Self::UnknownExpectation => "unknown_expectation",
        }
    }
}

impl From<LineError> for RequestError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::BareLineFeed => Self::BareLineFeed,
            LineError::Folded => Self::FoldedHeader,
            LineError::TooLong => Self::TooLong,
        }
    }
}

/// Reads heads from a growing buffer, over any number of reads.
#[derive(Debug, Default)]
pub struct RequestReader {
    lines: Lines,
    /// The one empty line that may stand before a request was there.
    skipped: bool,
}

impl RequestReader {
    /// Takes a request's head off the front of `buffer`; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// When the bytes are no acceptable head.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, RequestError> {
        loop {
            // What cannot begin a request is refused at once: speakers of another protocol may send no line end ever.
            if buffer.first().is_some_and(|first| !is_token(*first) && (*first != b'\r' || self.skipped)) {
                let feed = buffer[0] == b'\n';
                return Err(if feed { RequestError::BareLineFeed } else { RequestError::BadMethod });
            }
            let Some(end) = self.lines.end(buffer)? else { return Ok(None) };
            let bytes = buffer.split_to(end).freeze();
            if bytes.len() > 2 {
                self.skipped = false;
                return parse(&bytes).map(Some);
            }
            // Some clients send one line end too many after a body.
            self.skipped = true;
        }
    }
}

/// What may stand in a method or in the name of a header.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn parse(bytes: &Bytes) -> Result<Received, RequestError> {
    let line_end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let line = bytes.slice(..line_end);
    // Past the line's CR LF; a CR elsewhere in it leaves something here that is no header.
    let rest = bytes.slice((line_end + 2).min(bytes.len())..);
    if bytes.get(line_end + 1) != Some(&b'\n') {
        return Err(RequestError::BadRequestLine);
    }
    let (method, target, version) = request_line(&line)?;
    let headers = headers(&rest)?;
    let tokens = ConnectionTokens::of(&headers);
    let framing = framing(version, &headers)?;
    let (uri, authority) = uri(&method, target)?;
    check_host(version, &headers, authority.as_ref())?;
    let expects = expects(version, &headers)?;
    let stays = if version == Version::HTTP_10 { tokens.keep_alive } else { true } && !tokens.close;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(Received { parts, framing, stays, expects })
}

fn request_line(line: &Bytes) -> Result<(Method, Bytes, Version), RequestError> {
    let mut spaces = memchr::memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(RequestError::BadRequestLine);
    };
    let (method, target, version) = (&line[..first], first + 1..second, &line[second + 1..]);
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|byte| is_token(*byte)) {
        return Err(RequestError::BadMethod);
    }
    let method = Method::from_bytes(method).map_err(|_| RequestError::BadMethod)?;
    if target.len() > MAX_TARGET {
        return Err(RequestError::LongTarget);
    }
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(RequestError::BadVersion);
        }
        _ => return Err(RequestError::BadRequestLine),
    };
    Ok((method, line.slice(target), version))
}

fn headers(bytes: &Bytes) -> Result<HeaderMap, RequestError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let lines = match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((length, lines))) if length == bytes.len() => lines,
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
        // The end of the head is known already, so a shorter or an incomplete parse means that the two readings differ.
        _ => return Err(RequestError::BadHeader),
    };
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| RequestError::BadHeader)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(|_| RequestError::BadHeader)?;
        if !line.name.contains('_') {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// RFC 9112 §6.3 without its leniences.
fn framing(version: Version, headers: &HeaderMap) -> Result<Framing, RequestError> {
    let length = only(headers, &header::CONTENT_LENGTH, RequestError::RepeatedLength);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), length) {
        (Some(_), Ok(Some(_)) | Err(_)) => Err(RequestError::BothLengths),
        (Some(coding), Ok(None)) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
                return Err(RequestError::UnknownTransferEncoding);
            }
            Ok(Framing::Chunked)
        }
        (None, length) => match length? {
            Some(value) => plain_number(value.as_bytes()).map(Framing::Length).ok_or(RequestError::BadLength),
            None => Ok(Framing::Length(0)),
        },
    }
}

/// Path and query, and the authority of a target in absolute form.
fn uri(method: &Method, target: Bytes) -> Result<(Uri, Option<Authority>), RequestError> {
    let bad = |_| RequestError::BadTarget;
    if !target.iter().all(|byte| (0x21..0x7f).contains(byte) && !b"#<>\\^`".contains(byte)) {
        return Err(RequestError::BadTarget);
    }
    let origin = |path: Bytes| PathAndQuery::from_maybe_shared(path).map(Uri::from).map_err(bad);
    if target.starts_with(b"/") || (*method == Method::OPTIONS && *target == *b"*") {
        return Ok((origin(target)?, None));
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let after = target.slice(scheme.ok_or(RequestError::BadTarget)?.len()..);
    let path_at = memchr::memchr2(b'/', b'?', &after).unwrap_or(after.len());
    let authority = Authority::from_maybe_shared(after.slice(..path_at)).map_err(|_| RequestError::BadTarget)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(RequestError::BadTarget);
    }
    let path = match after.get(path_at) {
        None => Bytes::from_static(b"/"),
        Some(b'/') => after.slice(path_at..),
        Some(_) => [b"/", &after[path_at..]].concat().into(),
    };
    Ok((origin(path)?, Some(authority)))
}

fn check_host(version: Version, headers: &HeaderMap, authority: Option<&Authority>) -> Result<(), RequestError> {
    let Some(host) = only(headers, &header::HOST, RequestError::RepeatedHost)? else {
        return if version == Version::HTTP_10 { Ok(()) } else { Err(RequestError::MissingHost) };
    };
    let host = host.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    // A proxy that is asked for an absolute target goes by that; two different hosts are one too many.
    let same = authority.is_none_or(|authority| host.eq_ignore_ascii_case(authority.as_str().as_bytes()));
    if host.is_empty() || !host.iter().all(plain) || !same { Err(RequestError::BadHost) } else { Ok(()) }
}

fn expects(version: Version, headers: &HeaderMap) -> Result<bool, RequestError> {
    let Some(value) = only(headers, &header::EXPECT, RequestError::UnknownExpectation)? else { return Ok(false) };
    if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Err(RequestError::UnknownExpectation);
    }
    // An HTTP/1.0 client cannot know what an interim answer is.
    Ok(version == Version::HTTP_11)
}

/// The value of a header that may stand once.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    repeated: RequestError,
) -> Result<Option<&'a HeaderValue>, RequestError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(value) }
}

#[cfg(test)]
mod tests;
