//! The dialects in which engines' APIs tell of errors and of the end of a stream.

use bytes::{Buf, Bytes};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frames;
use crate::openai::ErrorBody;
use crate::sse;

/// Whose habits an API follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, but for responses; and what vLLM adds in the same manner. A stream ends with `[DONE]`.
    #[default]
    OpenAi,
    /// OpenAI's responses: typed events, the last of which says how the response ended.
    Responses,
    /// Anthropic's messages: typed events, the last of which is `message_stop`.
    Anthropic,
    /// Bedrock's: frames with typed events, the last of which is Converse's `metadata`. Here they are looked at as events by
    /// the same names.
    Bedrock,
}

#[derive(Serialize)]
struct AnthropicEnvelope<'a> {
    r#type: &'static str,
    error: AnthropicError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// The exact case of an error, where Anthropic's SDK looks for it.
#[derive(Serialize)]
struct Details {
    error_code: &'static str,
    unsupported: [&'static str; 1],
}

impl Details {
    /// Of what a target cannot do: without a conversation that the server keeps, the SDK's loop of tools goes on by sending all
    /// of it.
    fn of(error: &ErrorBody<'_>) -> Option<Self> {
        let thread = error.code == Some("unsupported_by_target") && error.param == Some("thread");
        thread.then_some(Self { error_code: "thread_unsupported_request", unsupported: ["thread"] })
    }
}

/// An error that a target tells, as far as its shape is judged.
#[derive(Deserialize)]
struct ToldError {
    #[serde(rename = "type")]
    kind: Option<Value>,
    error: Option<ToldInside>,
}

#[derive(Deserialize)]
struct ToldInside {
    #[serde(rename = "type")]
    kind: Option<Value>,
    message: Option<String>,
}

#[derive(Serialize)]
struct Exception<'a> {
    /// What its clients call the class of the error, where no header tells it.
    __type: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct ResponsesEvent<'a> {
    r#type: &'static str,
    code: Option<&'a str>,
    message: &'a str,
    param: Option<&'a str>,
    sequence_number: u64,
}

