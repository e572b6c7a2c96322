//! How a stream opens: whether the model has begun to speak, or an error came first.

use memchr::memmem;

use super::WholeEvents;
use crate::Dialect;
use crate::vllm::has_error_event;

/// What the first events of a stream tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOpening<'a> {
    /// Nothing yet: only events that go before the first token.
    Nothing,
    /// The model speaks, or has finished without a word.
    Token,
    /// An error; this event.
    Error(&'a [u8]),
}

/// Members of an OpenAI chunk that carry what the model says, or why it stopped, as a text that is not empty.
const TEXTS: [&[u8]; 6] =
    [b"\"content\"", b"\"text\"", b"\"reasoning_content\"", b"\"reasoning\"", b"\"refusal\"", b"\"finish_reason\""];
/// Members that carry it in other forms.
const OTHERS: [&[u8]; 3] = [b"\"tool_calls\"", b"\"function_call\"", b"\"audio\""];

/// Reads the start of a stream; what is not a whole event yet does not count.
#[must_use]
pub fn stream_opening(dialect: Dialect, bytes: &[u8]) -> StreamOpening<'_> {
    // A mark of byte order may stand before the first event.
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    while let Some(event) = WholeEvents::first(rest) {
        rest = &rest[event.len()..];
        if has_error_event(event) || dialect.fails(event) {
            return StreamOpening::Error(event);
        }
        if speaks(dialect, event) {
            return StreamOpening::Token;
        }
    }
    StreamOpening::Nothing
}

/// The same of an engine of ours, whose streams are known: what does not go before a token there is one.
#[must_use]
pub fn engine_opening(dialect: Dialect, bytes: &[u8]) -> StreamOpening<'_> {
    let mut rest = bytes;
    while let Some(event) = WholeEvents::first(rest) {
        rest = &rest[event.len()..];
        if has_error_event(event) || dialect.fails(event) {
            return StreamOpening::Error(event);
        }
        // A comment says nothing.
        let says = memmem::find(event, b"data").is_some();
        if speaks(dialect, event) || (says && !precedes(dialect, event)) {
            return StreamOpening::Token;
        }
    }
    StreamOpening::Nothing
}

/// Whether an event is one of those that vLLM sends before the first token.
fn precedes(dialect: Dialect, event: &[u8]) -> bool {
    match dialect {
        Dialect::OpenAi => values(event, b"\"role\"").next().is_some(),
        Dialect::Anthropic => matches!(name(event), b"message_start" | b"content_block_start" | b"ping"),
        Dialect::Responses => matches!(
            name(event),
            b"response.created"
                | b"response.in_progress"
                | b"response.output_item.added"
                | b"response.content_part.added"
        ),
        // No engine speaks it.
        Dialect::Bedrock => false,
    }
}

fn speaks(dialect: Dialect, event: &[u8]) -> bool {
    let name = name(event);
    match dialect {
        Dialect::Anthropic => matches!(name, b"content_block_delta" | b"message_delta" | b"message_stop"),
        // Its streams are looked at as frames.
        Dialect::Bedrock => true,
        Dialect::Responses => {
            name.ends_with(b".delta")
                || name.ends_with(b".done")
                || matches!(name, b"response.completed" | b"response.incomplete")
        }
        Dialect::OpenAi => {
            let text =
                |key: &&[u8]| values(event, key).any(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""));
            dialect.ends(event) || TEXTS.iter().any(text) || OTHERS.iter().any(|key| values(event, key).any(is_filled))
        }
    }
}

/// Whether a value is an object, or a list that is not empty.
fn is_filled(value: &[u8]) -> bool {
    value
        .strip_prefix(b"[")
        .map_or_else(|| value.starts_with(b"{"), |items| !items.trim_ascii_start().starts_with(b"]"))
}

/// What follows the colon behind each place of a key. Within a text its quotes would be escaped.
fn values<'a>(event: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    memmem::find_iter(event, key).filter_map(move |at| {
        let after = event[at + key.len()..].trim_ascii_start().strip_prefix(b":")?;
        Some(after.trim_ascii_start())
    })
}

