//! What a vLLM engine says of its own failures, within answers that look like any other.
//!
//! An engine that is told to stop answers 500, not 503; one that dies within a stream writes an error event and `[DONE]`
//! after it; one that gives a request up says so where others say why they finished. Judged by the bytes, because a tree
//! of values would cost more than the rest of the way through the router.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use crate::{Dialect, sse};

/// What an answer with a status of 500 or more says of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The engine drains and takes nothing new. It has not begun the request.
    Draining,
    /// The engine's core is gone; the server around it is about to end too.
    Died,
    /// The engine has more requests than it wants. It has not begun this one.
    Full,
    /// Anything else.
    Other,
}

/// Reads an answer of status 500 or more.
#[must_use]
pub fn trouble(status: u16, body: &[u8]) -> Trouble {
    let says = |text: &str| memmem::find(body, text.as_bytes()).is_some();
    if says("cannot schedule new futures after shutdown") {
        Trouble::Draining
    } else if says("EngineCore encountered an issue") {
        Trouble::Died
    } else if status == 503 {
        Trouble::Full
    } else {
        Trouble::Other
    }
}

/// Whether one of these whole events is an error: an event of that name, or data with an error at its top.
#[must_use]
pub fn has_error_event(events: &[u8]) -> bool {
    error_event(events).is_some()
}

/// Where the first of these whole events that is an error stands.
#[must_use]
pub fn error_event_span(events: &[u8]) -> Option<Range<usize>> {
    error_event(events).map(|at| sse::event_start(events, at)..sse::event_end(events, at))
}

/// The place of the word in the first of these events that makes it an error.
fn error_event(events: &[u8]) -> Option<usize> {
    ERROR.find_iter(events).find(|&at| {
        let line = line_before(events, at);
        if let Some(data) = line.strip_prefix(b"data:") {
            return tops(data, &events[at..]);
        }
        matches!(line, b"event:" | b"event: ") && matches!(events.get(at + 5), None | Some(b'\n' | b'\r'))
    })
}

/// Whether a whole plain answer of status 200 is an error all the same.
#[must_use]
pub fn is_error(answer: &[u8]) -> bool {
    ERROR.find_iter(answer).any(|at| tops(&answer[..at], &answer[at..]))
}

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"error"));

/// Whether the word `error`, between these two parts of a JSON text, stands at its top: as the key of something, or as the type
/// of the whole. Inside a text every quote is escaped, so a word with bare quotes is a key or a value.
fn tops(before: &[u8], from: &[u8]) -> bool {
    let (Some(before), Some(after)) = (before.strip_suffix(b"\""), from.strip_prefix(b"error\"")) else { return false };
    let key = after.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    let told = match key {
        Some(value) => value.starts_with(b"{") || (value.starts_with(b"\"") && !value.starts_with(b"\"\"")),
        None => {
            let key = before.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
            key.is_some_and(|key| key.ends_with(b"\"type\"") || key.ends_with(b"\"object\""))
        }
    };
    told && depth(before) == 1
}

