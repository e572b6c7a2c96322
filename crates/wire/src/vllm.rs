//! What a vLLM engine says of its own failures, within answers that look like any other.
//!
//! An engine that is told to stop answers 500, not 503; one that dies within a stream writes an error event and `[DONE]`
//! after it; one that gives a request up says so where others say why they finished. Judged by the bytes, because a tree
//! of values would cost more than the rest of the way through the router.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

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

/// Whether one of these whole events is an error: `{"error": …}` as its data, or an event of that name.
#[must_use]
pub fn has_error_event(events: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"error"));
    // Inside an answer's text every quote is escaped, so what stands before the word on its line decides.
    WORD.find_iter(events).any(|at| {
        let line = line_before(events, at);
        if let Some(data) = line.strip_prefix(b"data:") {
            let quoted = data.strip_suffix(b"\"").filter(|_| events.get(at + 5) == Some(&b'"'));
            return matches!(quoted.map(<[u8]>::trim_ascii), Some(b"{" | br#"{"type":"# | br#"{"object":"#));
        }
        matches!(line, b"event:" | b"event: ") && matches!(events.get(at + 5), None | Some(b'\n' | b'\r'))
    })
}

/// Whether an answer, or an event of one, says that the engine gave the request up.
#[must_use]
pub fn is_aborted(answer: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"abort\""));
    WORD.find_iter(answer).any(|at| answer[..at].trim_ascii_end().ends_with(br#""finish_reason":"#))
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
    fn finds_aborts() {
        let cases = [
            (r#"{"choices":[{"finish_reason":"abort"}]}"#, true),
            (r#"{"choices":[{"finish_reason":"stop"},{"finish_reason": "abort"}]}"#, true),
            (r#"{"choices":[{"text":"\"finish_reason\":\"abort\"","finish_reason":"stop"}]}"#, false),
            (r#"{"finish_reason":"aborted"}"#, false),
            (r#"{"finish_reason":"#, false),
        ];
        for (answer, want) in cases {
            assert_eq!(is_aborted(answer.as_bytes()), want, "{answer}");
        }
    }
}
