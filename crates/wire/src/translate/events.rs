//! Splits the bytes of a stream into its events, however they are cut into pieces.

/// What one event may hold. The last event of a stream of responses repeats the whole answer; others hold a piece of it.
pub(crate) const MOST_OF_A_PIECE: usize = 256 * 1024;
/// As [`MOST_OF_A_PIECE`], where an event may hold a whole answer.
pub(crate) const MOST_OF_AN_ANSWER: usize = 8 * 1024 * 1024;

/// The event that is being read.
#[derive(Debug)]
pub(crate) struct Events {
    most: usize,
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// A line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
}

/// An event is longer than any that its shape knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    pub(crate) fn new(most: usize) -> Self {
        let empty = Vec::new;
        let (line, name, data) = (empty(), empty(), empty());
        Self { most, line, name, data, has_data: false, after_cr: false, begun: false }
    }

    /// Takes what came and gives each event that is whole: its name, which may be empty, and its data. Stops early when
    /// `each` says `false`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), TooLong> {
        loop {
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else { break };
            self.after_cr = bytes[end] == b'\r';
            let more = if self.line.is_empty() {
                self.line(&bytes[..end], &mut each)
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.line);
                let more = self.line(&line, &mut each);
                self.line = line;
                self.line.clear();
                more
            };
            if !more {
                return Ok(());
            }
            bytes = &bytes[end + 1..];
            self.check()?;
        }
        self.line.extend_from_slice(bytes);
        self.check()
    }

    /// The stream is over: what lacks only its empty line is an event all the same.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        let line = std::mem::take(&mut self.line);
        if (line.is_empty() || self.line(&line, &mut each)) && self.has_data {
            self.line(b"", &mut each);
        }
    }

    fn check(&self) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + self.name.len() > self.most { Err(TooLong) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        let line = if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            // An event without data is none.
            let more = !self.has_data || each(&self.name, &self.data);
            self.name.clear();
            self.data.clear();
            self.has_data = false;
            return more;
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // Comments, ids, delays and whatever is unknown.
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Events::new(MOST_OF_A_PIECE);
        let mut got = Vec::new();
        let mut note = |name: &[u8], data: &[u8]| {
            got.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(data).into_owned()));
            true
        };
        for part in parts {
            events.push(part, &mut note).unwrap();
        }
        events.finish(&mut note);
        got
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let text = "\u{feff}: hi\n\ndata: a\n\nevent: x\r\ndata: b\r\ndata:c\r\n\r\nevent:y\r\rdata\r\rid: 7\ndata: \u{e9}\n\ndata: [DONE]";
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let want = owned(&[("", "a"), ("x", "b\nc"), ("", ""), ("", "\u{e9}"), ("", "[DONE]")]);
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            assert_eq!(all(&[&bytes[..at], &bytes[at..]]), want, "{at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&single), want);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::new(1000);
        let piece = [b'x'; 300];
        let taken = (0..10).take_while(|_| events.push(&piece, |_, _| true).is_ok()).count();
        assert_eq!(taken, 3);
        let mut events = Events::new(1000);
        let taken = (0..1000).take_while(|_| events.push(b"data: 123456789\n", |_, _| true).is_ok()).count();
        assert!(taken < 110, "{taken}");
    }
}
