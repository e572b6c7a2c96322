//! What a target says of its own failures, read in its shape and told in the client's.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::Shape;
use super::events::{Events, MOST_OF_AN_ANSWER};
use crate::Dialect;
use crate::openai::ErrorBody;

/// What kind of failure it is: what decides whether another target is asked, and how the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is wrong; another target would say the same.
    Invalid,
    /// The target does not have the model, or whatever else was named.
    NotFound,
    /// The request is too long for the target's doors.
    TooLarge,
    /// The router's credentials for the target are wrong or do not suffice.
    Credentials,
    /// Too many requests or tokens a minute: the same key may be used again later.
    Pace,
    /// The account's money or quota is spent: later is not soon.
    Quota,
    /// The target has too much to do, whoever asks.
    Overloaded,
    /// The target gave up waiting for itself.
    Timeout,
    /// Anything else that is the target's fault.
    Server,
}

/// A target's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: Class,
    /// The status that the target gave, or would have given.
    pub status: StatusCode,
    /// The target's own words, but for those about credentials, which may show a part of a key.
    pub message: String,
    /// The exact case, in the target's words.
    pub code: Option<String>,
    /// The field at fault, as the target calls it.
    pub param: Option<String>,
}

/// An error in any of the shapes: `{"error":{…}}`, the inner object alone, `{"error":"…"}`, Bedrock's `{"message":…}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Error {
    #[serde(rename = "type")]
    kind: Option<Value>,
    #[serde(alias = "Message", alias = "detail")]
    message: Option<Value>,
    code: Option<Value>,
    param: Option<Value>,
    /// Where Anthropic (`error_code`) and Gemini (`reason`) name the exact case.
    details: Option<Value>,
    /// What Bedrock calls the kind where no header tells it.
    #[serde(rename = "__type")]
    exception: Option<Value>,
}

impl Error {
    /// The exact case, but for a code that only repeats the status.
    fn code(&self) -> Option<String> {
        let own = word(self.code.as_ref()).filter(|code| code.parse::<u16>().is_err());
        own.or_else(|| match self.details.as_ref()? {
            Value::Array(items) => items.iter().find_map(|item| word(item.get("reason"))),
            details => word(details.get("error_code")),
        })
    }

    /// Whether the money behind the key is spent. Words count only where a provider does not repeat the request in them: a
    /// client must not be able to say them for it.
    fn is_money(&self, status: StatusCode, kind: Option<&str>) -> bool {
        let message = word(self.message.as_ref()).unwrap_or_default().to_ascii_lowercase();
        let named = [self.code().as_deref(), kind].into_iter().flatten().any(|name| MONEY.contains(&name));
        let pace = status == StatusCode::TOO_MANY_REQUESTS;
        named
            || message.starts_with("your credit balance is too low")
            || (pace && message.starts_with("you exceeded your current quota, please check your plan and billing"))
            || (pace && MONEY.iter().any(|name| message.contains(name)))
    }

    /// Whether the key is the matter, whatever the status: Gemini says so by a 400.
    fn is_key(&self) -> bool {
        self.code().is_some_and(|code| matches!(code.as_str(), "API_KEY_INVALID" | "invalid_api_key"))
    }
}

/// Codes and types that mean that the money is gone, not that the pace is too high. Anthropic's are those of its SDK 2.10.0;
/// `ramp_limit_exceeded` is not among them, as it passes with time.
const MONEY: [&str; 8] = [
    "insufficient_quota",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable",
];

impl Failure {
    /// Reads an answer of an error's status. `kind` is what a header says of it (Bedrock's `x-amzn-errortype`).
    #[must_use]
    pub fn read(from: Shape, status: StatusCode, body: &[u8], kind: Option<&str>) -> Self {
        let mut error = parse(body);
        error.message = error.message.or_else(|| plain_words(body));
        let told = || word(error.exception.as_ref().or(error.kind.as_ref()));
        let kind = kind.map(str::to_owned).or_else(told).map(|kind| exception(&kind).to_owned());
        let class = match kind.as_deref().filter(|_| from == Shape::Converse) {
            Some(kind) => of_exception(kind),
            None => None,
        };
        let class = class.unwrap_or_else(|| by_status(status, &error, kind.as_deref()));
        Self::new(class, status, &error, kind)
    }

