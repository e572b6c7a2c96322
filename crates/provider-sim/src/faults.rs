//! What goes wrong on demand: which request is hit, and by what.
//!
//! A fault is written as its kind, then its options, with commas between: `stall=30s,after=5,every=5`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::refusal::{CAUSES, Cause};
use crate::shape::Falsity;
use crate::text::quoted;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The answer is an error of this status, in the API's shape.
    Status(u16),
    /// The answer is a 200 whose stream holds an error event, after so many events; then it ends.
    ErrorEvent(Cause),
    /// The connection is reset after so many bytes of the body; after none, before the answer begins.
    Reset(usize),
    /// The connection ends in good order after so many bytes of the body.
    Close(usize),
    /// A stream ends in good order, but without the events that should end it.
    Truncate,
    Garbage(Garbage),
    /// What is told of the usage is not so.
    Usage(Falsity),
    /// The events that end a stream come twice.
    Twice,
    /// The body leaves in pieces of so many bytes.
    Split(usize),
    /// The lines of a stream end in this.
    Lines(&'static str),
    /// Comments, empty events and a byte-order mark stand in a stream.
    Noise,
    /// The length that is told is so many bytes more, or fewer, than come.
    Length(i64),
    Framing(Framing),
    /// The answer stops for so long, or for ever: before its head, or after so many events.
    Stall(Option<Duration>),
    /// The body leaves byte by byte, each after so long.
    Drip(Duration),
    /// A stream goes on for ever, an event each so often.
    Endless(Duration),
    /// A token takes so long.
    Pace(Duration),
    /// A client that leaves is billed for all that it would have got.
    IgnoreCancel,
    /// The answer sends the client elsewhere.
    Redirect(String),
}

/// What comes that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// No HTTP.
    Answer,
    /// A page for people, with the status 200.
    Html,
    /// JSON that breaks off.
    Json,
    /// Bytes that are no text.
    Binary,
    /// An event of a kind that nobody knows, with fields that nobody knows, in front of the others.
    Event,
    /// One event of ten megabytes.
    Huge,
    /// Ten megabytes without a line's end.
    Line,
}

/// What is wrong with the framing of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Both a length and chunks.
    Both,
    /// A chunk that says it is longer than it is.
    Chunk,
    /// Trailers behind the chunks, which is allowed.
    Trailers,
    /// Many informational answers before the one that counts.
    Informational,
    /// A head of a megabyte.
    Head,
}

/// A fault and whom it hits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Events of a stream that come before it.
    pub(crate) after: Option<usize>,
    pub(crate) cause: Option<Cause>,
    /// The status of a redirect.
    pub(crate) status: Option<u16>,
    /// `Retry-After`, as it is to be written; `date+N` is a date so many seconds from now; empty, the header is absent.
    pub(crate) retry_after: Option<String>,
    pub(crate) retry_after_ms: Option<String>,
    pub(crate) should_retry: Option<String>,
    /// It hits one request of so many.
    every: u64,
    /// It hits at most so often.
    count: u64,
    /// It lets so many requests pass first.
    skip: u64,
    /// It hits only paths that hold this.
    path: Option<String>,
    /// It hits only requests for this model.
    model: Option<String>,
    /// It hits only this key.
    key: Option<String>,
    text: String,
    seen: u64,
    struck: u64,
}

/// A fault that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {text:?}: {problem}")]
pub(crate) struct FaultError {
    text: String,
    problem: String,
}

/// All faults, in the order in which they work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Faults(Vec<Fault>);

/// Options that every kind takes.
const OPTIONS: &str =
    "after, cause, status, retry-after, retry-after-ms, should-retry, every, count, skip, path, model, key";
/// All kinds.
const KINDS: &str = "status, error-event, reset, close, truncate, garbage, usage, twice, split, lines, noise, length, \
                     framing, stall, drip, endless, pace, ignore-cancel, redirect";

