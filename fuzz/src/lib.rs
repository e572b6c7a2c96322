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
