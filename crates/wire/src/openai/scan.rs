//! One pass over a request's body: is it one JSON object, and what do the few fields say that routing needs?
//!
//! Nothing is built but the model's name. Text is skipped by vector instructions, nesting is a bit for each level, so
//! the cost is about that of reading the bytes once and no body can make it more.

use std::borrow::Cow;
use std::ops::Range;

/// Deepest nesting taken, as serde_json and most engines have it.
const DEEPEST: u32 = 128;

/// What routing reads of a request. A field of a type other than the usual is left to the engine to refuse.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The model asked for.
    pub model: Option<Model<'a>>,
    /// Whether the answer is to be streamed.
    pub stream: Option<bool>,
    /// Most tokens of answer, by `max_completion_tokens` or the older `max_tokens`.
    pub max_tokens: Option<i64>,
    /// How many answers are asked for.
    pub n: Option<i64>,
}

/// The model's name and its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// The name, unescaped.
    pub name: Cow<'a, str>,
    /// Where the value stands in the body, quotes included.
    pub span: Range<usize>,
}

/// Why a body is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct ScanError {
    /// Offset of the byte at fault, from 0.
    pub at: usize,
    /// What is wrong there.
    pub problem: ScanProblem,
}

/// What is wrong at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanProblem {
    /// The text ends inside a value.
    #[error("the text ends too early")]
    EndsEarly,
    /// The body is some other JSON value, or none.
    #[error("expected an object")]
    NotAnObject,
    /// Something stands after the object.
    #[error("unexpected text after the object")]
    TrailingText,
    /// No value where one must stand.
    #[error("expected a value")]
    NoValue,
    /// No key where one must stand.
    #[error("expected a key in double quotes")]
    NoKey,
    /// No colon after a key.
    #[error("expected ':'")]
    NoColon,
    /// Neither a comma nor the end of the list or object.
    #[error("expected ',' or the closing bracket")]
    NoComma,
    /// A malformed number.
    #[error("malformed number")]
    BadNumber,
    /// A malformed escape in a text.
    #[error("malformed escape")]
    BadEscape,
    /// A control character that should have been escaped.
    #[error("unescaped control character in a text")]
    ControlCharacter,
    /// Bytes that are not UTF-8.
    #[error("invalid UTF-8")]
    NotUtf8,
    /// Nested more than 128 levels deep.
    #[error("nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// A field that routing reads stands there a second time. Which one the engine takes is its own affair, so it might
    /// not be the one that was judged here.
    #[error("a field that may stand only once is repeated")]
    Repeated,
}

/// Judges a body and reads its fields.
///
/// # Errors
///
/// When the body is not one well-formed JSON object in UTF-8.
pub fn scan(body: &[u8]) -> Result<Fields<'_>, ScanError> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(ScanError { at: error.valid_up_to(), problem: ScanProblem::NotUtf8 });
    }
    let mut reader = Reader { body, at: 0 };
    let mut fields = Fields::default();
    reader.space();
    if reader.peek() != Some(b'{') {
        return Err(reader.wrong(ScanProblem::NotAnObject));
    }
    reader.at += 1;
    reader.space();
    if reader.peek() == Some(b'}') {
        reader.at += 1;
    } else {
        reader.members(&mut fields)?;
    }
    reader.space();
    if reader.at < body.len() { Err(reader.wrong(ScanProblem::TrailingText)) } else { Ok(fields) }
}

