//! What the targets share.

use bytes::BytesMut;
use wire::http1::{BodyDecoder, BodyError, Framing, Step};

/// Splits an input into pieces at places that its own first bytes name.
pub fn pieces(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((count, rest)) = data.split_first() else { return (Vec::new(), data) };
    let count = usize::from(count % 8).min(rest.len());
    let (cuts, text) = rest.split_at(count);
    let mut places: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) * text.len() / 255).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    (places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect(), text)
}

/// Bytes cut into frames of Amazon's event streams by the lengths that they name themselves, each with the checksums that belong
/// there: what is random in them is then looked at, and not refused for its sums.
pub fn repaired(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((sizes, more)) = rest.split_first_chunk::<2>() {
        let (headers, payload) = (usize::from(sizes[0]).min(more.len()), usize::from(sizes[1]));
        let (headers, more) = more.split_at(headers);
        let (payload, more) = more.split_at(payload.min(more.len()));
        let length = u32::try_from(16 + headers.len() + payload.len()).expect("two bytes of lengths");
        let mut frame = Vec::from(length.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(headers.len()).expect("one byte").to_be_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(headers);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        out.extend_from_slice(&frame);
        rest = more;
    }
    out
}

/// A body as it comes out of its framing: the payload, how it ended, and what is left over.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub payload: Vec<u8>,
    pub ended: bool,
    pub error: Option<BodyError>,
    pub left: Vec<u8>,
}

/// Decodes a body that comes in these pieces into a buffer that already holds something.
pub fn decode(framing: Framing, mut buffer: BytesMut, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = BodyDecoder::new(framing);
    let mut payload = Vec::new();
    let mut pieces = pieces.iter();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Step::Data(data)) => {
                assert!(!data.is_empty());
                payload.extend_from_slice(&data);
            }
            Ok(Step::End) => {
                assert!(decoder.ended());
                let rest = pieces.flat_map(|piece| piece.iter()).copied();
                return Decoded {
                    payload,
                    ended: true,
                    error: None,
                    left: buffer.iter().copied().chain(rest).collect(),
                };
            }
            Ok(Step::NeedMore) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => {
                    let error = decoder.close().err();
                    return Decoded { payload, ended: error.is_none(), error, left: Vec::new() };
                }
            },
            Err(error) => return Decoded { payload, ended: false, error: Some(error), left: Vec::new() },
        }
    }
}
