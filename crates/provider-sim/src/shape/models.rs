//! Which models there are, and how a provider lists them.

use crate::refusal::Api;
use crate::text::quoted;

/// Models of Anthropic that are listed.
const ANTHROPIC: [&str; 3] = ["claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5"];
/// Models of `OpenAI` that are listed.
const OPENAI: [&str; 6] =
    ["gpt-4o", "gpt-4o-mini", "gpt-5-mini", "o4-mini", "text-embedding-3-small", "text-embedding-3-large"];
/// Models of the server that is only compatible.
const COMPATIBLE: [&str; 2] = ["llama3.1:8b", "nomic-embed-text"];

/// Whether the API answers for a model of this name. Beyond those that are listed there are more: dated ones, and those
/// of other families.
pub(crate) fn known(api: Api, model: &str) -> bool {
    let begins = |all: &[&str]| all.iter().any(|prefix| model.starts_with(prefix));
    match api {
        Api::Anthropic => begins(&["claude-"]),
        Api::OpenAi => {
            begins(&["gpt-", "o1", "o3", "o4", "text-embedding-", "chatgpt-", "ft:", "davinci-", "babbage-"])
        }
        // A deployment has any name.
        Api::Azure => !begins(&["missing"]),
        Api::Bedrock => begins(&[
            "anthropic.",
            "amazon.",
            "meta.",
            "mistral.",
            "us.",
            "eu.",
            "apac.",
            "global.",
            "arn:aws:bedrock:",
        ]),
        Api::Compatible => !begins(&["missing", "gpt-", "claude-"]),
    }
}

fn listed(api: Api) -> &'static [&'static str] {
    match api {
        Api::Anthropic => &ANTHROPIC,
        Api::OpenAi | Api::Azure => &OPENAI,
        Api::Compatible => &COMPATIBLE,
        Api::Bedrock => &[],
    }
}

/// One model.
pub(crate) fn one(api: Api, model: &str) -> String {
    let id = quoted(model);
    match api {
        Api::Anthropic => {
            format!(r#"{{"type":"model","id":{id},"display_name":{id},"created_at":"2025-10-01T00:00:00Z"}}"#)
        }
        Api::Compatible => format!(r#"{{"id":{id},"object":"model","created":1759276800,"owned_by":"library"}}"#),
        _ => format!(r#"{{"id":{id},"object":"model","created":1759276800,"owned_by":"provider-sim"}}"#),
    }
}

/// The list of all.
pub(crate) fn all(api: Api) -> String {
    let models = listed(api);
    let data = models.iter().map(|model| one(api, model)).collect::<Vec<_>>().join(",");
    match api {
        Api::Anthropic => {
            let edge = |model: Option<&&str>| model.map_or_else(|| "null".to_owned(), |model| quoted(model));
            let (first, last) = (edge(models.first()), edge(models.last()));
            format!(r#"{{"data":[{data}],"has_more":false,"first_id":{first},"last_id":{last}}}"#)
        }
        _ => format!(r#"{{"object":"list","data":[{data}]}}"#),
    }
}
