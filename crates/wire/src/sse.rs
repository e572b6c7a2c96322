//! Server-sent events on their way through: which bytes form whole events, and how to say that a stream broke.

use bytes::{Buf, Bytes, BytesMut};

/// Longest unfinished event that is held back. A longer one passes on in pieces.
const MOST_HELD: usize = 64 * 1024;

/// Lets whole events through at once and holds back the start of an unfinished one.
///
/// An engine that dies inside an event would otherwise leave the client with half a line, and an error event appended to
/// it would be read as part of that line. Engines write an event at a time, so as a rule nothing is ever held.
#[derive(Debug, Default)]
pub struct WholeEvents {
    held: BytesMut,
    /// The start of an overlong event has passed on already.
    inside: bool,
    done: bool,
}

impl WholeEvents {
    /// Takes what came and gives what may leave, which can be nothing.
    #[must_use]
    pub fn pass(&mut self, data: Bytes) -> Bytes {
        if self.held.is_empty() && ends_event(&data) {
            return self.leave(data);
        }
        // What is held has no boundary, so one can only end in the new bytes, and begin at most two bytes before them.
        let known = self.held.len().saturating_sub(2);
        self.held.extend_from_slice(&data);
        if let Some(end) = last_event_end(&self.held, known) {
            let whole = self.held.split_to(end).freeze();
            return self.leave(whole);
        }
        if self.held.len() > MOST_HELD {
            self.inside = true;
            // Two bytes stay, so that a boundary that is split here is still seen.
            return self.held.split_to(self.held.len() - 2).freeze();
        }
        Bytes::new()
    }

    fn leave(&mut self, whole: Bytes) -> Bytes {
        self.inside = false;
        let text = whole.trim_ascii_end();
        self.done = text.ends_with(b"data: [DONE]") || text.ends_with(b"data:[DONE]");
        whole
    }

    /// What was held back, for a stream that ended in good order.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Whether the client stands between two events, so that another event can follow.
    #[must_use]
    pub fn between_events(&self) -> bool {
        !self.inside
    }

    /// Whether the last event that left was OpenAI's `[DONE]`. Where the end of a stream is the end of the connection,
    /// this alone tells a whole stream from a cut one.
    #[must_use]
    pub fn done(&self) -> bool {
        self.done
    }
}

/// An event that carries `body`, a JSON text on one line.
#[must_use]
pub fn event(body: &[u8]) -> Bytes {
    let mut parts = b"data: ".chain(body).chain(&b"\n\n"[..]);
    parts.copy_to_bytes(parts.remaining())
}

/// Whether these bytes end with an empty line. Lines end in LF, CR or CR LF.
fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\r\r") || bytes.ends_with(b"\n\r")
}

/// Where the last whole event ends, judging only ends after `known`.
fn last_event_end(bytes: &[u8], known: usize) -> Option<usize> {
    memchr::memrchr2_iter(b'\n', b'\r', &bytes[known..]).map(|at| known + at + 1).find(|&end| ends_event(&bytes[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass_all(events: &mut WholeEvents, parts: &[&str]) -> Vec<String> {
        parts
            .iter()
            .map(|p| String::from_utf8(events.pass(Bytes::copy_from_slice(p.as_bytes())).to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn holds_back_only_the_unfinished() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["data: a\n\n", "data: b\n\n"], &["data: a\n\n", "data: b\n\n"]),
            (&["data: a\n\ndata: b", "\n\n"], &["data: a\n\n", "data: b\n\n"]),
            (&["data: a\n", "\ndata: b\n", "\n"], &["", "data: a\n\n", "data: b\n\n"]),
            (&["data: a\r\n\r\ndata", ": b\r\n\r", "\n"], &["data: a\r\n\r\n", "data: b\r\n\r", ""]),
            (&[": ping\n\n", "event: x\rdata: y\r\r"], &[": ping\n\n", "event: x\rdata: y\r\r"]),
            (&["data: a", "b", "c"], &["", "", ""]),
        ];
        for (parts, want) in cases {
            assert_eq!(pass_all(&mut WholeEvents::default(), parts), want, "{parts:?}");
        }
    }

    #[test]
    fn an_overlong_event_passes_in_pieces() {
        let mut events = WholeEvents::default();
        let long = "x".repeat(MOST_HELD + 3);
        assert_eq!(events.pass(Bytes::from(long.clone())).len(), long.len() - 2);
        assert!(!events.between_events());
        assert_eq!(events.pass(Bytes::from_static(b"\n\n")), "xx\n\n");
        assert!(events.between_events());
    }

    #[test]
    fn knows_the_last_event() {
        let cases = [
            ("data: {}\n\ndata: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n", true),
            ("data: [DONE]\n\ndata: {}\n\n", false),
            ("data: [DONE]\n", false),
        ];
        for (text, done) in cases {
            let mut events = WholeEvents::default();
            let _ = events.pass(Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(events.done(), done, "{text:?}");
        }
        assert_eq!(event(b"{}"), "data: {}\n\n");
    }

    proptest! {
        #[test]
        fn any_split_leaves_equal_bytes(text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let mut events = WholeEvents::default();
            let mut out = Vec::new();
            for pair in at.windows(2) {
                out.extend_from_slice(&events.pass(Bytes::copy_from_slice(&text.as_bytes()[pair[0]..pair[1]])));
                prop_assert!(out.is_empty() || ends_event(&out));
            }
            out.extend_from_slice(&events.finish());
            prop_assert_eq!(out, text.into_bytes());
        }
    }
}
