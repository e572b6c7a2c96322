//! Server-sent events on their way through: which bytes form whole events.

mod opening;

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::{self, Finder, FinderRev};

use crate::Dialect;

pub use opening::{StreamOpening, engine_opening, stream_opening};

/// Longest unfinished event that is held back. A longer one passes on in pieces.
const MOST_HELD: usize = 64 * 1024;
/// First bytes of an overlong event that are kept until its end.
const START: usize = 256;
/// Last bytes of what one read gave in which a choice's end is looked for. After it only a count of tokens comes.
const END: usize = 1024;

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
    /// The first bytes of that event, which hold its name.
    start: Bytes,
    done: bool,
    /// A choice was finished, or the stream ended, at some time.
    finished: bool,
    /// The number of the last event of a response.
    number: Option<u64>,
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
            if !self.inside {
                self.start = Bytes::copy_from_slice(&self.held[..START]);
            }
            self.inside = true;
            // Two bytes stay, so that a boundary that is split here is still seen.
            return self.held.split_to(self.held.len() - 2).freeze();
        }
        Bytes::new()
    }

    fn leave(&mut self, whole: Bytes) -> Bytes {
        if std::mem::take(&mut self.inside) {
            // Only the end of the first event is here: what it is, its start has told.
            let start = std::mem::take(&mut self.start);
            let line = memchr::memrchr2(b'\n', b'\r', &start).map_or(0, |at| at + 1);
            let number = if self.dialect == Dialect::Responses { last_number(&start) } else { None };
            self.note(&[&start[..line], b"data: {}\n\n"].concat());
            self.number = number.or(self.number);
            let rest = &whole[event_end(&whole, 0)..];
            if !rest.trim_ascii().is_empty() {
                self.note(rest);
            }
        } else {
            self.note(&whole);
        }
        whole
    }

    fn note(&mut self, events: &[u8]) {
        // Comments and empty lines behind the last event are no events.
        if self.done && memmem::find(events, b"data").is_none() {
            return;
        }
        self.done = self.dialect.ends(events);
        self.finished |= self.done;
        match self.dialect {
            Dialect::OpenAi => self.finished = self.finished || finishes(&events[events.len().saturating_sub(END)..]),
            Dialect::Responses => self.number = last_number(events).or(self.number),
            Dialect::Anthropic | Dialect::Bedrock => {}
        }
    }

    /// The first whole event of `bytes`, where a stream begins; `None` when it is not whole yet.
    #[must_use]
    pub fn first(bytes: &[u8]) -> Option<&[u8]> {
        memchr::memchr2_iter(b'\n', b'\r', bytes).map(|at| &bytes[..=at]).find(|event| ends_event(event))
    }

    /// What was held back, for a stream that ended in good order.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let rest = self.held.split().freeze();
        if !rest.is_empty() {
            self.note(&rest);
        }
        rest
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

    /// Whether the stream has said that it is whole, now that its framing says that nothing more comes. OpenAI's says so by
    /// `[DONE]`, which some engines leave out, or by why it finished; the others by their last event only.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// The last event was not passed on after all, so the next has its number.
    pub fn take_back(&mut self) {
        self.number = self.number.and_then(|number| number.checked_sub(1));
    }

    /// The number that a further event of a response would have.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.number.map_or(0, |number| number.saturating_add(1))
    }
}

/// Where the event ends in which `at` lies; the end of `events`, if that is not there.
pub(crate) fn event_end(events: &[u8], at: usize) -> usize {
    WholeEvents::first(&events[at..]).map_or(events.len(), |rest| at + rest.len())
}

/// Where the event begins in which `at` lies.
pub(crate) fn event_start(events: &[u8], at: usize) -> usize {
    last_event_end(&events[..at], 0).unwrap_or(0)
}

/// Whether a choice says in these events why it finished.
fn finishes(events: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\":"));
    let given = |at| events[at + KEY.needle().len()..].trim_ascii_start().starts_with(b"\"");
    KEY.find_iter(events).any(given)
}

/// The last number among these events of a response.
fn last_number(events: &[u8]) -> Option<u64> {
    static KEY: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"sequence_number\":"));
    let rest = events[KEY.rfind(events)? + KEY.needle().len()..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// These whole events without the one that only counts tokens, if it is among them: it has a usage and no choices.
#[must_use]
pub fn without_usage(events: Bytes) -> Bytes {
    static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\":"));
    for mark in MARK.find_iter(&events) {
        let list = events[mark + MARK.needle().len()..].trim_ascii_start().strip_prefix(b"[");
        if list.is_none_or(|list| !list.trim_ascii_start().starts_with(b"]")) {
            continue;
        }
        let start = last_event_end(&events[..mark], 0).unwrap_or(0);
        let ends = memchr::memchr2_iter(b'\n', b'\r', &events[mark..]).map(|at| mark + at + 1);
        let end = ends.clone().find(|&end| ends_event(&events[mark..end])).unwrap_or(events.len());
        // Lines that end in CR LF have their empty line end one byte later than one that ends in CR.
        let end = if events[..end].ends_with(b"\r") && events.get(end) == Some(&b'\n') { end + 1 } else { end };
        if !counts(&events[start..end]) {
            continue;
        }
        return match (start, end == events.len()) {
            (0, _) => events.slice(end..),
            (_, true) => events.slice(..start),
            (_, false) => [&events[..start], &events[end..]].concat().into(),
        };
    }
    events
}