/// Whether a whole plain answer of status 200 says that the engine gave the request up. Each dialect says it in its way:
/// OpenAI's by the reason why it finished, responses by their status, and messages by having no reason at all.
///
/// A response of vLLM 0.32 says it only for models that speak Harmony; for all others it says `completed`.
#[must_use]
pub fn is_aborted(dialect: Dialect, answer: &[u8]) -> bool {
    match dialect {
        Dialect::OpenAi => abort_in(answer).is_some(),
        Dialect::Anthropic => memmem::find(answer, br#""role":"assistant""#).is_some() && !gives_a_reason(answer),
        Dialect::Responses => cancelled(answer, |at| (&answer[..at], 1)).is_some(),
        // No engine speaks it.
        Dialect::Bedrock => false,
    }
}

/// Up to where these whole events of a stream may pass, if they say that the engine gave the request up. What follows
/// would look like a normal end.
#[must_use]
pub fn gave_up(dialect: Dialect, events: &[u8]) -> Option<usize> {
    static NO_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""delta":{"stop_reason":null"#));
    match dialect {
        Dialect::OpenAi => abort_in(events).map(|at| sse::event_end(events, at)),
        Dialect::Anthropic => NO_REASON.find(events).map(|at| sse::event_end(events, at)),
        // Its last event is the whole response, which must not arrive as a finished one.
        Dialect::Responses => {
            cancelled(events, |at| (data_before(events, at), 2)).map(|at| sse::event_start(events, at))
        }
        Dialect::Bedrock => None,
    }
}

/// Looks for the same in a plain answer that is too long to be seen at once, while it passes in pieces.
#[derive(Clone, Debug, Default)]
pub struct AbortReader {
    dialect: Dialect,
    /// The end of the last piece, in which a word may begin.
    carried: Vec<u8>,
    found: bool,
}

impl AbortReader {
    /// Longer than any word that is looked for, with some space within it.
    const CARRIED: usize = 31;

    /// For an answer of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, ..Self::default() }
    }

    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        self.carried.extend_from_slice(&piece[..piece.len().min(Self::CARRIED)]);
        self.found = self.has(&self.carried) || self.has(piece);
        if piece.len() >= Self::CARRIED {
            self.carried.clear();
            self.carried.extend_from_slice(&piece[piece.len() - Self::CARRIED..]);
        } else {
            let spare = self.carried.len().saturating_sub(Self::CARRIED);
            self.carried.drain(..spare);
        }
    }

    /// Whether the answer, now at its end, says that the engine gave the request up. A long response is not judged: where
    /// its status stands could only be told by reading all of it.
    #[must_use]
    pub fn aborted(&self) -> bool {
        match self.dialect {
            Dialect::OpenAi => self.found,
            Dialect::Anthropic => !self.found,
            Dialect::Responses | Dialect::Bedrock => false,
        }
    }

    fn has(&self, bytes: &[u8]) -> bool {
        match self.dialect {
            Dialect::OpenAi => abort_in(bytes).is_some(),
            Dialect::Anthropic => gives_a_reason(bytes),
            Dialect::Responses | Dialect::Bedrock => false,
        }
    }
}

/// Where it stands that a choice finished because of an abort. In a JSON text a quote is escaped, so this is no talk of it.
fn abort_in(bytes: &[u8]) -> Option<usize> {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"abort\""));
    WORD.find_iter(bytes).find(|at| bytes[..*at].trim_ascii_end().ends_with(br#""finish_reason":"#))
}

fn gives_a_reason(bytes: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""stop_reason":"#));
    let given = |at| bytes[at + KEY.needle().len()..].trim_ascii_start().starts_with(b"\"");
    KEY.find_iter(bytes).any(given)
}

/// Where a response has the status of one that was given up. Its metadata are the client's own, so the key counts only as
/// deep as the status of a response stands: `before` gives the JSON in front of it, and that depth.
fn cancelled<'a>(bytes: &'a [u8], before: impl Fn(usize) -> (&'a [u8], usize)) -> Option<usize> {
    static STATUS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""status":"cancelled""#));
    STATUS.find_iter(bytes).find(|at| {
        let (json, want) = before(*at);
        depth(json) == want
    })
}

/// In how many objects and arrays the end of this JSON stands.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => depth += 1,
            b'}' | b']' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}

fn data_before(events: &[u8], at: usize) -> &[u8] {
    let line = line_before(events, at);
    line.strip_prefix(b"data:").unwrap_or(line)
}

