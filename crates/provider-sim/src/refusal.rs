//! Refusals, each in the words and the shape of the API that refuses.

use crate::script::Script;
use crate::text::quoted;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Anthropic,
    OpenAi,
    /// `OpenAI`'s models as Azure serves them.
    Azure,
    Bedrock,
    /// A server that is only compatible with `OpenAI`: Ollama, another engine.
    Compatible,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Invalid,
    Missing,
    Unsupported,
    ContextLength,
    PreviousResponse,
    Key,
    /// A signature that is not right.
    Signature,
    /// The money is gone.
    Billing,
    Forbidden,
    Model,
    Route,
    Conflict,
    TooLarge,
    /// Too many requests or tokens a minute.
    Pace,
    /// A 429 that waiting does not cure: quota or spend limit.
    Quota,
    /// A limit of how fast use may grow.
    Ramp,
    /// The model is being loaded.
    NotReady,
    Timeout,
    /// The model itself failed.
    ModelFailed,
    Server,
    Unavailable,
    Overloaded,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// The field that is wrong, as `OpenAI` names it.
    pub(crate) param: Option<String>,
    /// The status, where it is not the cause's own.
    pub(crate) status: Option<u16>,
}

/// Names of faults' causes, each with what it stands for.
pub(crate) const CAUSES: [(&str, Cause); 9] = [
    ("pace", Cause::Pace),
    ("quota", Cause::Quota),
    ("ramp", Cause::Ramp),
    ("billing", Cause::Billing),
    ("not-ready", Cause::NotReady),
    ("overloaded", Cause::Overloaded),
    ("unavailable", Cause::Unavailable),
    ("server", Cause::Server),
    ("timeout", Cause::Timeout),
];

impl Refusal {
    /// A refusal for `cause`.
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), param: None, status: None }
    }

    /// A body that is wrong in the field `param`.
    pub(crate) fn field(cause: Cause, param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(cause, message) }
    }

    /// A field that has to be there.
    pub(crate) fn missing(api: Api, param: &str) -> Self {
        let message = match api {
            Api::Anthropic => format!("{param}: Field required"),
            Api::Bedrock => format!(
                "1 validation error detected: Value at '{param}' failed to satisfy constraint: Member must not be null"
            ),
            Api::OpenAi | Api::Azure | Api::Compatible => format!("Missing required parameter: '{param}'."),
        };
        Self::field(Cause::Missing, param, message)
    }

    /// What a provider says for a status that a test asks for.
    pub(crate) fn of_status(status: u16, cause: Option<Cause>) -> Self {
        let cause = cause.unwrap_or(match status {
            401 => Cause::Key,
            402 => Cause::Billing,
            403 => Cause::Forbidden,
            404 => Cause::Model,
            408 | 504 => Cause::Timeout,
            409 => Cause::Conflict,
            413 => Cause::TooLarge,
            424 => Cause::ModelFailed,
            429 => Cause::Pace,
            502 | 503 => Cause::Unavailable,
            529 => Cause::Overloaded,
            500..=599 => Cause::Server,
            _ => Cause::Invalid,
        });
        Self { status: Some(status), ..Self::new(cause, said(cause)) }
    }

    /// The status by which `api` refuses.
    pub(crate) fn status(&self, api: Api) -> u16 {
        self.status.unwrap_or_else(|| self.terms(api).0)
    }

    /// Status, type and code in the terms of `api`.
    fn terms(&self, api: Api) -> (u16, &'static str, Option<&'static str>) {
        match api {
            Api::Anthropic => anthropic(self.cause),
            Api::Bedrock => bedrock(self.cause),
            Api::OpenAi | Api::Azure | Api::Compatible => openai(self.cause),
        }
    }

    /// The type by which `api` names it.
    pub(crate) fn kind(&self, api: Api) -> &'static str {
        self.terms(api).1
    }

    /// The JSON that tells of it, as it stands in a body or in an event of a stream.
    pub(crate) fn json(&self, api: Api, request: &str) -> String {
        let (_, kind, code) = self.terms(api);
        let message = quoted(&self.message);
        match api {
            Api::Anthropic => {
                let details = code.map_or_else(String::new, |code| format!(r#","details":{{"error_code":"{code}"}}"#));
                format!(
                    r#"{{"type":"error","error":{{"type":"{kind}","message":{message}{details}}},"request_id":"{request}"}}"#
                )
            }
            Api::Bedrock => format!(r#"{{"message":{message}}}"#),
            // Azure's gateway has words of its own for a wrong key.
            Api::Azure if self.cause == Cause::Key => {
                r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#.to_owned()
            }
            Api::OpenAi | Api::Azure | Api::Compatible => {
                let param = self.param.as_deref().map_or_else(|| "null".to_owned(), quoted);
                let code = code.map_or_else(|| "null".to_owned(), quoted);
                format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}}}"#)
            }
        }
    }

    /// The whole answer. `request` is the id that names it.
    pub(crate) fn script(&self, api: Api, request: &str) -> Script {
        let mut script = Script::json(self.status(api), self.json(api, request), 0);
        match (api, self.cause) {
            (Api::Bedrock, _) => script.header("x-amzn-errortype", self.kind(api)),
            (Api::Anthropic, Cause::Overloaded | Cause::Server | Cause::Pace) => {
                script.header("x-should-retry", "true");
            }
            (Api::Anthropic, Cause::Quota | Cause::Billing) | (Api::OpenAi, Cause::Quota) => {
                script.header("x-should-retry", "false");
            }
            _ => {}
        }
        if self.cause == Cause::Pace && api != Api::Bedrock {
            script.header("retry-after", "1");
        }
        script
    }
}