    /// Reads an error that came with a status of 200: an event of a stream, or a whole answer.
    #[must_use]
    pub fn of_success(dialect: Dialect, text: &[u8]) -> Self {
        let mut data = Vec::new();
        let mut note = |_: &[u8], event: &[u8]| {
            data.extend_from_slice(event);
            true
        };
        let mut events = Events::new(MOST_OF_AN_ANSWER);
        // What is too long is read as far as it goes, and is a failure whatever it says.
        let _ = events.push(text, &mut note);
        events.finish(&mut note);
        let data = if data.is_empty() { text } else { &data };
        match dialect {
            Dialect::Anthropic => Self::of_messages(data),
            Dialect::OpenAi | Dialect::Responses => Self::of_openai(data),
            Dialect::Bedrock => Self::read(Shape::Converse, StatusCode::INTERNAL_SERVER_ERROR, data, None),
        }
    }

    /// Reads an error within a stream or an answer of OpenAI's kind.
    pub(crate) fn of_openai(body: &[u8]) -> Self {
        let error = parse(body);
        let kind = word(error.kind.as_ref());
        let named = [error.code(), kind.clone()];
        let says = |part: &str| named.iter().flatten().any(|word| word.contains(part));
        let number = error.code.as_ref().and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        let status = match number.and_then(|n| StatusCode::from_u16(n).ok()).filter(|s| s.as_u16() >= 400) {
            Some(status) => status,
            None if says("rate_limit") || error.is_money(StatusCode::OK, kind.as_deref()) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            None if says("overloaded") || says("slow_down") => StatusCode::SERVICE_UNAVAILABLE,
            None if says("invalid") || says("context_length_exceeded") => StatusCode::BAD_REQUEST,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(by_status(status, &error, kind.as_deref()), status, &error, kind)
    }

    /// Reads an error within a stream of messages.
    pub(crate) fn of_messages(body: &[u8]) -> Self {
        let error = parse(body);
        let kind = word(error.kind.as_ref());
        let status = match kind.as_deref() {
            Some("invalid_request_error") => 400,
            Some("authentication_error") => 401,
            Some("billing_error") => 402,
            Some("permission_error") => 403,
            Some("not_found_error") => 404,
            Some("request_too_large") => 413,
            Some("rate_limit_error") => 429,
            Some("timeout_error") => 504,
            Some("overloaded_error") => 529,
            _ => 500,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(by_status(status, &error, kind.as_deref()), status, &error, kind)
    }

    /// Reads an exception within a stream of Bedrock's.
    #[must_use]
    pub fn of_converse(exception: &str, body: &[u8]) -> Self {
        let class = of_exception(exception).unwrap_or(Class::Server);
        let status = match class {
            Class::Invalid => StatusCode::BAD_REQUEST,
            Class::Credentials => StatusCode::FORBIDDEN,
            Class::Pace => StatusCode::TOO_MANY_REQUESTS,
            Class::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Class::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(class, status, &parse(body), Some(exception.to_owned()))
    }

    /// An engine that let a request go, or a provider whose model wrote what it could not read itself.
    pub(crate) fn gave_up() -> Self {
        Self::server("the target gave the request up".to_owned(), "upstream_aborted")
    }

    /// A failure that the target does not know of.
    pub(crate) fn server(message: String, code: &str) -> Self {
        let (class, status) = (Class::Server, StatusCode::BAD_GATEWAY);
        Self { class, status, message, code: Some(code.to_owned()), param: None }
    }

    fn new(class: Class, status: StatusCode, error: &Error, kind: Option<String>) -> Self {
        if class == Class::Credentials {
            let message = "the target does not accept the router's credentials".to_owned();
            return Self { class, status, message, code: None, param: None };
        }
        let code = error.code().or_else(|| kind.filter(|k| MONEY.contains(&k.as_str())));
        let message = word(error.message.as_ref()).unwrap_or_else(|| format!("the target answered {status}"));
        Self { class, status, message, code, param: word(error.param.as_ref()) }
    }

    /// The status that a client of this shape gets.
    #[must_use]
    pub fn status_for(&self, to: Shape) -> StatusCode {
        let code = match self.class {
            Class::Invalid if self.status.is_client_error() => return self.status,
            Class::Invalid => 400,
            Class::NotFound => 404,
            Class::TooLarge => 413,
            // Anthropic's clients repeat a 429, however much money is missing; a 402 they do not.
            Class::Quota if to == Shape::Messages => 402,
            Class::Pace | Class::Quota => 429,
            Class::Overloaded if to == Shape::Messages && self.status.as_u16() == 529 => 529,
            Class::Overloaded => 503,
            Class::Timeout => 504,
            Class::Server if self.status == StatusCode::INTERNAL_SERVER_ERROR => 500,
            Class::Credentials | Class::Server => 502,
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY)
    }

    /// The failure as OpenAI's clients read it; other dialects are made from it.
    #[must_use]
    pub fn error(&self) -> ErrorBody<'_> {
        let (kind, code) = match self.class {
            Class::Invalid | Class::NotFound | Class::TooLarge => ("invalid_request_error", None),
            Class::Credentials => ("server_error", Some("upstream_credentials")),
            Class::Pace => ("rate_limit_error", Some("rate_limit_exceeded")),
            Class::Quota => ("insufficient_quota", Some("insufficient_quota")),
            Class::Overloaded => ("server_error", Some("overloaded")),
            Class::Timeout => ("server_error", Some("timeout")),
            Class::Server => ("server_error", None),
        };
        let own = self.code.as_deref().filter(|_| self.class != Class::Quota);
        ErrorBody { message: &self.message, kind, param: self.param.as_deref(), code: own.or(code) }
    }

    /// The body of an answer to a client of this shape; its status is [`Failure::status_for`].
    #[must_use]
    pub fn body(&self, to: Shape, request_id: &str) -> Vec<u8> {
        to.dialect().error_body(&self.error(), self.status_for(to), request_id)
    }
}

fn parse(body: &[u8]) -> Error {
    let mut body: Value = match serde_json::from_slice(body).unwrap_or_default() {
        // Gemini's compatible endpoint puts its error into a list.
        Value::Array(items) => items.into_iter().next().unwrap_or_default(),
        body => body,
    };
    // A response that failed holds its error.
    if let Some(response) = body.get_mut("response").filter(|response| response.is_object()) {
        body = response.take();
    }
    match body.get_mut("error").map(Value::take) {
        Some(Value::String(message)) => Error { message: Some(Value::String(message)), ..Error::default() },
        Some(error @ Value::Object(_)) => serde_json::from_value(error).unwrap_or_default(),
        _ => serde_json::from_value(body).unwrap_or_default(),
    }
}

/// The words of an error that is a sentence and no JSON.
fn plain_words(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let sentence =
        (1..=512).contains(&text.len()) && !text.starts_with(['<', '{', '[']) && !text.contains(char::is_control);
    sentence.then(|| text.into())
}

/// A text, or a number as a text.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn by_status(status: StatusCode, error: &Error, kind: Option<&str>) -> Class {
    match status.as_u16() {
        402 => Class::Quota,
        400 | 403 | 429 if error.is_money(status, kind) => Class::Quota,
        400 if error.is_key() => Class::Credentials,
        401 | 403 => Class::Credentials,
        404 => Class::NotFound,
        408 | 504 => Class::Timeout,
        413 => Class::TooLarge,
        429 => Class::Pace,
        503 | 529 => Class::Overloaded,
        // Bedrock's model failed, not the request.
        424 => Class::Server,
        400..=499 => Class::Invalid,
        _ => Class::Server,
    }
}

/// The name alone: `ThrottlingException:http://…` has more behind it, `com.amazon.coral.service#ThrottlingException` in front.
fn exception(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default()
}

/// Bedrock's classes, with and without `Exception` at their end.
fn of_exception(name: &str) -> Option<Class> {
    let name = name.strip_suffix("Exception").unwrap_or(name).to_ascii_lowercase();
    Some(match name.as_str() {
        "validation" => Class::Invalid,
        "accessdenied"
        | "unrecognizedclient"
        | "invalidsignature"
        | "incompletesignature"
        | "expiredtoken"
        | "requestexpired"
        | "missingauthenticationtoken"
        | "invalidclienttokenid"
        | "notauthorized" => Class::Credentials,
        "resourcenotfound" => Class::NotFound,
        "throttling" | "toomanyrequests" | "servicequotaexceeded" => Class::Pace,
        "serviceunavailable" | "modelnotready" => Class::Overloaded,
        "modeltimeout" => Class::Timeout,
        "internalserver" | "modelerror" | "modelstreamerror" => Class::Server,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: Shape, status: u16, body: &str, kind: Option<&str>) -> Failure {
        Failure::read(from, StatusCode::from_u16(status).unwrap(), body.as_bytes(), kind)
    }

    #[test]
    fn classes_and_statuses() {
        use Shape::{Chat, Converse, Messages};
        let quota = r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
        let spend =
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"enforced_spend_limit_reached: x"}}"#;
        let details = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        let ramp = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"ramp_limit_exceeded"}}}"#;
        let credit = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#;
        // What a client wrote is no word of the provider's.
        let echo = r#"{"error":{"message":"Invalid value: 'insufficient_quota'.","type":"invalid_request_error","code":"invalid_value"}}"#;
        let gemini = r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#;
        let plain = r#"{"error":{"message":"m","type":"x","code":"y"}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#;
        // The target's shape, its answer; the class, the status for chat, the status for messages.
        let cases = [
            (Chat, 400, plain, None, Class::Invalid, 400, 400),
            (Chat, 422, plain, None, Class::Invalid, 422, 422),
            (Chat, 401, plain, None, Class::Credentials, 502, 502),
            (Messages, 403, plain, None, Class::Credentials, 502, 502),
            (Chat, 404, plain, None, Class::NotFound, 404, 404),
            (Chat, 413, "", None, Class::TooLarge, 413, 413),
            (Chat, 429, plain, None, Class::Pace, 429, 429),
            (Chat, 429, quota, None, Class::Quota, 429, 402),
            (Messages, 429, spend, None, Class::Quota, 429, 402),
            (Messages, 402, plain, None, Class::Quota, 429, 402),
            (Messages, 429, details, None, Class::Quota, 429, 402),
            (Messages, 429, ramp, None, Class::Pace, 429, 429),
            (Messages, 400, credit, None, Class::Quota, 429, 402),
            (Chat, 400, echo, None, Class::Invalid, 400, 400),
            (Chat, 400, gemini, None, Class::Credentials, 502, 502),
            (Messages, 529, anthropic, None, Class::Overloaded, 503, 529),
            (Chat, 503, "<html>", None, Class::Overloaded, 503, 503),
            (Chat, 500, plain, None, Class::Server, 500, 500),
            (Chat, 502, "", None, Class::Server, 502, 502),
            (Chat, 504, "", None, Class::Timeout, 504, 504),
            (Converse, 429, r#"{"message":"m"}"#, Some("ThrottlingException:http://x"), Class::Pace, 429, 429),
            (Converse, 429, r#"{"message":"m"}"#, Some("ModelNotReadyException"), Class::Overloaded, 503, 503),
            (Converse, 424, r#"{"message":"m"}"#, Some("ModelErrorException"), Class::Server, 502, 502),
            (Converse, 400, r#"{"Message":"m"}"#, Some("ValidationException"), Class::Invalid, 400, 400),
            (Converse, 403, r#"{"message":"m"}"#, None, Class::Credentials, 502, 502),
            (
                Converse,
                400,
                r#"{"__type":"com.amazon.coral.service#ExpiredTokenException"}"#,
                None,
                Class::Credentials,
                502,
                502,
            ),
            (Converse, 400, "{}", Some("ServiceQuotaExceededException"), Class::Pace, 429, 429),
        ];
        for (from, status, body, kind, class, chat, messages) in cases {
            let failure = read(from, status, body, kind);
            assert_eq!(failure.class, class, "{from} {status} {body}");
            assert_eq!(failure.status_for(Chat), chat, "{from} {status} {body}");
            assert_eq!(failure.status_for(Messages), messages, "{from} {status} {body}");
        }
    }

    #[test]
    fn words_are_kept_but_for_keys() {
        let body = r#"{"error":{"message":"no such thing","type":"x","param":"messages[0]","code":"bad"}}"#;
        let failure = read(Shape::Chat, 400, body, None);
        let text = String::from_utf8(failure.body(Shape::Messages, "r")).unwrap();
        let want =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no such thing"},"request_id":"r"}"#;
        assert_eq!(text, want);
        let text = String::from_utf8(failure.body(Shape::Chat, "r")).unwrap();
        let want = r#"{"error":{"message":"no such thing","type":"invalid_request_error","param":"messages[0]","code":"bad"}}"#;
        assert_eq!(text, want);

        let body = r#"{"error":{"message":"Incorrect API key provided: sk-abc","type":"x","code":"invalid_api_key"}}"#;
        let text = String::from_utf8(read(Shape::Chat, 401, body, None).body(Shape::Chat, "r")).unwrap();
        assert!(!text.contains("sk-abc") && text.contains("upstream_credentials"), "{text}");

        for (body, words) in
            [("no such model\n", "no such model"), ("<p>no</p>", "the target answered 404"), ("", "404")]
        {
            let text = String::from_utf8(read(Shape::Chat, 404, body, None).body(Shape::Chat, "r")).unwrap();
            assert!(text.contains(words) && !text.contains("<p>"), "{text}");
        }

        let body = r#"{"type":"error","error":{"type":"billing_error","message":"pay"}}"#;
        let text = String::from_utf8(read(Shape::Messages, 402, body, None).body(Shape::Chat, "r")).unwrap();
        assert!(text.contains(r#""code":"insufficient_quota""#), "{text}");
    }

    #[test]
    fn errors_within_streams() {
        let cases = [
            (Failure::of_openai(br#"{"message":"m","type":"server_error","code":"rate_limit_exceeded"}"#), Class::Pace),
            (Failure::of_openai(br#"{"message":"m","code":400}"#), Class::Invalid),
            (Failure::of_openai(br#"{"error":{"message":"m","type":"insufficient_quota"}}"#), Class::Quota),
            (Failure::of_openai(b"{}"), Class::Server),
            (
                Failure::of_messages(br#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#),
                Class::Overloaded,
            ),
            (Failure::of_messages(br#"{"type":"error"}"#), Class::Server),
            (
                Failure::of_success(
                    Dialect::Anthropic,
                    b"\xef\xbb\xbfevent: error\r\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\r\n\r\n",
                ),
                Class::Overloaded,
            ),
            (
                Failure::of_success(
                    Dialect::Responses,
                    b"event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}}\n\n",
                ),
                Class::Pace,
            ),
            (Failure::of_success(Dialect::OpenAi, br#"{"error":{"message":"m","code":502}}"#), Class::Server),
            (Failure::of_success(Dialect::OpenAi, b""), Class::Server),
            (Failure::of_converse("throttlingException", br#"{"message":"m"}"#), Class::Pace),
            (Failure::of_converse("modelStreamErrorException", b"{}"), Class::Server),
        ];
        for (failure, class) in cases {
            assert_eq!(failure.class, class, "{failure:?}");
        }
    }
}
