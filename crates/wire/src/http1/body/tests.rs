use super::*;
use proptest::prelude::*;

/// What a body gave: its payload, how many pieces that took, whether it is whole, and what was left over.
type Given = (Vec<u8>, usize, bool, Vec<u8>);

/// Decodes `parts`, one read each, then a close if `close`.
fn decode(framing: Framing, parts: &[&[u8]], close: bool) -> Result<Given, BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut buffer, mut payload, mut pieces) = (BytesMut::new(), Vec::new(), 0);
    for part in parts {
        buffer.extend_from_slice(part);
        if let Step::Data(data) = decoder.decode(&mut buffer)? {
            payload.extend_from_slice(&data);
            pieces += 1;
        }
    }
    if close {
        decoder.close()?;
    }
    Ok((payload, pieces, decoder.ended(), buffer.to_vec()))
}

#[test]
fn takes_payload_out_of_each_framing() {
    use Framing::{Chunked, Length, UntilClose};
    let many = "5\r\nhello\r\n6\r\n world\r\n1;x=\"y\"\r\n!\r\n0\r\nx-t: 1\r\nx-u: 2\r\n\r\n";
    let cases: [(Framing, &str, bool, &str, bool, &str); 10] = [
        (Length(0), "", false, "", true, ""),
        (Length(5), "hello", false, "hello", true, ""),
        (Length(5), "hello!", false, "hello", true, "!"),
        (Length(5), "hel", false, "hel", false, ""),
        (UntilClose, "hello", false, "hello", false, ""),
        (UntilClose, "hello", true, "hello", true, ""),
        (Chunked, "0\r\n\r\n", false, "", true, ""),
        (Chunked, many, false, "hello world!", true, ""),
        (Chunked, "A\r\n0123456789\r\n0\r\n\r\nHTTP", false, "0123456789", true, "HTTP"),
        (Chunked, "5\r\nhe", false, "he", false, ""),
    ];
    for (framing, text, close, want, ended, rest) in cases {
        let got = decode(framing, &[text.as_bytes()], close).unwrap();
        let pieces = usize::from(!want.is_empty());
        assert_eq!(got, (want.into(), pieces, ended, rest.into()), "{framing:?} {text:?}");
    }
}

#[test]
fn refuses_by_name() {
    let extension = format!("5;{}\r\nhello\r\n", "x".repeat(300));
    let trailers = format!("0\r\n{}", "x: y\r\n".repeat(3000));
    let cases = [
        ("\r\n", BodyError::BadChunkSize),
        ("0x5\r\nhello", BodyError::BadChunkSize),
        ("+5\r\n", BodyError::BadChunkSize),
        (" 5\r\n", BodyError::BadChunkSize),
        ("5 \r\n", BodyError::BadChunkSize),
        ("-1\r\n", BodyError::BadChunkSize),
        ("g\r\n", BodyError::BadChunkSize),
        ("5\n", BodyError::BadChunkSize),
        ("00000000000000005\r\n", BodyError::BadChunkSize),
        ("5\r\nhelloX", BodyError::BadChunkEnd),
        ("5\r\nhello\rX", BodyError::BadChunkEnd),
        ("5\r\nhello\n", BodyError::BadChunkEnd),
        ("5\rX", BodyError::BadChunkEnd),
        ("5;a\nhello", BodyError::BadChunkEnd),
        ("0\r\n\rX", BodyError::BadChunkEnd),
        ("0\r\nx: y\nz", BodyError::BadChunkEnd),
        ("0\r\n\n", BodyError::BadChunkEnd),
        (&extension, BodyError::LongExtension),
        (&trailers, BodyError::LongTrailers),
    ];
    for (text, want) in cases {
        let got = decode(Framing::Chunked, &[text.as_bytes()], false);
        assert_eq!(got.err(), Some(want), "{:?}", &text[..text.len().min(40)]);
    }
}

#[test]
fn extensions_are_bounded_for_the_whole_body() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(256));
    for (chunks, want) in [(64, None), (65, Some(BodyError::LongExtension))] {
        let text = format!("{}0\r\n\r\n", chunk.repeat(chunks));
        for size in [1, 7, text.len()] {
            let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(decode(Framing::Chunked, &parts, true).err(), want, "{chunks} chunks, {size} bytes a read");
        }
    }
}

#[test]
fn a_close_inside_a_body_is_a_cut() {
    let whole = "5\r\nhello\r\n0\r\n\r\n";
    for end in 0..whole.len() {
        let got = decode(Framing::Chunked, &[&whole.as_bytes()[..end]], true);
        assert_eq!(got.err(), Some(BodyError::Cut), "{end}");
    }
    assert_eq!(decode(Framing::Length(3), &[b"ab"], true).err(), Some(BodyError::Cut));
}

proptest! {
    #[test]
    fn any_split_decodes_equal(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        rest in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        text.extend_from_slice(&rest);
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let parts: Vec<&[u8]> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let (payload, _, ended, left) = decode(Framing::Chunked, &parts, false).unwrap();
        prop_assert_eq!((payload, ended, left), (chunks.concat(), true, rest));
    }

    #[test]
    fn any_bytes_in_any_split_give_the_same_verdict(text in "[0-9a-f;\r\nx]{0,60}", cut in any::<prop::sample::Index>()) {
        let cut = cut.index(text.len() + 1);
        let whole = decode(Framing::Chunked, &[text.as_bytes()], true);
        let halves = decode(Framing::Chunked, &[&text.as_bytes()[..cut], &text.as_bytes()[cut..]], true);
        prop_assert_eq!(whole.map(|g| (g.0, g.2, g.3)), halves.map(|g| (g.0, g.2, g.3)));
    }
}