/// What is said when a test asks for a refusal.
fn said(cause: Cause) -> &'static str {
    match cause {
        Cause::Key => "Incorrect API key provided, as a test asked for.",
        Cause::Billing => "Your credit balance is too low to access the API.",
        Cause::Forbidden => "This key may not use the resource.",
        Cause::Model | Cause::Route => "The resource does not exist.",
        Cause::Conflict => "The request conflicts with another one.",
        Cause::TooLarge => "Request exceeds the maximum size.",
        Cause::Pace => "Rate limit reached: too many tokens per minute. Please try again later.",
        Cause::Quota => "You exceeded your current quota, please check your plan and billing details.",
        Cause::Ramp => "Your use grows faster than it may. Raise it step by step.",
        Cause::NotReady => "The model is not ready for inference. Try again later.",
        Cause::Timeout => "The request timed out.",
        Cause::ModelFailed => "The model failed to answer.",
        Cause::Server => "The server had an error while processing your request. Sorry about that!",
        Cause::Unavailable => "The service is unavailable for the moment.",
        Cause::Overloaded => "Overloaded",
        _ => "A fault that a test asked for.",
    }
}

fn anthropic(cause: Cause) -> (u16, &'static str, Option<&'static str>) {
    match cause {
        Cause::Key => (401, "authentication_error", None),
        Cause::Billing => (402, "billing_error", None),
        Cause::Forbidden => (403, "permission_error", None),
        Cause::Model | Cause::Route => (404, "not_found_error", None),
        Cause::TooLarge => (413, "request_too_large", None),
        Cause::Pace => (429, "rate_limit_error", None),
        Cause::Quota => (429, "rate_limit_error", Some("enforced_spend_limit_reached")),
        Cause::Ramp => (429, "rate_limit_error", Some("ramp_limit_exceeded")),
        Cause::Server | Cause::ModelFailed => (500, "api_error", None),
        Cause::Timeout => (504, "timeout_error", None),
        Cause::Overloaded | Cause::Unavailable | Cause::NotReady => (529, "overloaded_error", None),
        _ => (400, "invalid_request_error", None),
    }
}

