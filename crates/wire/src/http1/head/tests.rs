use super::*;

/// Reads `text` whole and byte by byte; both must agree.
fn read(text: &str) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
    let mut whole = BytesMut::from(text);
    let at_once = HeadReader::default().read(&mut whole);
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    let mut dripped = Ok(None);
    for byte in text.bytes() {
        buffer.extend_from_slice(&[byte]);
        if matches!(dripped, Ok(None)) {
            dripped = reader.read(&mut buffer);
        }
    }
    match (&at_once, &dripped) {
        (Ok(Some(a)), Ok(Some(b))) => {
            assert_eq!((a.status, &a.headers, a.framing, a.reusable), (b.status, &b.headers, b.framing, b.reusable));
            assert_eq!(whole, buffer, "what follows the head");
        }
        (a, b) => assert_eq!(a.as_ref().err(), b.as_ref().err(), "{text:?}"),
    }
    Ok(at_once?.map(|head| (head, whole.to_vec())))
}

#[test]
fn decides_framing_and_reuse() {
    use Framing::{Chunked, Length, UntilClose};
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Length(5), true),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Length(0), true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", Chunked, true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n", Chunked, false),
        ("HTTP/1.1 200 OK\r\n\r\n", UntilClose, false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", Length(5), false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n", Length(5), true),
        ("HTTP/1.1 204 No Content\r\n\r\n", Length(0), true),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n", Length(0), true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: y\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\n",
            Length(1),
            true,
        ),
    ];
    for (text, framing, reusable) in cases {
        let (head, rest) = read(text).unwrap().unwrap();
        assert_eq!((head.framing, head.reusable), (framing, reusable), "{text:?}");
        assert!(rest.is_empty());
    }
}

#[test]
fn refuses_by_name() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
    let unending = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
    let interim = "HTTP/1.1 102 Wait\r\n\r\n".repeat(usize::from(MAX_INTERIM) + 1);
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", HeadError::BothLengths),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n", HeadError::RepeatedLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0x10\r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775808\r\n\r\n", HeadError::BadLength),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", HeadError::UnknownTransferEncoding),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n", HeadError::UnknownTransferEncoding),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            HeadError::UnknownTransferEncoding,
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", HeadError::UnknownTransferEncoding),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", HeadError::SwitchingProtocols),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", HeadError::BodyNotAllowed),
        ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", HeadError::BodyNotAllowed),
        ("HTTP/1.1 099 Low\r\n\r\n", HeadError::BadStatus),
        ("HTTP/1.1 999 High\r\n\r\n", HeadError::BadStatus),
        ("HTTP/1.1 20 OK\r\n\r\n", HeadError::BadStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", HeadError::BadStatusLine),
        ("<html>hello</html>\r\n\r\n", HeadError::BadStatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::BadHeader),
        ("HTTP/1.1 200 OK\nx: y\r\n\r\n", HeadError::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nx: y\n\r\n", HeadError::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n", HeadError::FoldedHeader),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n", HeadError::BadHeader),
        ("HTTP/1.1 200 OK\r\nx: \0y\r\n\r\n", HeadError::BadHeader),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", HeadError::BadHeader),
        (&many, HeadError::TooManyHeaders),
        (&long, HeadError::TooLong),
        (&unending, HeadError::TooLong),
        (&interim, HeadError::EndlessInterim),
    ];
    for (text, want) in cases {
        assert_eq!(read(text).err(), Some(want), "{:?}", &text[..text.len().min(90)]);
    }
}

#[test]
fn waits_for_the_rest_and_leaves_the_body() {
    for text in ["", "HTTP", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nx: y\r\n\r", "HTTP/1.1 100 Continue\r\n\r\n"] {
        assert!(read(text).unwrap().is_none(), "{text:?}");
    }
    let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    assert!(HeadReader::default().read(&mut buffer).unwrap().is_some());
    assert_eq!(buffer, "hi");
}

#[test]
fn keeps_hop_by_hop_headers_here() {
    let text = "HTTP/1.1 200 OK\r\nconnection: x-inner, content-length\r\nx-inner: 1\r\nkeep-alive: timeout=5\r\n\
                content-length: 0\r\nx-request-id: 7\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n";
    let (head, _) = read(text).unwrap().unwrap();
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "set-cookie", "x-request-id"]);
    assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
}
