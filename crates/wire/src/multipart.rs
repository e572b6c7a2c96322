//! One pass over a form with files (`multipart/form-data`, RFC 7578): which parts there are, and what the few fields say
//! that routing needs.
//!
//! The engine reads the same bytes with another parser, so whatever two parsers could read in two ways is refused here.

use std::ops::Range;

use memchr::memmem;

/// Longest boundary, by RFC 2046.
const MOST_BOUNDARY: usize = 70;
/// Most parts of a form.
const MOST_PARTS: usize = 128;
/// Most bytes in the headers of a part.
const MOST_HEADERS: usize = 4 * 1024;
/// Longest value of a field that is read.
const MOST_VALUE: usize = 1024;

/// What routing reads of a form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// The model asked for, and where its name stands in the body.
    pub model: Option<(&'a str, Range<usize>)>,
    /// Whether the answer is to be streamed.
    pub stream: Option<bool>,
    /// Whom the caller asks for.
    pub user: Option<&'a str>,
    /// Bytes of the field `prompt`.
    pub prompt_bytes: usize,
}

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// `Content-Type` is not `multipart/form-data` with one boundary.
    #[error("Content-Type must be multipart/form-data with one boundary of 1 to {MOST_BOUNDARY} plain characters")]
    NoBoundary,
    /// The body does not begin with the boundary.
    #[error("the body does not begin with the boundary")]
    NoStart,
    /// The body ends inside a part.
    #[error("the body ends before the last boundary")]
    EndsEarly,
    /// Something else than a line end or the last two dashes follows a boundary.
    #[error("a boundary is followed by other text")]
    BadBoundary,
    /// Something stands after the last boundary.
    #[error("unexpected text after the last boundary")]
    TrailingText,
    /// More parts than a form for an engine has.
    #[error("it has more than {MOST_PARTS} parts")]
    TooManyParts,
    /// A part's headers are overlong or malformed.
    #[error("a part has malformed headers, or none of the form 'Content-Disposition: form-data; name=\"…\"'")]
    BadHeaders,
    /// A field that routing reads stands there twice.
    #[error("\"{0}\" may stand only once, but is repeated")]
    Repeated(&'static str),
    /// A field that routing reads is a file, encoded, overlong or not UTF-8.
    #[error("\"{0}\" must be a plain field of UTF-8 text, at most {MOST_VALUE} bytes long")]
    NotPlain(&'static str),
    /// A flag that is not one.
    #[error("\"{0}\" must be true or false")]
    NotAFlag(&'static str),
}

impl FormError {
    /// The field that must be changed, where it is one field.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Repeated(name) | Self::NotPlain(name) | Self::NotAFlag(name) => Some(name),
            _ => None,
        }
    }
}

/// The boundary that a value of `Content-Type` names.
///
/// # Errors
///
/// When it is not a form's, or names no boundary, or two, or one with unusual characters.
pub fn boundary(content_type: &str) -> Result<&str, FormError> {
    let mut parts = content_type.split(';');
    if !parts.next().is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case("multipart/form-data")) {
        return Err(FormError::NoBoundary);
    }
    let mut found = None;
    for part in parts {
        let (key, value) = part.trim_ascii().split_once('=').ok_or(FormError::NoBoundary)?;
        if key.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(FormError::NoBoundary);
        }
    }
    let value = found.ok_or(FormError::NoBoundary)?;
    let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    let plain = |value: &&str| {
        (1..=MOST_BOUNDARY).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b))
    };
    value.filter(plain).ok_or(FormError::NoBoundary)
}

/// Judges a form and reads its fields.
///
/// # Errors
///
/// When the framing is not strictly that of a form, or a field that routing reads is not plainly readable.
pub fn scan<'a>(body: &'a [u8], boundary: &str) -> Result<Form<'a>, FormError> {
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut form = Form::default();
    // The first boundary has no line end before it.
    if !body.starts_with(&delimiter[2..]) {
        return Err(FormError::NoStart);
    }
    let mut at = delimiter.len() - 2;
    for _ in 0..=MOST_PARTS {
        match body.get(at..at + 2) {
            Some(b"--") => {
                let rest = &body[at + 2..];
                return if rest.is_empty() || rest == b"\r\n" { Ok(form) } else { Err(FormError::TrailingText) };
            }
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(FormError::BadBoundary),
            None => return Err(FormError::EndsEarly),
        }
        let (headers, content) = headers(&body[at..])?;
        let start = at + content;
        let end = start + finder.find(&body[start..]).ok_or(FormError::EndsEarly)?;
        form.part(&headers, body, start..end)?;
        at = end + delimiter.len();
    }
    Err(FormError::TooManyParts)
}