impl Fault {
    /// Reads one fault.
    pub(crate) fn parse(text: &str) -> Result<Self, FaultError> {
        let wrong = |problem: String| FaultError { text: text.to_owned(), problem };
        let mut words = text.trim().split(',').map(str::trim);
        let first = words.next().unwrap_or_default();
        let (name, value) = first.split_once('=').unwrap_or((first, ""));
        let mut fault = Self::of(kind(name, value).map_err(wrong)?, text.trim());
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            fault.set(name, value).map_err(wrong)?;
        }
        Ok(fault)
    }

    fn of(kind: Kind, text: &str) -> Self {
        Self {
            kind,
            after: None,
            cause: None,
            status: None,
            retry_after: None,
            retry_after_ms: None,
            should_retry: None,
            every: 1,
            count: u64::MAX,
            skip: 0,
            path: None,
            model: None,
            key: None,
            text: text.to_owned(),
            seen: 0,
            struck: 0,
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a whole number, not {value:?}"));
        let text = || Some(value.to_owned());
        match name {
            "after" => self.after = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "cause" => self.cause = Some(cause(value)?),
            "status" => self.status = Some(status(value, 100)?),
            "retry-after" => self.retry_after = text(),
            "retry-after-ms" => self.retry_after_ms = text(),
            "should-retry" => self.should_retry = text(),
            "every" => self.every = number()?.max(1),
            "count" => self.count = number()?,
            "skip" => self.skip = number()?,
            "path" => self.path = text(),
            "model" => self.model = text(),
            "key" => self.key = text(),
            _ => return Err(format!("{name:?} is no option; there are {OPTIONS}")),
        }
        Ok(())
    }

    /// Whether it hits a request, which it counts.
    fn hits(&mut self, path: &str, model: &str, key: &str) -> bool {
        let here = self.path.as_deref().is_none_or(|part| path.contains(part));
        let asked = self.model.as_deref().is_none_or(|wanted| wanted == model);
        let shown = self.key.as_deref().is_none_or(|wanted| wanted == key);
        if !(here && asked && shown) {
            return false;
        }
        self.seen += 1;
        let turn = self.seen > self.skip && (self.seen - self.skip).is_multiple_of(self.every);
        let hit = turn && self.struck < self.count;
        self.struck += u64::from(hit);
        hit
    }
}

