//! Whose key a request carries.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::refusal::{Api, Cause, Refusal};

/// The key that a request shows `api`: where it looks for one, in its order.
pub(crate) fn shown(api: Api, headers: &HeaderMap) -> Option<&str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    match api {
        Api::Anthropic => header("x-api-key").or_else(bearer),
        Api::Azure => header("api-key").or_else(bearer),
        Api::OpenAi | Api::Compatible | Api::Bedrock => bearer(),
    }
}

/// Lets a key in, or refuses it as `api` does. The compatible server asks for none, but knows a wrong one from none.
pub(crate) fn admit(api: Api, headers: &HeaderMap, keys: &[String]) -> Result<String, Refusal> {
    let shown = shown(api, headers).filter(|key| !key.is_empty());
    match shown {
        Some(key) if keys.iter().any(|known| known == key) => Ok(key.to_owned()),
        None if api == Api::Compatible => Ok("anonymous".to_owned()),
        None => Err(Refusal::new(Cause::Key, missing(api))),
        Some(key) => Err(Refusal::new(Cause::Key, wrong(api, key))),
    }
}

fn missing(api: Api) -> &'static str {
    match api {
        Api::Anthropic => "x-api-key header is required",
        Api::Bedrock => "Missing Authentication Token",
        _ => {
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        }
    }
}

fn wrong(api: Api, key: &str) -> String {
    match api {
        Api::Anthropic => "invalid x-api-key".to_owned(),
        Api::Bedrock => "The security token included in the request is invalid.".to_owned(),
        // OpenAI shows the ends of what it was given; a gateway must not pass that on.
        _ => {
            let end = key.len().saturating_sub(4);
            let (hidden, tail) = ("*".repeat(end), key.get(end..).unwrap_or_default());
            format!("Incorrect API key provided: {hidden}{tail}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api: Api, header: Option<(&'static str, &'static str)>, expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        let found = admit(api, &headers, &["sim-key".to_owned()]).map_err(|refusal| refusal.message);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert!(
            found == expected || matches!((&found, &expected), (Err(a), Err(b)) if a.starts_with(b)),
            "{api:?} {header:?}: {found:?}"
        );
    }

    #[test]
    fn each_api_looks_for_its_own_header() {
        check(Api::OpenAi, Some(("authorization", "Bearer sim-key")), Ok("sim-key"));
        check(Api::OpenAi, Some(("x-api-key", "sim-key")), Err("You didn't provide an API key"));
        check(Api::OpenAi, Some(("authorization", "Bearer other-key")), Err("Incorrect API key provided: *****-key."));
        check(Api::Anthropic, Some(("x-api-key", "sim-key")), Ok("sim-key"));
        check(Api::Anthropic, Some(("x-api-key", "other")), Err("invalid x-api-key"));
        check(Api::Anthropic, None, Err("x-api-key header is required"));
        check(Api::Azure, Some(("api-key", "sim-key")), Ok("sim-key"));
        check(Api::Compatible, None, Ok("anonymous"));
        check(Api::Compatible, Some(("authorization", "Bearer wrong")), Err("Incorrect"));
        check(Api::Bedrock, Some(("authorization", "Bearer sim-key")), Ok("sim-key"));
    }
}