/// What a part's headers say.
#[derive(Debug, Default)]
struct Headers<'a> {
    name: Option<&'a str>,
    file: bool,
    encoded: bool,
}

/// A part's headers, and where its content begins.
fn headers(part: &[u8]) -> Result<(Headers<'_>, usize), FormError> {
    let mut headers = Headers::default();
    let mut at = 0;
    loop {
        let most = part.len().min(MOST_HEADERS);
        let rest = part.get(at..most).ok_or(FormError::BadHeaders)?;
        let Some(length) = memmem::find(rest, b"\r\n") else {
            return Err(if most == part.len() { FormError::EndsEarly } else { FormError::BadHeaders });
        };
        let line = std::str::from_utf8(&rest[..length]).map_err(|_| FormError::BadHeaders)?;
        at += length + 2;
        if line.is_empty() {
            return if headers.name.is_some() { Ok((headers, at)) } else { Err(FormError::BadHeaders) };
        }
        let (key, value) = line.split_once(':').ok_or(FormError::BadHeaders)?;
        if key.is_empty()
            || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            || value.contains(['\r', '\n'])
        {
            return Err(FormError::BadHeaders);
        }
        if key.eq_ignore_ascii_case("content-disposition") {
            if headers.name.is_some() {
                return Err(FormError::BadHeaders);
            }
            (headers.name, headers.file) = disposition(value)?;
        } else if key.eq_ignore_ascii_case("content-transfer-encoding") {
            headers.encoded = true;
        }
    }
}

/// The name in a `Content-Disposition`, and whether the part is a file.
fn disposition(value: &str) -> Result<(Option<&str>, bool), FormError> {
    let mut rest = value.trim_ascii().strip_prefix("form-data").ok_or(FormError::BadHeaders)?;
    let (mut name, mut file) = (None, false);
    while let Some(parameter) = rest.trim_ascii_start().strip_prefix(';') {
        let (key, value) = parameter.trim_ascii_start().split_once('=').ok_or(FormError::BadHeaders)?;
        let value = value.strip_prefix('"').ok_or(FormError::BadHeaders)?;
        // No engine's field has a quote or a backslash in its name; a file's may, percent-encoded.
        let (text, after) = value.split_once('"').ok_or(FormError::BadHeaders)?;
        if text.contains('\\') && key == "name" {
            return Err(FormError::BadHeaders);
        }
        match key {
            "name" if name.is_none() => name = Some(text),
            "filename" if !file => file = true,
            _ => return Err(FormError::BadHeaders),
        }
        rest = after;
    }
    if rest.trim_ascii().is_empty() { Ok((name, file)) } else { Err(FormError::BadHeaders) }
}

impl<'a> Form<'a> {
    fn part(&mut self, headers: &Headers<'_>, body: &'a [u8], span: Range<usize>) -> Result<(), FormError> {
        let text = |field| plain(headers, &body[span.clone()], field);
        match headers.name {
            Some("model") => {
                let name = text("model")?;
                once(&mut self.model, (name, span), "model")
            }
            Some("stream") => {
                let flag = match text("stream")? {
                    "true" | "True" | "1" => true,
                    "false" | "False" | "0" => false,
                    _ => return Err(FormError::NotAFlag("stream")),
                };
                once(&mut self.stream, flag, "stream")
            }
            Some("user") => once(&mut self.user, text("user")?, "user"),
            Some("prompt") => {
                self.prompt_bytes += span.len();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn plain<'a>(headers: &Headers<'_>, content: &'a [u8], field: &'static str) -> Result<&'a str, FormError> {
    let fits = !headers.file && !headers.encoded && content.len() <= MOST_VALUE;
    let text = if fits { std::str::from_utf8(content).ok() } else { None };
    text.filter(|text| !text.contains(char::is_control)).ok_or(FormError::NotPlain(field))
}

fn once<T>(field: &mut Option<T>, value: T, name: &'static str) -> Result<(), FormError> {
    if field.replace(value).is_some() { Err(FormError::Repeated(name)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
