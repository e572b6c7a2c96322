//! Checks Amazon's Signature Version 4, from its description and not with the library that the router signs with.

use axum::http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};

use crate::refusal::{Cause, Refusal};

/// What is not encoded in a canonical request.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The name that Bedrock signs by.
const SERVICE: &str = "bedrock";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a signature's time may be from now, in seconds.
const LATEST: u64 = 300;

/// A request as it was signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    /// As it stands in the request line.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// The parts of the header that carries a signature.
struct Parts<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    names: &'a str,
    signature: &'a str,
}

/// Whether the request carries a signature at all, be it right or wrong.
pub(crate) fn is_there(headers: &HeaderMap) -> bool {
    text(headers, "authorization").is_some_and(|value| value.starts_with("AWS4-"))
}

/// The id of the access key whose signature the request carries. `secret` belongs to every key; `now` is in seconds since
/// 1970.
pub(crate) fn check(request: &Signed<'_>, keys: &[String], secret: &str, now: u64) -> Result<String, Refusal> {
    let unsigned = |what: &str| Refusal::new(Cause::Signature, what);
    let header = text(request.headers, "authorization").unwrap_or_default();
    let parts = parts(header).ok_or_else(|| {
        unsigned(
            "Authorization header requires 'Credential' with the service 'bedrock', 'SignedHeaders' and 'Signature'.",
        )
    })?;
    if !keys.iter().any(|known| known == parts.key) {
        return Err(Refusal::new(Cause::Key, "The security token included in the request is invalid."));
    }
    let time = text(request.headers, "x-amz-date").unwrap_or_default();
    let age = seconds(time).map(|signed| signed.abs_diff(now));
    if !time.starts_with(parts.date) || age.is_none_or(|age| age > LATEST) {
        return Err(unsigned("Signature expired: X-Amz-Date is absent, or too far from now."));
    }
    let names: Vec<&str> = parts.names.split(';').collect();
    let needed = ["host", "x-amz-date"];
    if needed.iter().any(|needed| !names.contains(needed)) || !names.is_sorted() {
        return Err(unsigned("SignedHeaders must be sorted and hold host and x-amz-date."));
    }
    let scope = format!("{}/{}/{SERVICE}/aws4_request", parts.date, parts.region);
    let told = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hash(canonical(request, &names, parts.names).as_bytes()));
    let mut key = format!("AWS4{secret}").into_bytes();
    for word in [parts.date, parts.region, SERVICE, "aws4_request"] {
        key = sign(&key, word);
    }
    if hex(&sign(&key, &told)) == parts.signature {
        return Ok(parts.key.to_owned());
    }
    Err(unsigned(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
    ))
}

fn parts(header: &str) -> Option<Parts<'_>> {
    let rest = header.strip_prefix(ALGORITHM)?.trim();
    let field = |name: &str| rest.split(',').map(str::trim).find_map(|part| part.strip_prefix(name));
    let mut scope = field("Credential=")?.split('/');
    let (key, date, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    if service != SERVICE || scope.next()? != "aws4_request" || scope.next().is_some() {
        return None;
    }
    Some(Parts { key, date, region, names: field("SignedHeaders=")?, signature: field("Signature=")? })
}

fn canonical(request: &Signed<'_>, names: &[&str], joined: &str) -> String {
    // The path is encoded once more than it was sent, which matters for a model's name with a colon.
    let path = request.path.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let mut query: Vec<(String, String)> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let once = |text: &str| encoded(&percent_decode_str(text).decode_utf8_lossy());
            (once(name), once(value))
        })
        .collect();
    query.sort();
    let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let values = names.iter().map(|name| {
        let all = request.headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
        let all = all.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(",");
        format!("{name}:{all}\n")
    });
    let values: String = values.collect();
    format!("{}\n{path}\n{query}\n{values}\n{joined}\n{}", request.method, hash(request.body))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 of a time such as `20260131T120000Z`.
fn seconds(time: &str) -> Option<u64> {
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    if time.len() != 16 || !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: u64 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    Some((days + months + day.checked_sub(1)?) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20240229T235959Z"), Some(1_709_251_199));
        assert_eq!(seconds("20261121T000000Z"), Some(1_795_219_200));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn what_does_not_match_is_refused() {
        let time = "20261121T000000Z";
        let header = |rest: &str| format!("AWS4-HMAC-SHA256 Credential=sim-key/20261121/eu-central-1/{rest}");
        let right = "bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";
        for (rest, keys, now, message) in [
            (
                "s3/aws4_request, SignedHeaders=host, Signature=0",
                "sim-key",
                1_795_219_200,
                "Authorization header requires",
            ),
            (right, "another", 1_795_219_200, "The security token"),
            (right, "sim-key", 1_795_219_200 + 301, "Signature expired"),
            (
                "bedrock/aws4_request, SignedHeaders=x-amz-date, Signature=0",
                "sim-key",
                1_795_219_200,
                "SignedHeaders must",
            ),
            (right, "sim-key", 1_795_219_200, "The request signature we calculated"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", header(rest).parse().unwrap());
            headers.insert("x-amz-date", time.parse().unwrap());
            let request =
                Signed { method: &Method::POST, path: "/model/m/converse", query: "", headers: &headers, body: b"{}" };
            let refused = check(&request, &[keys.to_owned()], "sim-secret", now).unwrap_err();
            assert!(refused.message.starts_with(message), "{rest}: {}", refused.message);
        }
    }
}
