//! A client's request: however its bytes are split, head, payload and verdict are the same, and what goes to an engine is
//! one request that the same reader takes apart the same way.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::{Decoded, decode, pieces};
use wire::http1::{Framing, Received, RequestError, RequestHead, RequestReader, write_head};

#[derive(Debug)]
enum Asked {
    Refused(RequestError),
    Incomplete,
    Begun(Received, Decoded),
}

fn read(parts: &[&[u8]]) -> Asked {
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    for (at, part) in parts.iter().enumerate() {
        buffer.extend_from_slice(part);
        match reader.read(&mut buffer) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let body = decode(head.framing, buffer, &parts[at + 1..]);
                return Asked::Begun(head, body);
            }
            Err(error) => return Asked::Refused(error),
        }
    }
    Asked::Incomplete
}

fuzz_target!(|data: &[u8]| {
    let (parts, text) = pieces(data);
    let (one, body) = match (read(&[text]), read(&parts)) {
        (Asked::Refused(one), Asked::Refused(other)) => return assert_eq!(one, other),
        (Asked::Incomplete, Asked::Incomplete) => return,
        (Asked::Begun(one, body), Asked::Begun(other, parted)) => {
            let told =
                |head: &Received| (head.parts.method.clone(), head.parts.uri.clone(), head.parts.headers.clone());
            assert_eq!(told(&one), told(&other));
            assert_eq!((one.framing, one.stays, one.expects), (other.framing, other.stays, other.expects));
            assert_eq!((body.error, body.ended, &body.left), (parted.error, parted.ended, &parted.left));
            assert!(body.error.is_some() || body.payload == parted.payload);
            (one, body)
        }
        (one, other) => panic!("{one:?} but in parts {other:?}"),
    };
    assert!(one.framing != Framing::UntilClose);
    if !body.ended {
        return;
    }
    let target = one.parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut sent = BytesMut::new();
    write_head(
        &mut sent,
        &RequestHead {
            method: one.parts.method.as_str(),
            target,
            host: "10.0.0.1:8000",
            request_id: "r",
            length: body.payload.len(),
            headers: &one.parts.headers,
            traceparent: None,
        },
    );
    sent.extend_from_slice(&body.payload);
    let again = match read(&[&sent]) {
        Asked::Begun(again, passed) => {
            assert!(passed.ended && passed.left.is_empty() && passed.payload == body.payload);
            again
        }
        // The router's own headers come on top of as many as are taken.
        Asked::Refused(RequestError::TooManyHeaders | RequestError::TooLong) => return,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&sent)),
    };
    for name in ["transfer-encoding", "te", "upgrade", "authorization", "cookie", "x-api-key", "forwarded", "x-real-ip"]
    {
        assert!(!again.parts.headers.contains_key(name), "{name}");
    }
});
