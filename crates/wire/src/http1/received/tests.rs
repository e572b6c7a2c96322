use super::*;
use proptest::prelude::*;

/// What a reader made of some bytes, in a form that can be compared.
type Verdict = Result<Option<(String, Framing, bool, bool, Vec<u8>)>, RequestError>;

fn verdict(parts: &[&[u8]]) -> Verdict {
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    let mut received = None;
    for part in parts {
        buffer.extend_from_slice(part);
        if received.is_none() {
            received = reader.read(&mut buffer)?;
        }
    }
    Ok(received.map(|received| {
        let Received { parts, framing, stays, expects } = received;
        let text = format!("{} {} {:?} {:?}", parts.method, parts.uri, parts.version, parts.headers);
        (text, framing, stays, expects, buffer.to_vec())
    }))
}

/// Reads `text` whole and byte by byte; both must agree.
fn read(text: &str) -> Verdict {
    let whole = verdict(&[text.as_bytes()]);
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(whole, verdict(&bytes), "{text:?}");
    whole
}

fn received(text: &str) -> Received {
    RequestReader::default().read(&mut BytesMut::from(text)).unwrap().unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n";

#[test]
fn decides_framing_and_what_comes_after() {
    use Framing::{Chunked, Length};
    let cases = [
        ("", Length(0), true, false),
        ("content-length: 0\r\n", Length(0), true, false),
        ("Content-Length: 17\r\n", Length(17), true, false),
        ("content-length:17\r\nconnection: close\r\n", Length(17), false, false),
        ("content-length: \t 17 \r\nconnection: x, Close\r\n", Length(17), false, false),
        ("transfer-encoding: chunked\r\n", Chunked, true, false),
        ("Transfer-Encoding: Chunked\r\nexpect: 100-Continue\r\n", Chunked, true, true),
        ("content_length: 5\r\n", Length(0), true, false),
    ];
    for (headers, framing, stays, expects) in cases {
        let text = format!("{GET}{headers}\r\nrest");
        let (_, got_framing, got_stays, got_expects, rest) = read(&text).unwrap().unwrap();
        assert_eq!((got_framing, got_stays, got_expects), (framing, stays, expects), "{headers:?}");
        assert_eq!(rest, b"rest");
    }
    for (headers, stays) in [("", false), ("connection: keep-alive\r\n", true), ("connection: close\r\n", false)] {
        let text = format!("POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n{headers}\r\n");
        let (_, framing, got, expects, _) = read(&text).unwrap().unwrap();
        assert_eq!((framing, got, expects), (Length(3), stays, false), "{headers:?}");
    }
}

#[test]
fn takes_targets_that_name_a_path() {
    let cases = [
        ("GET /v1/models HTTP/1.1\r\nhost: a", "/v1/models"),
        ("GET /a?b=%20c HTTP/1.1\r\nhost: [::1]:8080", "/a?b=%20c"),
        ("GET //a HTTP/1.1\r\nhost: a", "//a"),
        ("GET http://a:80/b HTTP/1.1\r\nhost: A:80", "/b"),
        ("GET HTTPS://a HTTP/1.1\r\nhost: a", "/"),
        ("GET http://a?b HTTP/1.1\r\nhost: a", "/?b"),
        ("GET http://a/b HTTP/1.0", "/b"),
        ("OPTIONS * HTTP/1.1\r\nhost: a", "*"),
    ];
    for (head, path) in cases {
        read(&format!("{head}\r\n\r\n")).unwrap().unwrap();
        let uri = received(&format!("{head}\r\n\r\n")).parts.uri;
        assert_eq!(uri.path_and_query().map(PathAndQuery::as_str), Some(path), "{head:?}");
        assert_eq!(uri.authority(), None);
    }
}

#[test]
fn leaves_out_what_could_be_taken_for_another_header() {
    let parts = received(&format!("{GET}x_user: root\r\nx-user: me\r\n\r\n")).parts;
    assert_eq!(parts.headers.len(), 2);
    assert_eq!(parts.headers["x-user"], "me");
}

#[test]
fn waits_for_the_rest() {
    for text in ["", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nhost: a\r\n", "\r\n", "\r\nGET / HTTP/1.1\r"] {
        assert_eq!(read(text), Ok(None), "{text:?}");
    }
    assert!(read(&format!("\r\n{GET}\r\n")).unwrap().is_some());
}

#[test]
fn refuses_by_name() {
    use RequestError as E;
    let many = format!("{GET}{}\r\n", "a: b\r\n".repeat(MAX_HEADERS));
    let long = format!("{GET}x: {}\r\n\r\n", "y".repeat(MAX_HEAD));
    let unending = format!("{GET}x: {}", "y".repeat(MAX_HEAD));
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(MAX_TARGET));
    let method = format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "M".repeat(33));
    let cases = [
        (&*many, E::TooManyHeaders),
        (&*long, E::TooLong),
        (&*unending, E::TooLong),
        (&*target, E::LongTarget),
        (&*method, E::BadMethod),
        ("\r\n\r\nGET / HTTP/1.1\r\n", E::BadMethod),
        ("\nGET / HTTP/1.1\r\n", E::BareLineFeed),
        ("\x16\x03\x01", E::BadMethod),
        ("G{T / HTTP/1.1\r\nhost: a\r\n\r\n", E::BadMethod),
        (" GET / HTTP/1.1\r\n", E::BadMethod),
        ("nonsense\r\n\r\n", E::BadRequestLine),
        ("GET /\r\n\r\n", E::BadRequestLine),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET / a HTTP/1.1\r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET /\rb HTTP/1.1\r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET / http/1.1\r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET / HTTP/1.10\r\nhost: a\r\n\r\n", E::BadRequestLine),
        ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", E::BadVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::BadVersion),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", E::BadVersion),
        ("GET / HTTP/0.9\r\n\r\n", E::BadVersion),
        ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET /é HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET http:///b HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", E::BadTarget),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", E::BadHost),
        ("GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", E::BareLineFeed),
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", E::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", E::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", E::FoldedHeader),
        ("GET / HTTP/1.1\r\n\thost: a\r\n\r\n", E::FoldedHeader),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\nhost\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\nhost: a\r\nx\u{e9}: b\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\nhost: a\r\nx(: b\r\n\r\n", E::BadHeader),
        ("GET / HTTP/1.1\r\n\r\n", E::MissingHost),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", E::RepeatedHost),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", E::RepeatedHost),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", E::BadHost),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", E::BadHost),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", E::BadHost),
        ("GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", E::BadHost),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: more\r\n\r\n", E::UnknownExpectation),
    ];
    for (text, why) in cases {
        assert_eq!(read(text), Err(why), "{:?}", &text[..text.len().min(80)]);
    }
}

