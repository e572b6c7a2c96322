//! A request of Anthropic's messages on its way into Bedrock's InvokeModel, which takes the same body but for what stands
//! elsewhere there: the model and the stream in the path, version and betas in the body.

use super::Untranslatable;
use super::json::Object;
use super::write;

/// The one version that Bedrock documents for Anthropic's models.
const VERSION: &str = "bedrock-2023-05-31";
/// What stands in the path.
const ELSEWHERE: [&str; 2] = ["model", "stream"];
/// Anthropic's words for the usual tier. Bedrock has the tier in a header, and refuses members that it does not know.
const USUAL_TIERS: [&str; 2] = [r#""auto""#, r#""standard_only""#];

/// The body for InvokeModel of a request of messages, whose header `anthropic-beta` said `betas`. All members stay as they
/// came, byte for byte, also unknown ones: what Bedrock does not take it says itself. Left out is only the usual tier of service.
///
/// # Errors
///
/// When the body is no JSON object.
pub fn invoke<'a>(body: &[u8], betas: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, Untranslatable> {
    let object = Object::parse(body)?;
    let mut out = Vec::with_capacity(body.len() + 64);
    write::object(&mut out, |o| {
        if object.peek("anthropic_version").is_none() {
            o.text("anthropic_version", VERSION);
        }
        let mut betas =
            betas.flat_map(|line| line.split(',')).map(str::trim).filter(|beta| !beta.is_empty()).peekable();
        if object.peek("anthropic_beta").is_none() && betas.peek().is_some() {
            o.list("anthropic_beta", |l| betas.for_each(|beta| l.text(beta)));
        }
        let usual = |name: &str, value: &str| name == "service_tier" && USUAL_TIERS.contains(&value);
        for (name, value) in object.members().filter(|(name, _)| !ELSEWHERE.contains(name)) {
            if !usual(name, value) {
                o.member(name, value);
            }
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_elsewhere_is_moved() {
        let cases: [(&str, &[&str], &str); 6] = [
            (
                r#"{"model":"m","stream":true,"max_tokens": 5,"messages":[{"role":"user","content":"\u00fc"}],"new":{"a": 1}}"#,
                &[],
                r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":5,"messages":[{"role":"user","content":"\u00fc"}],"new":{"a": 1}}"#,
            ),
            (
                r#"{"a\"b":1}"#,
                &["one, two", "three,"],
                r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["one","two","three"],"a\"b":1}"#,
            ),
            (
                r#"{"anthropic_version":"2026-10-21","anthropic_beta":["own"]}"#,
                &["other"],
                r#"{"anthropic_version":"2026-10-21","anthropic_beta":["own"]}"#,
            ),
            ("{}", &[""], r#"{"anthropic_version":"bedrock-2023-05-31"}"#),
            (r#"{"service_tier":"auto"}"#, &[], r#"{"anthropic_version":"bedrock-2023-05-31"}"#),
            (
                r#"{"service_tier":"other"}"#,
                &[],
                r#"{"anthropic_version":"bedrock-2023-05-31","service_tier":"other"}"#,
            ),
        ];
        for (body, betas, want) in cases {
            let got = invoke(body.as_bytes(), betas.iter().copied()).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), want);
        }
        assert!(invoke(b"[]", [].into_iter()).is_err());
    }
}
