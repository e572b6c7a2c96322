//! The error body that OpenAI's clients read.

use serde::Serialize;

/// One error. Clients show `message` to people and branch on `type` and `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody<'a> {
    /// A sentence that says what is wrong and, where there is one, the way out.
    pub message: &'a str,
    /// The class: `invalid_request_error`, `server_error` and so on.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The field of the request at fault.
    pub param: Option<&'a str>,
    /// The exact case, stable across versions.
    pub code: Option<&'a str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorBody<'a>,
}

impl ErrorBody<'_> {
    /// As JSON on one line: `{"error":{…}}`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Text and options always serialize, so the fallback is never seen.
        serde_json::to_vec(&Envelope { error: self }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_that_clients_read() {
        let body = ErrorBody { message: "no \"x\"\n", kind: "invalid_request_error", param: Some("model"), code: None };
        let want = r#"{"error":{"message":"no \"x\"\n","type":"invalid_request_error","param":"model","code":null}}"#;
        assert_eq!(String::from_utf8(body.to_json()).unwrap(), want);
    }
}