/// The body with another model in the place of the one that was asked for. All other bytes stay as they came.
#[must_use]
pub fn splice_model(body: &[u8], span: &Range<usize>, name: &str) -> Vec<u8> {
    // Text always serializes, so the fallback is never seen.
    let name = serde_json::to_vec(name).unwrap_or_default();
    [&body[..span.start], &name, &body[span.end..]].concat()
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

/// A text's place, quotes included, and whether it holds an escape.
struct Text {
    span: Range<usize>,
    escaped: bool,
}

impl<'a> Reader<'a> {
    fn wrong(&self, problem: ScanProblem) -> ScanError {
        let problem = if self.at >= self.body.len() { ScanProblem::EndsEarly } else { problem };
        ScanError { at: self.at.min(self.body.len()), problem }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The members of the outermost object, whose opening brace is behind.
    fn members(&mut self, fields: &mut Fields<'a>) -> Result<(), ScanError> {
        loop {
            let key_at = self.at;
            let key = self.key()?;
            self.value(&key, key_at, fields)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.wrong(ScanProblem::NoComma)),
            }
            self.space();
        }
    }

    /// A key and the colon after it; the reader stands at the value then.
    fn key(&mut self) -> Result<Cow<'a, str>, ScanError> {
        let key_at = self.at;
        let text = self.key_text()?;
        // An escape can spell any key in many ways; the engine reads them all alike.
        self.unescaped(&text).ok_or(ScanError { at: key_at, problem: ScanProblem::BadEscape })
    }

    fn key_text(&mut self) -> Result<Text, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong(ScanProblem::NoKey));
        }
        let text = self.text()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.wrong(ScanProblem::NoColon));
        }
        self.at += 1;
        self.space();
        Ok(text)
    }

    /// The value of a member of the outermost object.
    fn value(&mut self, key: &str, key_at: usize, fields: &mut Fields<'a>) -> Result<(), ScanError> {
        let start = self.at;
        let repeated = ScanError { at: key_at, problem: ScanProblem::Repeated };
        match key {
            "model" => {
                if fields.model.is_some() {
                    return Err(repeated);
                }
                if self.peek() == Some(b'"') {
                    let text = self.text()?;
                    let bad = ScanError { at: start, problem: ScanProblem::BadEscape };
                    let name = self.unescaped(&text).ok_or(bad)?;
                    fields.model = Some(Model { name, span: text.span });
                    return Ok(());
                }
                self.skip()
            }
            "stream" => {
                self.skip()?;
                set_once(&mut fields.stream, literal(&self.body[start..self.at]), repeated)
            }
            "max_tokens" | "max_completion_tokens" => {
                self.skip()?;
                // Both names may stand; the newer one counts.
                let value = number(&self.body[start..self.at]);
                if key == "max_completion_tokens" || fields.max_tokens.is_none() {
                    fields.max_tokens = value.or(fields.max_tokens);
                }
                Ok(())
            }
            "n" => {
                self.skip()?;
                set_once(&mut fields.n, number(&self.body[start..self.at]), repeated)
            }
            _ => self.skip(),
        }
    }

    fn unescaped(&self, text: &Text) -> Option<Cow<'a, str>> {
        let quoted = &self.body[text.span.clone()];
        if text.escaped {
            serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed)
        }
    }

    /// Over any value, however nested. A bit of `objects` for each open bracket tells objects from lists.
    fn skip(&mut self) -> Result<(), ScanError> {
        let (mut objects, mut depth) = (0u128, 1u32);
        let floor = depth;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    if depth == DEEPEST {
                        return Err(self.wrong(ScanProblem::TooDeep));
                    }
                    let object = self.body[self.at] == b'{';
                    self.at += 1;
                    self.space();
                    if self.peek() == Some(if object { b'}' } else { b']' }) {
                        self.at += 1;
                    } else {
                        objects = (objects << 1) | u128::from(object);
                        depth += 1;
                        if object {
                            self.key_text()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.text()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(self.wrong(ScanProblem::NoValue)),
            }
            // A value is behind; close what it ends.
            loop {
                if depth == floor {
                    return Ok(());
                }
                self.space();
                let object = objects & 1 == 1;
                match (self.peek(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        self.space();
                        if object {
                            self.key_text()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        objects >>= 1;
                        depth -= 1;
                    }
                    _ => return Err(self.wrong(ScanProblem::NoComma)),
                }
            }
        }
    }

    /// Over a text whose opening quote stands here.
    fn text(&mut self) -> Result<Text, ScanError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = &self.body[self.at..];
            let length = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            self.printable(length)?;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { span: start..self.at, escaped });
                }
                Some(_) => {
                    escaped = true;
                    self.escape()?;
                }
                None => return Err(self.wrong(ScanProblem::EndsEarly)),
            }
        }
    }

    /// Over so many bytes of text, none of which may be a control character.
    fn printable(&mut self, length: usize) -> Result<(), ScanError> {
        let run = &self.body[self.at..self.at + length];
        // Looking at every byte without leaving early is what lets the compiler use vector instructions.
        if run.iter().fold(false, |bad, byte| bad | (*byte < 0x20)) {
            self.at += run.iter().position(|byte| *byte < 0x20).unwrap_or(0);
            return Err(self.wrong(ScanProblem::ControlCharacter));
        }
        self.at += length;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        let hex = |byte: &u8| byte.is_ascii_hexdigit();
        let length = match self.body.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if self.body.get(self.at + 2..self.at + 6).is_some_and(|h| h.iter().all(hex)) => 6,
            Some(_) => return Err(self.wrong(ScanProblem::BadEscape)),
            None => return Err(ScanError { at: self.body.len(), problem: ScanProblem::EndsEarly }),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong(ScanProblem::BadNumber)) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if !self.body[self.at..].starts_with(word) {
            return Err(self.wrong(ScanProblem::NoValue));
        }
        self.at += word.len();
        Ok(())
    }
}

fn set_once<T>(field: &mut Option<T>, value: Option<T>, repeated: ScanError) -> Result<(), ScanError> {
    if field.is_some() {
        return Err(repeated);
    }
    *field = value;
    Ok(())
}

fn literal(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