#[test]
fn refuses_every_doubt_about_the_length() {
    use RequestError as E;
    let cases = [
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", E::BothLengths),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", E::BothLengths),
        ("transfer-encoding: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n", E::BothLengths),
        ("content-length: 5\r\ncontent-length: 5\r\n", E::RepeatedLength),
        ("content-length: 5\r\nContent-Length: 6\r\n", E::RepeatedLength),
        ("content-length: 5, 5\r\n", E::BadLength),
        ("content-length: +5\r\n", E::BadLength),
        ("content-length: -5\r\n", E::BadLength),
        ("content-length: 0x5\r\n", E::BadLength),
        ("content-length: 5 5\r\n", E::BadLength),
        ("content-length:\r\n", E::BadLength),
        ("content-length: 5;x\r\n", E::BadLength),
        ("content-length: 9999999999999999999\r\n", E::BadLength),
        ("transfer-encoding: gzip\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: gzip, chunked\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: chunked, chunked\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: identity\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: \"chunked\"\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: chunked;q=1\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding:\r\n", E::UnknownTransferEncoding),
        ("transfer-encoding: \u{b}chunked\r\n", E::BadHeader),
        ("transfer-encoding : chunked\r\n", E::BadHeader),
    ];
    for (headers, why) in cases {
        assert_eq!(read(&format!("{GET}{headers}\r\n")), Err(why), "{headers:?}");
    }
    let old = "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(read(old), Err(E::UnknownTransferEncoding));
}

#[test]
fn names_each_refusal_once() {
    use RequestError as E;
    let all = [
        E::BadRequestLine,
        E::BadMethod,
        E::BadTarget,
        E::LongTarget,
        E::BadVersion,
        E::BadHeader,
        E::BareLineFeed,
        E::FoldedHeader,
        E::TooLong,
        E::TooManyHeaders,
        E::BothLengths,
        E::RepeatedLength,
        E::BadLength,
        E::UnknownTransferEncoding,
        E::MissingHost,
        E::RepeatedHost,
        E::BadHost,
        E::UnknownExpectation,
    ];
    let codes: std::collections::HashSet<_> = all.iter().map(|error| error.code()).collect();
    assert_eq!(codes.len(), all.len());
    let odd: Vec<u16> = all.iter().map(|error| error.status().as_u16()).filter(|status| *status != 400).collect();
    assert_eq!(odd, [414, 505, 431, 431, 417]);
}

/// Pieces of requests, so that what is drawn comes near to requests rather than being noise.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST http://a/b HTTP/1.1\r\n",
        "GET",
        " ",
        "/",
        "HTTP/1.0",
        "\r\n",
        "\r",
        "\n",
        "host: a\r\n",
        "content-length: 3\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
        "expect: 100-continue\r\n",
        " folded",
        "x_y: z\r\n",
        "x : y\r\n",
        ":",
        "\0",
        "é",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_verdict(bytes in pieces(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut parts = Vec::new();
        let mut at = 0;
        for cut in cuts {
            parts.push(&bytes[at..cut]);
            at = cut;
        }
        parts.push(&bytes[at..]);
        prop_assert_eq!(verdict(&[&bytes]), verdict(&parts));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = verdict(&[&bytes]);
        let head = [GET.as_bytes(), &bytes, b"\r\n\r\n"].concat();
        let _ = verdict(&[&head]);
    }
}