fn kind(name: &str, value: &str) -> Result<Kind, String> {
    let bytes = || value.parse().map_err(|_| format!("{name} needs a number of bytes, not {value:?}"));
    let needed = || span(value).ok_or_else(|| format!("{name} needs a time such as 300ms or 30s, not {value:?}"));
    let named = |all: &str| format!("{name} needs one of {all}, not {value:?}");
    Ok(match (name, value) {
        ("status", _) => Kind::Status(status(value, 400)?),
        ("error-event", "") => Kind::ErrorEvent(Cause::Overloaded),
        ("error-event", _) => Kind::ErrorEvent(cause(value)?),
        ("reset", _) => Kind::Reset(bytes()?),
        ("close", _) => Kind::Close(bytes()?),
        ("truncate", "") => Kind::Truncate,
        ("garbage", "" | "answer") => Kind::Garbage(Garbage::Answer),
        ("garbage", "html") => Kind::Garbage(Garbage::Html),
        ("garbage", "json") => Kind::Garbage(Garbage::Json),
        ("garbage", "binary") => Kind::Garbage(Garbage::Binary),
        ("garbage", "event") => Kind::Garbage(Garbage::Event),
        ("garbage", "huge") => Kind::Garbage(Garbage::Huge),
        ("garbage", "line") => Kind::Garbage(Garbage::Line),
        ("garbage", _) => return Err(named("answer, html, json, binary, event, huge, line")),
        ("usage", "absent") => Kind::Usage(Falsity::Absent),
        ("usage", "zero") => Kind::Usage(Falsity::Zero),
        ("usage", "negative") => Kind::Usage(Falsity::Negative),
        ("usage", "huge") => Kind::Usage(Falsity::Huge),
        ("usage", _) => return Err(named("absent, zero, negative, huge")),
        ("twice", "") => Kind::Twice,
        ("split", _) => Kind::Split(bytes()?.max(1)),
        ("lines", "crlf") => Kind::Lines("\r\n"),
        ("lines", "cr") => Kind::Lines("\r"),
        ("lines", _) => return Err(named("crlf, cr")),
        ("noise", "") => Kind::Noise,
        ("length", _) => match value.parse() {
            Ok(0) | Err(_) => return Err(format!("length needs a number of bytes such as +5 or -5, not {value:?}")),
            Ok(difference) => Kind::Length(difference),
        },
        ("framing", "both") => Kind::Framing(Framing::Both),
        ("framing", "chunk") => Kind::Framing(Framing::Chunk),
        ("framing", "trailers") => Kind::Framing(Framing::Trailers),
        ("framing", "informational") => Kind::Framing(Framing::Informational),
        ("framing", "head") => Kind::Framing(Framing::Head),
        ("framing", _) => return Err(named("both, chunk, trailers, informational, head")),
        ("stall", "forever") => Kind::Stall(None),
        ("stall", _) => Kind::Stall(Some(needed()?)),
        ("drip", _) => Kind::Drip(needed()?),
        ("endless", "") => Kind::Endless(Duration::from_millis(10)),
        ("endless", _) => Kind::Endless(needed()?),
        ("pace", _) => Kind::Pace(needed()?),
        ("ignore-cancel", "") => Kind::IgnoreCancel,
        ("redirect", "") => return Err("redirect needs the address to send clients to".to_owned()),
        ("redirect", _) => Kind::Redirect(value.to_owned()),
        _ => return Err(format!("{name:?} is no fault; there are {KINDS}")),
    })
}

fn status(value: &str, least: u16) -> Result<u16, String> {
    let read = value.parse().ok().filter(|status| (least..600).contains(status));
    read.ok_or_else(|| format!("status needs a number from {least} to 599, not {value:?}"))
}

fn cause(value: &str) -> Result<Cause, String> {
    let known = CAUSES.iter().find(|(name, _)| *name == value).map(|(_, cause)| *cause);
    let all = || CAUSES.map(|(name, _)| name).join(", ");
    known.ok_or_else(|| format!("{value:?} is no cause; there are {}", all()))
}

/// A time such as 300ms or 1.5s.
pub(crate) fn span(value: &str) -> Option<Duration> {
    let (digits, unit) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 0.001),
        None => (value.strip_suffix('s')?, 1.0),
    };
    let seconds = digits.parse().ok().map(|number: f64| number * unit).filter(|s| (0.0..=86_400.0).contains(s))?;
    Some(Duration::from_secs_f64(seconds))
}

