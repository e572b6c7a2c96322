//! An engine's answer: however its bytes are split, head, payload and verdict are the same, and nothing hop-by-hop passes.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::{Decoded, decode, pieces};
use wire::http1::{Head, HeadError, HeadReader};

#[derive(Debug)]
enum Answer {
    Refused(HeadError),
    Incomplete,
    Begun(Head, Decoded),
}

fn read(parts: &[&[u8]]) -> Answer {
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    for (at, part) in parts.iter().enumerate() {
        buffer.extend_from_slice(part);
        match reader.read(&mut buffer) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let body = decode(head.framing, buffer, &parts[at + 1..]);
                return Answer::Begun(head, body);
            }
            Err(error) => return Answer::Refused(error),
        }
    }
    Answer::Incomplete
}

fuzz_target!(|data: &[u8]| {
    let (parts, text) = pieces(data);
    match (read(&[text]), read(&parts)) {
        (Answer::Refused(one), Answer::Refused(other)) => assert_eq!(one, other),
        (Answer::Incomplete, Answer::Incomplete) => {}
        (Answer::Begun(one, body), Answer::Begun(other, parted)) => {
            assert_eq!((one.status, &one.headers, one.framing), (other.status, &other.headers, other.framing));
            assert_eq!(one.reusable, other.reusable);
            assert_eq!(body.error, parted.error);
            assert_eq!((body.ended, &body.left), (parted.ended, &parted.left));
            // Payload ahead of a break may have left before the break was seen.
            assert!(parted.payload.starts_with(&body.payload));
            assert!(body.error.is_some() || parted.payload == body.payload);
            for name in ["connection", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive"] {
                assert!(!one.headers.contains_key(name), "{name}");
            }
        }
        (one, other) => panic!("{one:?} but in parts {other:?}"),
    }
});
