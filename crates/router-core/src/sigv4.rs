//! Amazon's Signature Version 4, by AWS's own library: which headers a request to Bedrock gets. The time is an argument.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// By what name Bedrock signs. It is not the name in its hosts.
const SERVICE: &str = "bedrock";
/// What stands as it is in a step of a path.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An AWS access key.
#[derive(Clone, Copy)]
pub struct AccessKey<'a> {
    /// Its id, which is no secret.
    pub id: &'a str,
    /// Its secret.
    pub secret: &'a str,
    /// The token of temporary credentials.
    pub token: Option<&'a str>,
}

/// A POST that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// Scheme, authority, path and query, as they are sent.
    pub url: &'a str,
    /// The header `content-type`. `Host` comes from the URL; other headers are not signed.
    pub content_type: &'a str,
    /// All of the body.
    pub body: &'a [u8],
}

/// A request cannot be signed: its URL is none, or the key holds what no header can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be signed")]
pub struct Unsignable;

/// The headers that sign a request to Bedrock in `region` at `now`, the time since 1970.
///
/// # Errors
///
/// When URL or key are malformed.
pub fn sign(
    key: AccessKey<'_>,
    region: &str,
    request: &ToSign<'_>,
    now: Duration,
) -> Result<Vec<(HeaderName, HeaderValue)>, Unsignable> {
    sign_for(SERVICE, "POST", key, region, request, now)
}

fn sign_for(
    service: &str,
    method: &str,
    key: AccessKey<'_>,
    region: &str,
    request: &ToSign<'_>,
    now: Duration,
) -> Result<Vec<(HeaderName, HeaderValue)>, Unsignable> {
    let token = key.token.map(str::to_owned);
    let identity = Credentials::new(key.id, key.secret, token, None, "Secret").into();
    // The defaults are those of all services but S3: the path is encoded a second time, the token is signed too.
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::UNIX_EPOCH + now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| Unsignable)?
        .into();
    let headers = [("content-type", request.content_type)].into_iter().filter(|(_, value)| !value.is_empty());
    let signable = SignableRequest::new(method, request.url, headers, SignableBody::Bytes(request.body))
        .map_err(|_| Unsignable)?;
    let (instructions, _) = sign_request(signable, &params).map_err(|_| Unsignable)?.into_parts();
    let header = |(name, value): (&str, &str)| {
        let mut value = HeaderValue::from_str(value).map_err(|_| Unsignable)?;
        value.set_sensitive(true);
        Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unsignable)?, value))
    };
    instructions.headers().map(header).collect()
}

/// A model's id as a step of a path: an ARN has colons and slashes, and many ids have a colon.
#[must_use]
pub fn step(model: &str) -> String {
    utf8_percent_encode(model, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: AccessKey<'_> =
        AccessKey { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token: None };
    /// 2015-08-30, 12:36:00 UTC.
    const THEN: Duration = Duration::from_secs(1_440_938_160);

    fn authorization(signed: &[(HeaderName, HeaderValue)]) -> &str {
        signed.iter().find(|(name, _)| name == "authorization").unwrap().1.to_str().unwrap()
    }

    /// `get-vanilla` and `post-x-www-form-urlencoded` of the test suite that AWS publishes for this signature.
    #[test]
    fn signs_as_aws_publishes() {
        for (method, content_type, body, signature) in [
            ("GET", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "POST",
                "application/x-www-form-urlencoded",
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let url = "https://example.amazonaws.com/";
            let request = ToSign { url, content_type, body: body.as_bytes() };
            let signed = sign_for("service", method, EXAMPLE, "us-east-1", &request, THEN).unwrap();
            assert!(authorization(&signed).ends_with(&format!("Signature={signature}")), "{method} {signed:?}");
            assert!(signed.iter().any(|(name, value)| name == "x-amz-date" && value == "20150830T123600Z"));
        }
    }

    #[test]
    fn what_is_signed_depends_on_all_of_it() {
        let key = AccessKey { token: Some("canary"), ..EXAMPLE };
        let request = ToSign {
            url: "https://bedrock-runtime.eu-central-1.amazonaws.com/model/a%3A0/converse",
            content_type: "application/json",
            body: b"{}",
        };
        let of = |key: AccessKey<'_>, region: &str, request: &ToSign<'_>, now: Duration| {
            authorization(&sign(key, region, request, now).unwrap()).to_owned()
        };
        let first = of(key, "eu-central-1", &request, THEN);
        assert!(first.contains("Credential=AKIDEXAMPLE/20150830/eu-central-1/bedrock/aws4_request"), "{first}");
        assert!(first.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"), "{first}");
        assert_eq!(first, of(key, "eu-central-1", &request, THEN));
        for other in [
            of(EXAMPLE, "eu-central-1", &request, THEN),
            of(AccessKey { secret: "other", ..key }, "eu-central-1", &request, THEN),
            of(key, "us-east-1", &request, THEN),
            of(key, "eu-central-1", &ToSign { body: b"{ }", ..request }, THEN),
            of(key, "eu-central-1", &ToSign { url: &request.url.replace("%3A", ":"), ..request }, THEN),
            of(key, "eu-central-1", &request, THEN + Duration::from_secs(1)),
        ] {
            assert_ne!(first, other);
        }
        let shown = format!("{:?}", sign(key, "eu-central-1", &request, THEN).unwrap());
        assert!(!shown.contains("canary") && !shown.contains("Signature"), "{shown}");
        assert_eq!(sign(key, "eu-central-1", &ToSign { url: "no url", ..request }, THEN), Err(Unsignable));
    }

    #[test]
    fn ids_of_models_are_one_step_of_a_path() {
        for (model, want) in [
            ("anthropic.claude-sonnet-4-5-v1:0", "anthropic.claude-sonnet-4-5-v1%3A0"),
            (
                "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.x",
                "arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.x",
            ),
            ("a b%é", "a%20b%25%C3%A9"),
        ] {
            assert_eq!(step(model), want);
        }
    }
}
