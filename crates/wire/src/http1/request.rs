//! The head of a request to an engine, written into the buffer that the body follows in.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use http::header::{self, HeaderName};

use super::hop::ConnectionTokens;

/// What the head of a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Method, in capitals.
    pub method: &'a str,
    /// Path and query, as checked by the server that took the request in.
    pub target: &'a str,
    /// Value of `Host`: the engine's authority.
    pub host: &'a str,
    /// Value of `X-Request-Id`.
    pub request_id: &'a str,
    /// Bytes of body that follow.
    pub length: usize,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// Value of `traceparent` in the place of the client's; without one, the client's passes.
    pub traceparent: Option<&'a str>,
}

/// Headers of the client that an engine never sees, beside the hop-by-hop ones.
///
/// Host, length, expectation and request id are ours to write. The rest carry a caller's secret for *this* system or for
/// another one behind the same client; an engine has no use for them, and its logs are not ours to keep clean.
static WITHHELD: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-request-id"),
];
/// Names under which other APIs carry keys, and under which proxies tell who asks: an engine must not take a client's word
/// for that, and this router has no word of its own to put there.
const NAMED: [&str; 5] = ["x-api-key", "api-key", "forwarded", "x-real-ip", "via"];
/// What such names begin with. The last one is ours.
const BEGINNINGS: [&str; 2] = ["x-forwarded-", "x-quartermaster-"];

fn withheld(name: &HeaderName) -> bool {
    let text = name.as_str();
    WITHHELD.contains(name) || NAMED.contains(&text) || BEGINNINGS.iter().any(|start| text.starts_with(start))
}

/// Appends the head to `out`. Every name and value comes from checked types, so none can break out of its line.
pub fn write_head(out: &mut BytesMut, head: &RequestHead<'_>) {
    let tokens = ConnectionTokens::of(head.headers);
    out.reserve(256 + 64 * head.headers.len());
    for part in [head.method, " ", head.target, " HTTP/1.1\r\nhost: ", head.host, "\r\nx-request-id: "] {
        out.put_slice(part.as_bytes());
    }
    out.put_slice(head.request_id.as_bytes());
    if let Some(parent) = head.traceparent {
        out.put_slice(b"\r\ntraceparent: ");
        out.put_slice(parent.as_bytes());
    }
    out.put_slice(b"\r\ncontent-length: ");
    put_number(out, head.length as u64);
    out.put_slice(b"\r\n");
    for (name, value) in head.headers {
        let replaced = head.traceparent.is_some() && name.as_str() == "traceparent";
        if replaced || tokens.stops(name) || withheld(name) {
            continue;
        }
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// What the head of a request to a provider is made of: nothing but what is given here.
#[derive(Clone, Copy, Debug)]
pub struct BareHead<'a> {
    /// Path and query.
    pub target: &'a str,
    /// Value of `Host`.
    pub host: &'a str,
    /// Bytes of body that follow.
    pub length: usize,
    /// All other headers.
    pub headers: &'a HeaderMap,
}

/// Appends the head of a POST to `out`.
pub fn write_bare_head(out: &mut BytesMut, head: &BareHead<'_>) {
    for part in ["POST ", head.target, " HTTP/1.1\r\nhost: ", head.host, "\r\ncontent-length: "] {
        out.put_slice(part.as_bytes());
    }
    put_number(out, head.length as u64);
    out.put_slice(b"\r\n");
    for (name, value) in head.headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

pub(super) fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn passes_on_what_may_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "router.example"),
            ("content-type", "application/json"),
            ("content-length", "9999"),
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "dropped"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("x-api-key", "secret"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-anything", "x"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("via", "1.1 them"),
            ("x-quartermaster-caller", "root"),
            ("x-request-id", "theirs"),
            ("traceparent", "00-1-2-01"),
            ("x-twice", "a"),
            ("x-twice", "b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut out = BytesMut::new();
        let target = "/v1/completions?x=1";
        let host = "10.0.0.1:8000";
        let (request_id, traceparent) = ("r1", None);
        let head =
            RequestHead { method: "POST", target, host, request_id, length: 120, headers: &headers, traceparent };
        write_head(&mut out, &head);
        let want = "POST /v1/completions?x=1 HTTP/1.1\r\nhost: 10.0.0.1:8000\r\nx-request-id: r1\r\n\
                    content-length: 120\r\ncontent-type: application/json\r\ntraceparent: 00-1-2-01\r\n\
                    x-twice: a\r\nx-twice: b\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), want);
        out.clear();
        write_head(&mut out, &RequestHead { traceparent: Some("00-3-4-01"), ..head });
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.contains("\r\ntraceparent: 00-3-4-01\r\n") && !text.contains("00-1-2-01"), "{text}");
    }

    #[test]
    fn a_bare_head_has_nothing_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer k"));
        let mut out = BytesMut::new();
        write_bare_head(&mut out, &BareHead { target: "/v1/x", host: "a.example", length: 7, headers: &headers });
        let want = "POST /v1/x HTTP/1.1\r\nhost: a.example\r\ncontent-length: 7\r\nauthorization: Bearer k\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), want);
    }

    #[test]
    fn writes_numbers() {
        for number in [0, 9, 10, 1234, u64::MAX] {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            assert_eq!(std::str::from_utf8(&out).unwrap(), number.to_string());
        }
    }
}