/// Whether an event tells a count of tokens. Azure's first event has no choices and `"usage":null`.
fn counts(event: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\":"));
    let given = |at| event[at + KEY.needle().len()..].trim_ascii_start().starts_with(b"{");
    KEY.find_iter(event).any(given)
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

    const FILTERS: &str = "data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}\n\n";

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
    fn an_overlong_event_is_known_by_its_start() {
        let long = "x".repeat(MOST_HELD * 2);
        let event = |name: &str| format!("event: {name}\ndata: {{\"sequence_number\":6,\"text\":\"{long}\"}}\n\n");
        for (name, behind, done) in [
            ("response.completed", "", true),
            ("response.completed", ": bye\n\n", true),
            ("response.output_item.done", "", false),
            ("response.output_item.done", "event: response.completed\ndata: {}\n\n", true),
        ] {
            let text = event(name) + behind;
            for size in [1_000, 16_384, 65_530, text.len()] {
                let mut events = WholeEvents::new(Dialect::Responses);
                let pieces = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
                let left: usize = pieces.map(|piece| events.pass(piece).len()).sum();
                assert_eq!((left, events.done()), (text.len(), done), "{name} {behind:?} by {size}");
                assert_eq!(events.next_number(), 7, "{name} {behind:?} by {size}");
            }
        }
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
            (count.replace(':', ": "), ""),
            // Azure's first event stays, the count behind it goes.
            (format!("{FILTERS}data: a\n\n{count}"), &format!("{FILTERS}data: a\n\n")),
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
            pass_all(&mut events, &[": nothing\n\n"]);
            assert!(events.done(), "{cut}");
            pass_all(&mut events, &["event: ping\ndata: {}\n\n"]);
            assert!(!events.done(), "{cut}");
        }
    }

    #[test]
    fn knows_a_whole_stream() {
        use Dialect::{Anthropic, OpenAi, Responses};
        let cases = [
            (OpenAi, "data: {\"choices\":[{\"finish_reason\":null}]}\n\n", false),
            (OpenAi, "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n", true),
            (OpenAi, "data: {\"finish_reason\": \"length\"}\n\ndata: {\"choices\":[],\"usage\":{}}\n\n", true),
            (OpenAi, "data: {\"content\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}\n\n", false),
            (OpenAi, "data: {}\n\ndata: [DONE]\n\n", true),
            // Without the empty line after it.
            (OpenAi, "data: {}\n\ndata: [DONE]", true),
            (Anthropic, "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", false),
            (Anthropic, "event: message_stop\ndata: {}\n\n", true),
            (Responses, "event: response.output_text.done\ndata: {}\n\n", false),
            (Responses, "event: response.completed\ndata: {}\n\n", true),
            (OpenAi, "", false),
        ];
        for (dialect, text, want) in cases {
            for cut in 0..=text.len() {
                let mut events = WholeEvents::new(dialect);
                pass_all(&mut events, &[&text[..cut], &text[cut..]]);
                let _ = events.finish();
                assert_eq!(events.finished(), want, "{dialect:?} {text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn counts_on_from_the_last_number() {
        let event = |number: &str| {
            format!("event: x\ndata: {{\"delta\":\"\\\"sequence_number\\\":9\",\"sequence_number\":{number}}}\n\n")
        };
        let cases = [
            (Dialect::Responses, vec![], 0),
            (Dialect::Responses, vec![event("0")], 1),
            (Dialect::Responses, vec![event("1") + &event(" 2"), event("3")], 4),
            (Dialect::Responses, vec![event("7"), "event: y\ndata: {}\n\n".to_owned()], 8),
            (Dialect::Responses, vec![event("7"), event("\"x\"")], 8),
            (Dialect::OpenAi, vec![event("7")], 0),
        ];
        for (dialect, texts, want) in cases {
            let mut events = WholeEvents::new(dialect);
            pass_all(&mut events, &texts.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(events.next_number(), want, "{dialect:?} {texts:?}");
            events.take_back();
            assert_eq!(events.next_number(), want.saturating_sub(1), "{dialect:?} {texts:?}");
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