/// The value of the event's `event` field, if it has one.
fn name(event: &[u8]) -> &[u8] {
    let lines = event.split(|b| *b == b'\n' || *b == b'\r');
    lines.filter_map(|line| line.strip_prefix(b"event:")).next_back().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\
                        \"finish_reason\":null}],\"usage\":null}\n\n";
    const FILTER: &str =
        "data: {\"choices\":[],\"prompt_filter_results\":[{\"content_filter_results\":{}}]}\n\n: ping\n\n";
    const START: &str = "event: message_start\ndata: {\"message\":{\"content\":[]}}\n\nevent: content_block_start\n\
                         data: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {}\n\n";
    const CREATED: &str = "event: response.created\ndata: {}\n\nevent: response.output_item.added\ndata: {}\n\n";

    #[test]
    fn knows_the_first_token_of_each_dialect() {
        use Dialect::{Anthropic, OpenAi, Responses};
        let delta = |delta: &str| format!("data: {{\"choices\": [{{\"delta\": {{{delta}}}}}]}}\n\n");
        let cases = [
            (OpenAi, String::new(), false),
            (OpenAi, format!("{FILTER}{ROLE}"), false),
            (OpenAi, delta("\"content\":\"Hi\""), true),
            (OpenAi, delta("\"content\":\"Hi\"").trim_end().to_owned(), false),
            (OpenAi, delta("\"reasoning_content\": \"Hm\""), true),
            (OpenAi, delta("\"tool_calls\":[{\"index\":0}]"), true),
            (OpenAi, delta("\"tool_calls\":[ ]"), false),
            (OpenAi, delta("\"x\":\"\\\"content\\\":\\\"a\\\"\""), false),
            (OpenAi, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned(), true),
            (OpenAi, "data: [DONE]\n\n".to_owned(), true),
            (Anthropic, String::new(), false),
            (Anthropic, "event: content_block_delta\ndata: {}\n\n".to_owned(), true),
            (Anthropic, "event: content_block_delta\r\ndata: {}\r\n\r\n".to_owned(), true),
            (Anthropic, "event: message_stop\ndata: {}\n\n".to_owned(), true),
            (Responses, String::new(), false),
            (Responses, "event: response.output_text.delta\ndata: {}\n\n".to_owned(), true),
            (Responses, "event: response.completed\ndata: {}\n\n".to_owned(), true),
        ];
        for (dialect, event, token) in cases {
            let before = match dialect {
                OpenAi => ROLE,
                Anthropic => START,
                Responses => CREATED,
                Dialect::Bedrock => "",
            };
            let want = if token { StreamOpening::Token } else { StreamOpening::Nothing };
            let text = format!("{before}{event}");
            assert_eq!(stream_opening(dialect, text.as_bytes()), want, "{dialect:?} {text}");
        }
    }

    #[test]
    fn an_engine_says_nothing_only_by_what_is_known() {
        use Dialect::{Anthropic, OpenAi, Responses};
        let cases = [
            (OpenAi, ROLE, StreamOpening::Nothing),
            (OpenAi, ": ping\n\n", StreamOpening::Nothing),
            (OpenAi, "data: {\"anything\":1}\n\n", StreamOpening::Token),
            (OpenAi, "data: {\"error\":{}}\n\n", StreamOpening::Error(b"data: {\"error\":{}}\n\n")),
            (Anthropic, START, StreamOpening::Nothing),
            (Anthropic, "data: a\n\n", StreamOpening::Token),
            (Responses, CREATED, StreamOpening::Nothing),
            (Responses, "event: response.new\ndata: a\n\n", StreamOpening::Token),
        ];
        for (dialect, text, want) in cases {
            assert_eq!(engine_opening(dialect, text.as_bytes()), want, "{dialect:?} {text}");
        }
    }

    #[test]
    fn an_error_that_comes_first_is_told() {
        let cases = [
            (
                Dialect::Anthropic,
                START,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
                "event: content_block_delta\ndata: {}\n\n",
            ),
            (
                Dialect::OpenAi,
                ": ping\n\n",
                "data: {\"error\":{\"message\":\"no\"}}\n\n",
                "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            ),
            (
                Dialect::Responses,
                CREATED,
                "event: response.failed\ndata: {}\n\n",
                "event: response.output_text.delta\ndata: {}\n\n",
            ),
        ];
        for (dialect, before, error, token) in cases {
            let text = format!("\u{feff}{error}");
            assert_eq!(stream_opening(dialect, text.as_bytes()), StreamOpening::Error(error.as_bytes()), "{dialect:?}");
            let text = format!("{before}{error}");
            assert_eq!(stream_opening(dialect, text.as_bytes()), StreamOpening::Error(error.as_bytes()), "{dialect:?}");
            let text = format!("{before}{token}{error}");
            assert_eq!(stream_opening(dialect, text.as_bytes()), StreamOpening::Token, "{dialect:?}");
        }
    }
}
