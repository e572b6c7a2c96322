//! Over JSON text, judging its grammar and building nothing.
//!
//! Nesting is a bit for each level, and text is looked through many bytes at a time, so that no body can make the cost
//! more than some nanoseconds a byte, nor take memory of its own.

use std::borrow::Cow;
use std::ops::Range;

use super::{DEEPEST, ScanError, ScanProblem};

/// Bytes of text that are judged in one go, by vector instructions.
const LANE: usize = 32;
/// What parts of a message call themselves when they hold an image: in chat completions, messages and responses.
const IMAGES: [&[u8]; 3] = [b"\"image_url\"", b"\"image\"", b"\"input_image\""];
/// What images of Bedrock's Converse call their format; their parts have no type.
const FORMATS: [&[u8]; 4] = [b"\"png\"", b"\"jpeg\"", b"\"gif\"", b"\"webp\""];

/// A place in a body.
pub(in crate::openai) struct Reader<'a> {
    pub(in crate::openai) body: &'a [u8],
    pub(in crate::openai) at: usize,
    /// An image was seen.
    pub(in crate::openai) images: bool,
    /// Bytes of encoded images, sounds and files that were seen: much text, yet few tokens.
    pub(in crate::openai) media: usize,
}

/// A text's place, quotes included, and whether it holds an escape.
pub(in crate::openai) struct Text {
    pub(in crate::openai) span: Range<usize>,
    pub(in crate::openai) escaped: bool,
}

impl<'a> Reader<'a> {
    pub(in crate::openai) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, images: false, media: 0 }
    }

    pub(in crate::openai) fn wrong(&self, problem: ScanProblem) -> ScanError {
        let problem = if self.at >= self.body.len() { ScanProblem::EndsEarly } else { problem };
        ScanError { at: self.at.min(self.body.len()), problem }
    }

    pub(in crate::openai) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    pub(in crate::openai) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The members of an object, at whose opening brace the reader stands. `member` is given the unescaped key and its
    /// place, and must read exactly the value.
    pub(in crate::openai) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str, usize) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key_at = self.at;
            let text = self.key_text()?;
            // An escape can spell any key in many ways; the engine reads them all alike.
            let bad = ScanError { at: key_at, problem: ScanProblem::BadEscape };
            let key = self.unescaped(&text).ok_or(bad)?;
            member(self, &key, key_at)?;
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

    /// How many values a list has, at whose opening bracket the reader stands; it is `depth` levels deep itself. `value` is told
    /// where each stands.
    pub(in crate::openai) fn list(
        &mut self,
        depth: u32,
        mut value: impl FnMut(Range<usize>),
    ) -> Result<u32, ScanError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(0);
        }
        let mut count = 0u32;
        loop {
            let start = self.at;
            self.skip(depth + 1)?;
            value(start..self.at);
            count = count.saturating_add(1);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(count);
                }
                _ => return Err(self.wrong(ScanProblem::NoComma)),
            }
            self.space();
        }
    }

    /// A key and the colon after it; the reader stands at the value then.
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

    /// A text without its quotes and escapes; `None` if an escape stands for half a character.
    pub(in crate::openai) fn unescaped(&self, text: &Text) -> Option<Cow<'a, str>> {
        let quoted = &self.body[text.span.clone()];
        if text.escaped {
            serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed)
        }
    }

    /// Over any value, however nested, that stands `depth` levels deep. A bit of `objects` for each open bracket tells
    /// objects from lists.
    pub(in crate::openai) fn skip(&mut self, depth: u32) -> Result<(), ScanError> {
        let (mut objects, floor) = (0u128, depth);
        let mut depth = depth;
        let mut key = 0..0;
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
                        key = if object { self.key_text()?.span } else { 0..0 };
                        continue;
                    }
                }
                Some(b'"') => {
                    let value = self.text()?.span;
                    self.weigh(&key, value);
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
                        key = if object { self.key_text()?.span } else { 0..0 };
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

    /// Notes what a text says about images and how much of it is encoded data. Both are hints: a client that writes
    /// these few words with escapes is not understood.
    fn weigh(&mut self, key: &Range<usize>, value: Range<usize>) {
        let (key, text) = (&self.body[key.clone()], &self.body[value]);
        if key == b"\"type\"" {
            self.images |= IMAGES.contains(&text);
        } else if key == b"\"format\"" {
            self.images |= FORMATS.contains(&text);
        } else if text.starts_with(b"\"data:") || key == b"\"data\"" || key == b"\"bytes\"" {
            self.media += text.len();
        }
    }

    /// Over a text whose opening quote stands here.
    pub(in crate::openai) fn text(&mut self) -> Result<Text, ScanError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_run(&self.body[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { span: start..self.at, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.wrong(ScanProblem::ControlCharacter)),
                None => return Err(self.wrong(ScanProblem::EndsEarly)),
            }
        }
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

/// How many bytes come before the next quote, backslash or control character.
fn plain_run(text: &[u8]) -> usize {
    // Most texts are short, so the first bytes are judged by the word; a long one goes on by the lane.
    let (start, rest) = text.split_at(text.len().min(LANE));
    let run = plain_words(start);
    if run < start.len() {
        return run;
    }
    // Looking at a whole lane without leaving early is what lets the compiler use vector instructions.
    let clear = |lane: &&[u8]| !lane.iter().fold(false, |stop, byte| stop | stops(*byte));
    let lanes = LANE * rest.chunks_exact(LANE).take_while(clear).count();
    run + lanes + plain_words(&rest[lanes..])
}

fn stops(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// As [`plain_run`], eight bytes at a time.
fn plain_words(text: &[u8]) -> usize {
    /// Lifts the top bit of each byte that is less than `LEAST`, exactly so up to the first one that is.
    fn less<const LEAST: u8>(word: u64) -> u64 {
        word.wrapping_sub(u64::from_ne_bytes([LEAST; 8])) & !word
    }
    let mut run = 0;
    for word in text.chunks_exact(8) {
        // Each chunk has eight bytes, so the fallback is never seen.
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let quotes = less::<1>(word ^ u64::from_ne_bytes([b'"'; 8]));
        let escapes = less::<1>(word ^ u64::from_ne_bytes([b'\\'; 8]));
        let found = (quotes | escapes | less::<0x20>(word)) & u64::from_ne_bytes([0x80; 8]);
        if found != 0 {
            return run + found.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + text[run..].iter().position(|byte| stops(*byte)).unwrap_or(text.len() - run)
}
