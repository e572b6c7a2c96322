//! Messages of HTTP/1.1, read from a socket or from what a tap kept of one.

use std::io::{BufRead, Read};

/// A message: a request, whose status is 0, or an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// Without its framing.
    pub(crate) body: String,
}

impl Answer {
    /// Reads a message with a length or in chunks.
    pub(crate) fn read(mut from: impl BufRead) -> Self {
        let first = line(&mut from);
        let status = first.strip_prefix("HTTP/1.1 ").map_or(0, |rest| rest[..3].parse().unwrap());
        let headers = std::iter::from_fn(|| {
            let line = line(&mut from);
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        let mut message = Self { status, headers: headers.collect(), body: String::new() };
        let mut body = Vec::new();
        if let Some(length) = message.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            from.read_exact(&mut body).unwrap();
        } else {
            assert_eq!(message.header("transfer-encoding"), Some("chunked"), "{first}");
            loop {
                let size = u64::from_str_radix(&line(&mut from), 16).unwrap();
                from.by_ref().take(size).read_to_end(&mut body).unwrap();
                assert!(line(&mut from).is_empty());
                if size == 0 {
                    break;
                }
            }
        }
        message.body = String::from_utf8(body).unwrap();
        message
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "cut off after {line:?}");
    line.trim_end_matches(['\r', '\n']).to_owned()
}
