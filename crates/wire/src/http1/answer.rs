//! The head of an answer to a client, and the framing of its body.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};

use super::head::Framing;
use super::request::put_number;

/// What the head of an answer is made of.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// Status, from 200 to 999.
    pub status: StatusCode,
    /// Headers that may pass. Those that frame the body or speak of the connection are written from the fields below.
    pub headers: &'a HeaderMap,
    /// How the client will know the end of the body; `None` where there is no body to speak of.
    pub framing: Option<Framing>,
    /// What `Connection` says; `None` to leave it out.
    pub connection: Option<&'static str>,
    /// Value of `Date` for an answer that has none.
    pub date: &'a [u8],
}

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The chunk that ends a body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the head to `out`. Every name and value comes from checked types, so none can break out of its line.
pub fn write_answer(out: &mut BytesMut, head: &AnswerHead<'_>) {
    out.reserve(128 + 64 * head.headers.len());
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in head.headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING && *name != header::CONNECTION {
            put_line(out, name.as_str().as_bytes(), value);
        }
    }
    if !head.headers.contains_key(header::DATE) {
        out.put_slice(b"date: ");
        out.put_slice(head.date);
        out.put_slice(b"\r\n");
    }
    match head.framing {
        Some(Framing::Length(length)) => {
            out.put_slice(b"content-length: ");
            put_number(out, length);
            out.put_slice(b"\r\n");
        }
        Some(Framing::Chunked) => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Some(Framing::UntilClose) | None => {}
    }
    if let Some(connection) = head.connection {
        out.put_slice(b"connection: ");
        out.put_slice(connection.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

fn put_line(out: &mut BytesMut, name: &[u8], value: &HeaderValue) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// Appends the size line of a chunk of `length` bytes. A chunk without bytes would end the body; see [`LAST_CHUNK`].
pub fn chunk_size(out: &mut BytesMut, length: usize) {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.put_u8(b"0123456789ABCDEF"[(length >> (4 * at)) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &AnswerHead<'_>) -> String {
        let mut out = BytesMut::new();
        write_answer(&mut out, head);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn writes_each_framing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-length", "999"), ("x-a", "1"), ("x-a", "2"), ("connection", "x-a")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let date = b"Sat, 21 Nov 2026 12:00:00 GMT";
        let head = AnswerHead { status: StatusCode::OK, headers: &headers, framing: None, connection: None, date };
        let common = "x-a: 1\r\nx-a: 2\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\n";
        let cases = [
            (Some(Framing::Length(1234)), None, "content-length: 1234\r\n"),
            (Some(Framing::Chunked), Some("close"), "transfer-encoding: chunked\r\nconnection: close\r\n"),
            (Some(Framing::UntilClose), Some("close"), "connection: close\r\n"),
            (None, Some("keep-alive"), "connection: keep-alive\r\n"),
        ];
        for (framing, connection, want) in cases {
            let got = written(&AnswerHead { framing, connection, ..head });
            assert_eq!(got, format!("HTTP/1.1 200 OK\r\n{common}{want}\r\n"));
        }
    }

    #[test]
    fn keeps_the_date_and_writes_odd_statuses() {
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("then"));
        let status = StatusCode::from_u16(599).unwrap();
        let head = AnswerHead { status, headers: &headers, framing: None, connection: None, date: b"now" };
        assert_eq!(written(&head), "HTTP/1.1 599 \r\ndate: then\r\n\r\n");
    }

    #[test]
    fn writes_chunk_sizes() {
        for length in [1, 9, 15, 16, 255, 256, 65_535, usize::MAX] {
            let mut out = BytesMut::new();
            chunk_size(&mut out, length);
            assert_eq!(std::str::from_utf8(&out).unwrap(), format!("{length:X}\r\n"));
        }
    }
}
