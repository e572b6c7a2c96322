//! The chunked decoder beside a plain one that knows nothing of buffers: same payload, same verdict.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::{decode, pieces};
use wire::http1::Framing;

/// RFC 9112 §7.1, read strictly: the payload and what follows the body, if it is whole and well-formed.
fn plainly(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut payload = Vec::new();
    loop {
        let end = text.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&text[..end]).ok().map(str::to_owned).or_else(|| {
            // Extensions may hold any bytes.
            let semicolon = text[..end].iter().position(|byte| *byte == b';')?;
            std::str::from_utf8(&text[..semicolon]).ok().map(|size| format!("{size};"))
        })?;
        text = &text[end + 2..];
        let size = line.split(';').next()?;
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        if size == 0 {
            break;
        }
        payload.extend_from_slice(text.get(..size)?);
        text = text[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let end = text.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &text[..end];
        text = &text[end + 2..];
        if line.is_empty() {
            return Some((payload, text));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (parts, text) = pieces(data);
    let got = decode(Framing::Chunked, BytesMut::new(), &parts);
    if got.ended {
        let (payload, left) = plainly(text).expect("the plain decoder takes what this one takes");
        assert_eq!((&payload[..], left), (&got.payload[..], &got.left[..]));
    }
    let whole = decode(Framing::Chunked, BytesMut::new(), &[text]);
    assert_eq!((whole.ended, whole.error), (got.ended, got.error));
});
