//! Server-sent events on their way through: which bytes form whole events.

mod opening;

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::Dialect;

pub use opening::{StreamOpening, stream_opening};

/// Longest unfinished event that is held back. A longer one passes on in pieces.
const MOST_HELD: usize = 64 * 1024;

/// Lets whole events through at once and holds back the start of an unfinished one.
///
/// An engine that dies inside an event would otherwise leave the client with half a line, and an error event appended to
/// it would be read as part of that line. Engines write an event at a time, so as a rule nothing is ever held.
#[derive(Debug, Default)]
pub struct WholeEvents {
    dialect: Dialect,
    held: BytesMut,
    /// The start of an overlong event has passed on already.
    inside: bool,
    done: bool,
}

impl WholeEvents {
    /// For a stream of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, ..Self::default() }
    }

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
        self.done = self.dialect.ends(&whole);
        whole
    }

    /// The first whole event of `bytes`, where a stream begins; `None` when it is not whole yet.
    #[must_use]
    pub fn first(bytes: &[u8]) -> Option<&[u8]> {
        memchr::memchr2_iter(b'\n', b'\r', bytes).map(|at| &bytes[..=at]).find(|event| ends_event(event))
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

    /// Whether the last event that left is one that ends a stream. Where the end of a stream is the end of the connection,
    /// this alone tells a whole stream from a cut one.
    #[must_use]
    pub fn done(&self) -> bool {
        self.done
    }
}

/// These whole events without the one that only counts tokens, if it is among them: it has a usage and no choices.
#[must_use]
pub fn without_usage(events: Bytes) -> Bytes {
    static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\":[]"));
    let Some(mark) = MARK.find(&events) else { return events };
    let start = last_event_end(&events[..mark], 0).unwrap_or(0);
    let ends = memchr::memchr2_iter(b'\n', b'\r', &events[mark..]).map(|at| mark + at + 1);
    let end = ends.clone().find(|&end| ends_event(&events[mark..end])).unwrap_or(events.len());
    // Lines that end in CR LF have their empty line end one byte later than one that ends in CR.
    let end = if events[..end].ends_with(b"\r") && events.get(end) == Some(&b'\n') { end + 1 } else { end };
    if memchr::memmem::find(&events[start..end], b"\"usage\"").is_none() {
        return events;
    }
    match (start, end == events.len()) {
        (0, _) => events.slice(end..),
        (_, true) => events.slice(..start),
        (_, false) => [&events[..start], &events[end..]].concat().into(),
    }
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
    fn finds_the_first_event() {
        let cases = [
            ("data: a\n\ndata: b\n\n", Some("data: a\n\n")),
            ("data: a\r\n\r\n", Some("data: a\r\n\r")),
            ("data: a\n", None),
            ("", None),
        ];
        for (bytes, want) in cases {
            assert_eq!(WholeEvents::first(bytes.as_bytes()), want.map(str::as_bytes), "{bytes:?}");
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
    fn little_is_held_of_an_event_without_end() {
        let mut events = WholeEvents::default();
        let piece = Bytes::from(vec![b'x'; 16 * 1024]);
        let mut left = 0;
        for _ in 0..640 {
            left += events.pass(piece.clone()).len();
            assert!(
                events.held.len() <= MOST_HELD && events.held.capacity() <= 256 * 1024,
                "{}",
                events.held.capacity()
            );
        }
        assert_eq!(left + events.finish().len(), 640 * piece.len());
    }

    #[test]
    fn the_count_of_tokens_is_taken_out() {
        let count = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let cases = [
            (count.to_owned(), ""),
            (format!("data: a\n\n{count}data: [DONE]\n\n"), "data: a\n\ndata: [DONE]\n\n"),
            (format!("data: a\n\n{count}"), "data: a\n\n"),
            (format!("{count}data: [DONE]\n\n"), "data: [DONE]\n\n"),
            (format!("data: a\n\n{count}b\n\n").replace('\n', "\r\n"), "data: a\r\n\r\nb\r\n\r\n"),
            ("data: {\"choices\":[]}\n\n".to_owned(), "data: {\"choices\":[]}\n\n"),
            ("data: {\"choices\":[{}],\"usage\":{}}\n\n".to_owned(), "data: {\"choices\":[{}],\"usage\":{}}\n\n"),
        ];
        for (events, want) in cases {
            assert_eq!(without_usage(Bytes::from(events.clone())), want, "{events:?}");
        }
    }

    #[test]
    fn knows_the_last_event_however_it_came() {
        let text = "event: a\ndata: {}\n\nevent: message_stop\ndata: {}\n\n";
        for cut in 0..text.len() {
            let mut events = WholeEvents::new(Dialect::Anthropic);
            pass_all(&mut events, &[&text[..cut], &text[cut..]]);
            assert!(events.done(), "{cut}");
            pass_all(&mut events, &["event: ping\ndata: {}\n\n"]);
            assert!(!events.done(), "{cut}");
        }
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