impl Dialect {
    /// An error as the body of an answer with this status, JSON on one line. Only Anthropic's names the request.
    #[must_use]
    pub fn error_body(self, error: &ErrorBody<'_>, status: StatusCode, request_id: &str) -> Vec<u8> {
        match self {
            Self::OpenAi | Self::Responses => error.to_json(),
            Self::Anthropic => {
                let (r#type, details) = (anthropic_type(status), Details::of(error));
                let error = AnthropicError { r#type, message: error.message, details };
                // Text always serializes, so the fallback is never seen.
                serde_json::to_vec(&AnthropicEnvelope { r#type: "error", error, request_id }).unwrap_or_default()
            }
            Self::Bedrock => {
                let error = Exception { __type: bedrock_type(status), message: error.message };
                serde_json::to_vec(&error).unwrap_or_default()
            }
        }
    }

    /// Whether a body is an error as the clients of this dialect read it.
    #[must_use]
    pub fn tells_error(self, body: &[u8]) -> bool {
        let Ok(told) = serde_json::from_slice::<ToldError>(body) else { return false };
        match self {
            Self::OpenAi | Self::Responses => told.error.is_some_and(|error| error.message.is_some()),
            Self::Anthropic => {
                let whole =
                    |error: ToldInside| error.message.is_some() && error.kind.is_some_and(|kind| kind.is_string());
                told.kind.is_some_and(|kind| kind == "error") && told.error.is_some_and(whole)
            }
            // What its errors are called stands in a header, too.
            Self::Bedrock => true,
        }
    }

    /// Whether an event is an error as the clients of this dialect read it; those of two of them go by its name.
    #[must_use]
    pub fn tells_error_event(self, event: &[u8]) -> bool {
        let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
        let data: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(b"data:")).collect();
        match self {
            Self::OpenAi => self.tells_error(&data.concat()),
            Self::Anthropic => name(event) == Some(b"error") && self.tells_error(&data.concat()),
            Self::Responses => name(event).is_some(),
            Self::Bedrock => true,
        }
    }

    /// An error as the last event of a stream. `status` is the one that the answer would have had, had it not begun;
    /// `number` is the event's place among those of a response.
    #[must_use]
    pub fn error_event(self, error: &ErrorBody<'_>, status: StatusCode, request_id: &str, number: u64) -> Bytes {
        match self {
            Self::OpenAi => event(b"", &error.to_json()),
            Self::Anthropic => event(b"event: error\n", &self.error_body(error, status, request_id)),
            Self::Bedrock => {
                // In a stream the names of exceptions begin with a small letter.
                let name = bedrock_type(status);
                let name = name[..1].to_ascii_lowercase() + &name[1..];
                frames::exception(&name, &self.error_body(error, status, request_id))
            }
            Self::Responses => {
                let (code, message, param) = (error.code, error.message, error.param);
                let body = ResponsesEvent { r#type: "error", code, message, param, sequence_number: number };
                event(b"event: error\n", &serde_json::to_vec(&body).unwrap_or_default())
            }
        }
    }

    /// Whether a stream may end after these bytes, which are one or more whole events. An error is an end, too.
    #[must_use]
    pub fn ends(self, events: &[u8]) -> bool {
        let text = events.trim_ascii_end();
        if self == Self::OpenAi && text.ends_with(b"}") {
            return false;
        }
        let last = last_event(text);
        if self == Self::OpenAi {
            return last.ends_with(b"data: [DONE]") || last.ends_with(b"data:[DONE]");
        }
        let Some(name) = name(last) else { return false };
        match self {
            Self::OpenAi => false,
            Self::Anthropic => matches!(name, b"message_stop" | b"error"),
            Self::Bedrock => name == b"metadata" || name.ends_with(b"Exception"),
            Self::Responses => {
                matches!(name, b"response.completed" | b"response.failed" | b"response.incomplete" | b"error")
            }
        }
    }

    /// Whether the last of these whole events ends an answer that failed. Only responses have such an event beside the error.
    #[must_use]
    pub fn fails(self, events: &[u8]) -> bool {
        self == Self::Responses && name(last_event(events.trim_ascii_end())) == Some(b"response.failed")
    }
}

/// The last of these events that has data, without its empty line. Comments, and events without data, are none.
fn last_event(mut text: &[u8]) -> &[u8] {
    loop {
        let start = sse::event_start(text, text.len());
        let last = &text[start..];
        if start == 0 || memchr::memmem::find(last, b"data").is_some() {
            return last;
        }
        text = text[..start].trim_ascii_end();
    }
}

/// The `event` field of an event. It stands anywhere in it, mostly first.
fn name(event: &[u8]) -> Option<&[u8]> {
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.find_map(|line| line.strip_prefix(b"event:")).map(<[u8]>::trim_ascii)
}

/// Anthropic's class of an error with this status.
fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

/// Bedrock's class of an error with this status.
fn bedrock_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UnrecognizedClientException",
        402 => "ServiceQuotaExceededException",
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 | 504 => "ModelTimeoutException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        503 | 529 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// An event that carries `body`, a JSON text on one line, after the lines `name`.
fn event(name: &'static [u8], body: &[u8]) -> Bytes {
    let mut parts = name.chain(&b"data: "[..]).chain(body).chain(&b"\n\n"[..]);
    parts.copy_to_bytes(parts.remaining())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: ErrorBody<'_> =
        ErrorBody { message: "no", kind: "server_error", param: None, code: Some("upstream_cut") };

    #[test]
    fn knows_errors_that_its_clients_read() {
        use Dialect::{Anthropic, OpenAi, Responses};
        let openai = r#"{"error":{"message":"m","type":null}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#;
        for (dialect, body, want) in [
            (OpenAi, openai, true),
            (OpenAi, anthropic, true),
            (OpenAi, r#"{"error":"m"}"#, false),
            (OpenAi, r#"{"error":{"code":5}}"#, false),
            (OpenAi, r#"[{"error":{"message":"m"}}]"#, false),
            (OpenAi, r#"{"detail":"m"}"#, false),
            (OpenAi, "", false),
            (Anthropic, anthropic, true),
            (Anthropic, openai, false),
            (Anthropic, r#"{"type":"error","error":{"message":"m"}}"#, false),
            (Responses, openai, true),
        ] {
            assert_eq!(dialect.tells_error(body.as_bytes()), want, "{dialect:?} {body}");
        }
        for (dialect, event, want) in [
            (OpenAi, format!("data: {openai}\n\n"), true),
            (OpenAi, format!("data:{openai}\r\n\r\n"), true),
            (OpenAi, "data: {\"error\":\"m\"}\n\n".to_owned(), false),
            (Anthropic, format!("event: error\ndata: {anthropic}\n\n"), true),
            (Anthropic, format!("data: {anthropic}\n\n"), false),
            (Anthropic, "event: error\ndata: {}\n\n".to_owned(), false),
            (Responses, "event: error\ndata: {}\n\n".to_owned(), true),
            (Responses, format!("data: {openai}\n\n"), false),
        ] {
            assert_eq!(dialect.tells_error_event(event.as_bytes()), want, "{dialect:?} {event}");
        }
    }

    #[test]
    fn errors_have_the_shape_that_clients_read() {
        let openai = r#"{"error":{"message":"no","type":"server_error","param":null,"code":"upstream_cut"}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"no"},"request_id":"r"}"#;
        let responses = r#"{"type":"error","code":"upstream_cut","message":"no","param":null,"sequence_number":7}"#;
        let cases = [
            (Dialect::OpenAi, openai, format!("data: {openai}\n\n")),
            (Dialect::Responses, openai, format!("event: error\ndata: {responses}\n\n")),
            (Dialect::Anthropic, anthropic, format!("event: error\ndata: {anthropic}\n\n")),
        ];
        for (dialect, body, event) in cases {
            let got = dialect.error_body(&ERROR, StatusCode::BAD_GATEWAY, "r");
            assert_eq!(String::from_utf8(got).unwrap(), body, "{dialect:?}");
            assert_eq!(dialect.error_event(&ERROR, StatusCode::BAD_GATEWAY, "r", 7), event, "{dialect:?}");
        }
    }

    #[test]
    fn a_thread_that_is_not_kept_is_told_as_the_sdk_wants_it() {
        let error = ErrorBody { code: Some("unsupported_by_target"), param: Some("thread"), ..ERROR };
        let got = Dialect::Anthropic.error_body(&error, StatusCode::BAD_REQUEST, "r");
        let want = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no","details":{"error_code":"thread_unsupported_request","unsupported":["thread"]}},"request_id":"r"}"#;
        assert_eq!(String::from_utf8(got).unwrap(), want);
        let error = ErrorBody { param: Some("seed"), ..error };
        let got = Dialect::Anthropic.error_body(&error, StatusCode::BAD_REQUEST, "r");
        assert!(!String::from_utf8(got).unwrap().contains("details"));
    }

    #[test]
    fn bedrock_is_told_by_exceptions() {
        let body = Dialect::Bedrock.error_body(&ERROR, StatusCode::TOO_MANY_REQUESTS, "r");
        assert_eq!(String::from_utf8(body).unwrap(), r#"{"__type":"ThrottlingException","message":"no"}"#);
        let frame = Dialect::Bedrock.error_event(&ERROR, StatusCode::BAD_GATEWAY, "r", 7);
        let json = Bytes::from_static(br#"{"__type":"InternalServerException","message":"no"}"#);
        let told = frames::FramesOpening::Exception("internalServerException".to_owned(), json);
        assert_eq!(frames::opening(frames::Holds::Events, &frame), Ok(told));
    }

    #[test]
    fn each_status_has_a_class() {
        let cases = [
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (415, "invalid_request_error"),
            (429, "rate_limit_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (529, "overloaded_error"),
            (504, "timeout_error"),
        ];
        for (status, want) in cases {
            assert_eq!(anthropic_type(StatusCode::from_u16(status).unwrap()), want, "{status}");
        }
    }

    #[test]
    fn knows_the_last_event() {
        use Dialect::{Anthropic, Bedrock, OpenAi, Responses};
        let cases = [
            (OpenAi, "data: {}\n\ndata: [DONE]\n\n", true),
            (OpenAi, "data:[DONE]\r\n\r\n", true),
            (OpenAi, "data: [DONE]\n\ndata: {}\n\n", false),
            (OpenAi, "event: message_stop\ndata: {}\n\n", false),
            (OpenAi, "data: {}\n\ndata: [DONE]\n\n: bye\n\nevent:\n\n", true),
            (OpenAi, ": bye\n\n", false),
            (Anthropic, "event: message_stop\ndata: {}\n\n: bye\n\n", true),
            (Anthropic, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true),
            (Anthropic, "event: a\ndata: {}\n\nevent: message_stop\r\ndata: {}\r\n\r\n", true),
            (Anthropic, "event: error\ndata: {}\n\n", true),
            (Anthropic, "event: a\rdata: {}\r\revent: message_stop\rdata: {}\r\r", true),
            (Anthropic, "event: a\ndata: {}\n\n: a comment\nid: 7\nevent: message_stop\ndata: {}\n\n", true),
            (Anthropic, "data: {}\nevent: message_stop\n\n", true),
            (Anthropic, "event: message_stop\ndata: {}\n\nevent: ping\ndata: {}\n\n", false),
            (Anthropic, "event: content_block_delta\ndata: message_stop\n\n", false),
            (Anthropic, "data: [DONE]\n\n", false),
            (Responses, "event: response.completed\ndata: {}\n\n", true),
            (Responses, "event:response.incomplete\ndata: {}\ndata: {}\n\n", true),
            (Responses, "event: response.failed\ndata: {}\n\n", true),
            (Responses, "event: response.created\ndata: {}\n\n", false),
            (Responses, "\n\n", false),
            (Bedrock, "event: messageStop\ndata: {}\n\nevent: metadata\ndata: {}\n\n", true),
            (Bedrock, "event: throttlingException\ndata: {}\n\n", true),
            (Bedrock, "event: messageStop\ndata: {}\n\n", false),
        ];
        for (dialect, text, want) in cases {
            assert_eq!(dialect.ends(text.as_bytes()), want, "{dialect:?} {text:?}");
        }
    }
}