impl Faults {
    /// Reads faults, one a line or with semicolons between; empty ones are passed over.
    pub(crate) fn parse(text: &str) -> Result<Self, FaultError> {
        let texts = text.split(['\n', ';']).map(str::trim).filter(|text| !text.is_empty());
        texts.map(Fault::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The faults that hit a request.
    pub(crate) fn strike(&mut self, path: &str, model: &str, key: &str) -> Vec<Fault> {
        self.0.iter_mut().filter_map(|fault| fault.hits(path, model, key).then(|| fault.clone())).collect()
    }

    /// As JSON, with how many requests each saw and hit.
    pub(crate) fn json(&self) -> String {
        let mut all = String::new();
        for fault in &self.0 {
            let comma = if all.is_empty() { "" } else { "," };
            let Fault { text, seen, struck, .. } = fault;
            // Writing to a string cannot fail.
            let _ = write!(all, r#"{comma}{{"fault":{},"seen":{seen},"struck":{struck}}}"#, quoted(text));
        }
        format!(r#"{{"faults":[{all}]}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        for (text, expected) in [
            ("status=529", Kind::Status(529)),
            ("error-event", Kind::ErrorEvent(Cause::Overloaded)),
            ("error-event=pace,after=3", Kind::ErrorEvent(Cause::Pace)),
            ("reset=0", Kind::Reset(0)),
            ("close=12", Kind::Close(12)),
            ("garbage=html", Kind::Garbage(Garbage::Html)),
            ("usage=absent", Kind::Usage(Falsity::Absent)),
            ("split=1", Kind::Split(1)),
            ("lines=crlf", Kind::Lines("\r\n")),
            ("length=-5", Kind::Length(-5)),
            ("framing=both", Kind::Framing(Framing::Both)),
            ("stall=forever", Kind::Stall(None)),
            ("stall=300ms,after=2", Kind::Stall(Some(Duration::from_millis(300)))),
            ("drip=1.5s", Kind::Drip(Duration::from_millis(1500))),
            ("ignore-cancel", Kind::IgnoreCancel),
            ("redirect=http://127.0.0.1:1/x,status=308", Kind::Redirect("http://127.0.0.1:1/x".to_owned())),
        ] {
            assert_eq!(Fault::parse(text).map(|fault| fault.kind), Ok(expected), "{text}");
        }
        let fault = Fault::parse("status=429,cause=quota,retry-after=date+5,after=2").unwrap();
        assert_eq!((fault.cause, fault.after), (Some(Cause::Quota), Some(2)));
        assert_eq!(fault.retry_after.as_deref(), Some("date+5"));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_there_is() {
        for (text, problem) in [
            ("explode", format!(r#""explode" is no fault; there are {KINDS}"#)),
            ("status=200", r#"status needs a number from 400 to 599, not "200""#.to_owned()),
            ("stall=soon", r#"stall needs a time such as 300ms or 30s, not "soon""#.to_owned()),
            ("length=0", r#"length needs a number of bytes such as +5 or -5, not "0""#.to_owned()),
            ("garbage=x", r#"garbage needs one of answer, html, json, binary, event, huge, line, not "x""#.to_owned()),
            ("redirect", "redirect needs the address to send clients to".to_owned()),
            ("twice,often", format!(r#""often" is no option; there are {OPTIONS}"#)),
            ("twice,count=x", r#"count needs a whole number, not "x""#.to_owned()),
        ] {
            let problem = FaultError { text: text.to_owned(), problem };
            assert_eq!(Fault::parse(text).unwrap_err(), problem);
        }
    }

    #[test]
    fn faults_hit_whom_they_should() {
        let hits = |text: &str| -> Vec<usize> {
            let mut faults = Faults::parse(text).unwrap();
            (1..=6).filter(|_| !faults.strike("/v1/messages", "claude-x", "sim-key").is_empty()).collect()
        };
        for (text, expected) in [
            ("twice", &[1, 2, 3, 4, 5, 6][..]),
            ("twice,count=1", &[1]),
            ("twice,every=3", &[3, 6]),
            ("twice,skip=4", &[5, 6]),
            ("twice,path=messages,model=claude-x,key=sim-key,count=2", &[1, 2]),
            ("twice,path=/v1/chat", &[]),
            ("twice,model=gpt", &[]),
            ("twice,key=other", &[]),
        ] {
            assert_eq!(hits(text), expected, "{text}");
        }
        let mut both = Faults::parse("twice;noise,count=1\n\n").unwrap();
        assert_eq!(both.strike("/", "", "").len(), 2);
        assert_eq!(both.strike("/", "", "").len(), 1);
        let listed =
            r#"{"faults":[{"fault":"twice","seen":2,"struck":2},{"fault":"noise,count=1","seen":2,"struck":1}]}"#;
        assert_eq!(both.json(), listed);
    }
}