fn openai(cause: Cause) -> (u16, &'static str, Option<&'static str>) {
    match cause {
        Cause::Missing => (400, "invalid_request_error", Some("missing_required_parameter")),
        Cause::Unsupported => (400, "invalid_request_error", Some("unsupported_parameter")),
        Cause::ContextLength => (400, "invalid_request_error", Some("context_length_exceeded")),
        Cause::PreviousResponse => (400, "invalid_request_error", Some("previous_response_not_found")),
        Cause::Key => (401, "invalid_request_error", Some("invalid_api_key")),
        Cause::Forbidden => (403, "request_forbidden", Some("unsupported_country_region_territory")),
        Cause::Model => (404, "invalid_request_error", Some("model_not_found")),
        Cause::Route => (404, "invalid_request_error", None),
        Cause::Conflict => (409, "invalid_request_error", None),
        Cause::TooLarge => (413, "invalid_request_error", None),
        Cause::Pace | Cause::Ramp => (429, "tokens", Some("rate_limit_exceeded")),
        Cause::Quota | Cause::Billing => (429, "insufficient_quota", Some("insufficient_quota")),
        Cause::Timeout => (504, "server_error", None),
        Cause::Overloaded | Cause::Unavailable | Cause::NotReady => (503, "server_error", None),
        Cause::Server | Cause::ModelFailed => (500, "server_error", None),
        Cause::Invalid | Cause::Signature => (400, "invalid_request_error", None),
    }
}

fn bedrock(cause: Cause) -> (u16, &'static str, Option<&'static str>) {
    match cause {
        Cause::Key => (403, "UnrecognizedClientException", None),
        Cause::Signature => (403, "InvalidSignatureException", None),
        Cause::Forbidden | Cause::Billing => (403, "AccessDeniedException", None),
        Cause::Route => (404, "ResourceNotFoundException", None),
        Cause::Timeout => (408, "ModelTimeoutException", None),
        Cause::ModelFailed => (424, "ModelErrorException", None),
        Cause::Pace | Cause::Ramp => (429, "ThrottlingException", None),
        Cause::NotReady => (429, "ModelNotReadyException", None),
        Cause::Quota => (400, "ServiceQuotaExceededException", None),
        Cause::Server => (500, "InternalServerException", None),
        Cause::Overloaded | Cause::Unavailable => (503, "ServiceUnavailableException", None),
        _ => (400, "ValidationException", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_shape_of_its_api() {
        let refusal = Refusal::missing(Api::OpenAi, "messages");
        assert_eq!(
            refusal.json(Api::OpenAi, "r"),
            r#"{"error":{"message":"Missing required parameter: 'messages'.","type":"invalid_request_error","param":"messages","code":"missing_required_parameter"}}"#
        );
        let refusal = Refusal::missing(Api::Anthropic, "max_tokens");
        assert_eq!(
            refusal.json(Api::Anthropic, "req_1"),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"},"request_id":"req_1"}"#
        );
        let refusal = Refusal::of_status(429, Some(Cause::Quota));
        assert_eq!(
            refusal.json(Api::Anthropic, "req_1"),
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"You exceeded your current quota, please check your plan and billing details.","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}"#
        );
        let script = refusal.script(Api::Bedrock, "r");
        assert!(script.headers.contains(&("x-amzn-errortype", "ServiceQuotaExceededException".to_owned())));
    }

    #[test]
    fn the_same_cause_has_another_status_elsewhere() {
        for (cause, statuses) in [
            (Cause::Overloaded, [529, 503, 503]),
            (Cause::Key, [401, 401, 403]),
            (Cause::Pace, [429, 429, 429]),
            (Cause::Model, [404, 404, 400]),
            (Cause::Timeout, [504, 504, 408]),
        ] {
            let refusal = Refusal::new(cause, "");
            let found = [Api::Anthropic, Api::OpenAi, Api::Bedrock].map(|api| refusal.status(api));
            assert_eq!(found, statuses, "{cause:?}");
        }
    }

    #[test]
    fn only_what_waiting_cures_tells_when_to_come_back() {
        let asks = |status, cause| {
            let script = Refusal::of_status(status, cause).script(Api::Anthropic, "r");
            let of = |name| script.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            (of("retry-after"), of("x-should-retry"))
        };
        assert_eq!(asks(429, None), (Some("1".to_owned()), Some("true".to_owned())));
        assert_eq!(asks(429, Some(Cause::Quota)), (None, Some("false".to_owned())));
        assert_eq!(asks(529, None), (None, Some("true".to_owned())));
    }
}