fn line_before(bytes: &[u8], at: usize) -> &[u8] {
    let start = memchr::memrchr2(b'\n', b'\r', &bytes[..at]).map_or(0, |feed| feed + 1);
    &bytes[start..at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_troubles_by_their_words() {
        let cases = [
            (500, r#"{"error":{"message":"cannot schedule new futures after shutdown"}}"#, Trouble::Draining),
            (500, r#"{"error":{"message":"EngineCore encountered an issue. See stack trace"}}"#, Trouble::Died),
            (500, r#"{"error":{"message":"list index out of range"}}"#, Trouble::Other),
            (503, r#"{"error":{"type":"Service Unavailable"}}"#, Trouble::Full),
            (503, "cannot schedule new futures after shutdown", Trouble::Draining),
            (502, "", Trouble::Other),
        ];
        for (status, body, want) in cases {
            assert_eq!(trouble(status, body.as_bytes()), want, "{status} {body}");
        }
    }

    #[test]
    fn finds_error_events_and_no_talk_of_them() {
        let cases = [
            ("data: {\"error\": {\"message\": \"x\", \"code\": 500}}\n\n", true),
            ("data: {\"error\":{}}\n\ndata: [DONE]\n\n", true),
            ("data: {\"a\":1}\n\ndata:{ \"error\":{}}\n\n", true),
            ("data: {\"object\":\"error\",\"message\":\"x\"}\n\n", true),
            ("event: error\ndata: {\"type\":\"error\"}\n\n", true),
            ("event: error\r\ndata: {}\r\n\r\n", true),
            ("event:error\n\n", true),
            ("data: {\"type\": \"error\"}\n\n", true),
            // As OpenRouter does, with a chunk around it.
            ("data: {\"id\":\"c\",\"error\":{\"code\":502},\"choices\":[{\"finish_reason\":\"error\"}]}\n\n", true),
            ("data: {\"error\":\"model not loaded\"}\n\n", true),
            ("data: {\"error\":null,\"choices\":[{}]}\n\n", false),
            ("data: {\"error\":\"\"}\n\n", false),
            ("data: {\"response\":{\"error\":{\"code\":\"x\"}}}\n\n", false),
            ("data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n", false),
            ("event: errors\ndata: {}\n\n", false),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":1}\"}}]}\n\n", false),
            ("data: {\"choices\":[],\"error\":null}\n\n", false),
            ("data: {\"content\":\"event: error\"}\n\n", false),
            ("data: {\"error\n\n", false),
            (": error\n\n", false),
            ("", false),
        ];
        for (events, want) in cases {
            assert_eq!(has_error_event(events.as_bytes()), want, "{events:?}");
        }
    }

    #[test]
    fn finds_plain_answers_that_are_errors() {
        let cases = [
            (r#"{"error":{"message":"no"}}"#, true),
            (r#"{"type":"error","error":{}}"#, true),
            ("{\n  \"object\": \"error\"\n}", true),
            (r#"{"id":"r","error":{"code":"server_error"},"status":"failed"}"#, true),
            (r#"{"id":"r","error":null,"status":"completed"}"#, false),
            (r#"{"choices":[{"message":{"content":"{\"error\":{}}"}}]}"#, false),
            (r#"{"output":[{"error":{"code":"x"}}]}"#, false),
            ("", false),
        ];
        for (answer, want) in cases {
            assert_eq!(is_error(answer.as_bytes()), want, "{answer}");
        }
    }

    #[test]
    fn finds_aborts_of_plain_answers() {
        use Dialect::{Anthropic, OpenAi, Responses};
        let cases = [
            (OpenAi, r#"{"choices":[{"finish_reason":"abort"}]}"#, true),
            (OpenAi, r#"{"choices":[{"finish_reason":"stop"},{"finish_reason": "abort"}]}"#, true),
            (OpenAi, r#"{"choices":[{"text":"\"finish_reason\":\"abort\"","finish_reason":"stop"}]}"#, false),
            (OpenAi, r#"{"finish_reason":"aborted"}"#, false),
            (OpenAi, r#"{"finish_reason":"#, false),
            (Anthropic, r#"{"role":"assistant","content":[{"text":"a"}],"usage":{}}"#, true),
            (Anthropic, r#"{"role":"assistant","content":[],"stop_reason":null}"#, true),
            (Anthropic, r#"{"role":"assistant","content":[{"text":"\"stop_reason\":\"x\""}]}"#, true),
            (Anthropic, r#"{"role":"assistant","content":[],"stop_reason":"end_turn"}"#, false),
            (Anthropic, r#"{"role":"assistant","content":[],"stop_reason": "max_tokens"}"#, false),
            (Anthropic, r#"{"input_tokens":7}"#, false),
            (Responses, r#"{"id":"r","output":[],"status":"cancelled"}"#, true),
            (Responses, r#"{"id":"r","status":"completed"}"#, false),
            (Responses, r#"{"metadata":{"status":"cancelled"},"status":"completed"}"#, false),
            (Responses, r#"{"metadata":{"a":"}{\"","status":"cancelled"},"status":"completed"}"#, false),
            (Responses, r#"{"output":["\\","status"],"status":"cancelled"}"#, true),
        ];
        for (dialect, answer, want) in cases {
            assert_eq!(is_aborted(dialect, answer.as_bytes()), want, "{dialect:?} {answer}");
        }
    }

    #[test]
    fn finds_aborts_of_streams_and_how_much_may_pass() {
        use Dialect::{Anthropic, OpenAi, Responses};
        // What passes, and what does not; nothing is cut where the latter is empty.
        let cases = [
            (OpenAi, "data: {\"a\":1}\n\ndata: {\"finish_reason\":\"abort\"}\n\n", "data: [DONE]\n\n"),
            (OpenAi, "data: {\"finish_reason\":\"abort\"}\r\n\r", "\ndata: [DONE]\r\n\r\n"),
            (OpenAi, "data: {\"finish_reason\":\"stop\"}\n\ndata: [DONE]\n\n", ""),
            (
                Anthropic,
                "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null}}\n\n",
                "event: message_stop\ndata: {}\n\n",
            ),
            (Anthropic, "data: {\"message\":{\"stop_reason\":null}}\n\n", ""),
            (
                Responses,
                "event: a\ndata: {}\n\n",
                "event: response.completed\ndata: {\"response\":{\"status\":\"cancelled\"}}\n\n",
            ),
            (
                Responses,
                "data: {\"response\":{\"metadata\":{\"status\":\"cancelled\"},\"status\":\"completed\"}}\n\n",
                "",
            ),
        ];
        for (dialect, passes, cut) in cases {
            let got = gave_up(dialect, format!("{passes}{cut}").as_bytes());
            // One that is found at the very end cuts nothing off, but is found.
            assert_eq!(got, (!cut.is_empty()).then_some(passes.len()), "{dialect:?} {passes:?}");
        }
        let last = "data: {\"finish_reason\":\"abort\"}\n\n";
        assert_eq!(gave_up(OpenAi, last.as_bytes()), Some(last.len()));
    }

    #[test]
    fn finds_aborts_of_long_answers_however_they_are_split() {
        let long = "x".repeat(100);
        let cases = [
            (Dialect::OpenAi, format!("{long}\"finish_reason\": \"abort\"{long}"), true),
            (Dialect::OpenAi, format!("{long}\"finish_reason\": \"stop\"{long}"), false),
            (Dialect::Anthropic, format!("{long}\"stop_reason\":\"end_turn\"{long}"), false),
            (Dialect::Anthropic, format!("{long}\"stop_reason\":null{long}"), true),
            (Dialect::Responses, format!("{long}\"status\":\"cancelled\"{long}"), false),
        ];
        for (dialect, text, want) in cases {
            for size in 1..text.len() {
                let mut reader = AbortReader::new(dialect);
                text.as_bytes().chunks(size).for_each(|piece| reader.look(piece));
                assert_eq!(reader.aborted(), want, "{dialect:?}, {size} bytes at a time");
                assert!(reader.carried.len() <= 2 * AbortReader::CARRIED);
            }
        }
    }
}
