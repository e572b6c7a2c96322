//! What a fault makes of an answer.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;

use crate::faults::{Fault, Framing, Garbage, Kind};
use crate::refusal::{Api, Refusal};
use crate::script::{Script, Step};
use crate::shape::event::event;
use crate::shape::{Surface, frame, responses};

/// What is no HTTP, no JSON and no text.
const GARBAGE: &[u8] = b"\x00\xff\xfe{]this is no answer\x00\n\n";
/// A page such as a proxy in front of a provider shows.
const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>";
/// What is much for one event.
const MUCH: usize = 10 * 1024 * 1024;
/// What is much for a head.
const LONG_HEAD: usize = 1024 * 1024;

/// What is known of the request that is hit.
pub(crate) struct Hit<'a> {
    pub(crate) api: Api,
    /// The surface that answers, if one does.
    pub(crate) surface: Option<Surface>,
    /// The id that names the request.
    pub(crate) request: &'a str,
    pub(crate) now: SystemTime,
}

/// What is sent in the end.
pub(crate) enum Outcome {
    Script(Script),
    /// Bytes past HTTP; then the connection closes.
    Raw(Vec<u8>),
}

/// The error that a fault answers with in place of anything else.
pub(crate) fn refusal(fault: &Fault, hit: &Hit<'_>) -> Option<Script> {
    let mut script = match &fault.kind {
        Kind::Status(status) => Refusal::of_status(*status, fault.cause).script(hit.api, hit.request),
        Kind::Redirect(address) => {
            let mut script = Script::plain(fault.status.unwrap_or(307), "text/plain", "elsewhere");
            script.header("location", address.clone());
            script
        }
        _ => return None,
    };
    match fault.retry_after.as_deref() {
        Some("") => script.headers.retain(|(name, _)| *name != "retry-after"),
        Some(value) => script.header("retry-after", retry_after(value, hit.now)),
        None => {}
    }
    if let Some(value) = &fault.retry_after_ms {
        script.header("retry-after-ms", value.clone());
    }
    if let Some(value) = &fault.should_retry {
        script.header("x-should-retry", value.clone());
    }
    Some(script)
}

fn retry_after(value: &str, now: SystemTime) -> String {
    let date = value.strip_prefix("date+").and_then(|seconds| seconds.parse().ok());
    date.map_or_else(|| value.to_owned(), |seconds| httpdate::fmt_http_date(now + Duration::from_secs(seconds)))
}

/// Changes an answer.
pub(crate) fn change(mut script: Script, fault: &Fault, hit: &Hit<'_>) -> Outcome {
    let streams = script.streams;
    match fault.kind {
        Kind::ErrorEvent(cause) if streams => {
            script.steps.truncate(fault.after.unwrap_or(0));
            script.steps.push(error_event(&Refusal::of_status(0, Some(cause)), hit));
        }
        Kind::Truncate if streams => script.steps.truncate(fault.after.unwrap_or(1)),
        Kind::Twice if streams => {
            let end = script.steps.len().saturating_sub(2);
            script.steps.extend_from_within(end..);
        }
        Kind::Reset(0) => script.before.push(Step::Reset),
        Kind::Reset(bytes) => cut(&mut script, bytes, Step::Reset),
        Kind::Close(0) => script.before.push(Step::Close),
        Kind::Close(bytes) => cut(&mut script, bytes, Step::Close),
        Kind::Split(size) => each(&mut script, |bytes| pieces(bytes, size), None),
        Kind::Drip(gap) => each(&mut script, |bytes| pieces(bytes, 1), Some(gap)),
        Kind::Lines(end) if streams => each(&mut script, |bytes| vec![relined(bytes, end)], None),
        Kind::Noise if streams => {
            each(&mut script, |bytes| vec![Bytes::from([&b": noise\n\nevent:\n\n"[..], bytes].concat())], None);
        }
        Kind::Stall(span) => {
            let step = span.map_or(Step::Hang, Step::Wait);
            match fault.after {
                Some(after) if streams => {
                    let at = after.min(script.steps.len());
                    script.steps.insert(at, step);
                }
                _ => script.before.push(step),
            }
        }
        Kind::Endless(gap) if streams => {
            let middle = script.steps.iter().rposition(|step| matches!(step, Step::Send(_, 1..)));
            if let Some(at) = middle.or(Some(0)) {
                script.steps.truncate(at + 1);
                if let Some(Step::Send(bytes, _)) = script.steps.last().cloned() {
                    script.steps.push(Step::Repeat(bytes, gap));
                }
            }
        }
        Kind::Pace(gap) => script.pace(gap),
        Kind::Garbage(Garbage::Answer) => return Outcome::Raw(GARBAGE.to_vec()),
        Kind::Garbage(garbage) => return Outcome::Script(garbled(script, garbage)),
        Kind::Length(difference) => return Outcome::Raw(with_length(&script, difference)),
        Kind::Framing(framing) => return Outcome::Raw(framed(&script, framing)),
        _ => {}
    }
    Outcome::Script(script)
}

/// An error where an event should be, as each API writes it.
fn error_event(refusal: &Refusal, hit: &Hit<'_>) -> Step {
    let json = refusal.json(hit.api, hit.request);
    match (hit.api, hit.surface) {
        (Api::Anthropic, _) => event(Some("error"), &json, 0),
        (Api::Bedrock, _) => {
            // `ThrottlingException` is called `throttlingException` in a stream.
            let kind = refusal.kind(Api::Bedrock);
            let name =
                kind.chars().next().map_or_else(String::new, |c| c.to_lowercase().collect::<String>() + &kind[1..]);
            Step::Send(frame::exception(name, &json), 0)
        }
        (_, Some(Surface::Responses)) => responses::failure(&refusal.message, refusal.kind(hit.api)),
        _ => event(None, &json, 0),
    }
}

/// Ends the body after so many bytes, by `end`.
fn cut(script: &mut Script, bytes: usize, end: Step) {
    script.promised = script.promised.or_else(|| Some(script.length()));
    let mut left = bytes;
    let mut steps = Vec::new();
    for step in std::mem::take(&mut script.steps) {
        match step {
            Step::Send(piece, tokens) if piece.len() >= left => {
                steps.push(Step::Send(piece.slice(..left), if piece.len() == left { tokens } else { 0 }));
                steps.push(end);
                script.steps = steps;
                return;
            }
            Step::Send(piece, tokens) => {
                left -= piece.len();
                steps.push(Step::Send(piece, tokens));
            }
            other => steps.push(other),
        }
    }
    script.steps = steps;
}

/// Makes of each piece that is sent several, with so long between.
fn each(script: &mut Script, of: impl Fn(&Bytes) -> Vec<Bytes>, gap: Option<Duration>) {
    let mut steps = Vec::new();
    for step in script.steps.drain(..) {
        let Step::Send(bytes, tokens) = step else {
            steps.push(step);
            continue;
        };
        let pieces = of(&bytes);
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.into_iter().enumerate() {
            steps.extend(gap.map(Step::Wait));
            steps.push(Step::Send(piece, if at == last { tokens } else { 0 }));
        }
    }
    script.steps = steps;
}

fn pieces(bytes: &Bytes, size: usize) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut all = Vec::new();
    while rest.len() > size {
        all.push(rest.split_to(size));
    }
    all.push(rest);
    all
}

fn relined(bytes: &Bytes, end: &str) -> Bytes {
    String::from_utf8_lossy(bytes).replace('\n', end).into()
}

fn garbled(mut script: Script, garbage: Garbage) -> Script {
    let first = |bytes: Vec<u8>| Step::Send(bytes.into(), 0);
    match garbage {
        Garbage::Html => return Script::plain(200, "text/html; charset=utf-8", PAGE),
        Garbage::Json => {
            let half = script.bytes();
            script.steps = vec![first(half[..half.len() / 2].to_vec())];
        }
        Garbage::Binary => script.steps.insert(script.steps.len() / 2, first(GARBAGE.to_vec())),
        Garbage::Event => script.steps.insert(0, event(Some("novelty"), r#"{"type":"novelty","of":["no",1,{}]}"#, 0)),
        Garbage::Huge => script.steps.insert(1.min(script.steps.len()), event(Some("novelty"), &"x".repeat(MUCH), 0)),
        Garbage::Line => script.steps = vec![first(vec![b'x'; MUCH])],
        Garbage::Answer => {}
    }
    script
}

/// The head of an answer that is written by hand.
fn head(script: &Script, framing: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} As Asked\r\n", script.status);
    for (name, value) in &script.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    (head + framing + "\r\n").into_bytes()
}

fn with_length(script: &Script, difference: i64) -> Vec<u8> {
    let body = script.bytes();
    let told = i64::try_from(body.len()).unwrap_or(i64::MAX).saturating_add(difference).max(0);
    [head(script, &format!("content-length: {told}\r\n")), body].concat()
}

fn framed(script: &Script, framing: Framing) -> Vec<u8> {
    let body = script.bytes();
    let length = body.len();
    let chunk = |told: usize| [format!("{told:x}\r\n").as_bytes(), &body, b"\r\n0\r\n"].concat();
    let chunked = "transfer-encoding: chunked\r\n";
    match framing {
        Framing::Both => {
            let both = format!("{chunked}content-length: {length}\r\n");
            [head(script, &both), chunk(length), b"\r\n".to_vec()].concat()
        }
        Framing::Chunk => [head(script, chunked), chunk(length + 5), b"\r\n".to_vec()].concat(),
        Framing::Trailers => [head(script, chunked), chunk(length), b"x-trailer: kept\r\n\r\n".to_vec()].concat(),
        Framing::Informational => {
            let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(1000);
            [hint, head(script, &format!("content-length: {length}\r\n")), body].concat()
        }
        Framing::Head => {
            let much = format!("x-much: {}\r\ncontent-length: {length}\r\n", "x".repeat(LONG_HEAD));
            [head(script, &much), body].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Hit<'_> =
        Hit { api: Api::OpenAi, surface: Some(Surface::Chat), request: "r", now: SystemTime::UNIX_EPOCH };

    fn sent(text: &'static str, tokens: u64) -> Step {
        Step::Send(Bytes::from_static(text.as_bytes()), tokens)
    }

    fn stream() -> Script {
        Script::stream("text/event-stream", vec![sent("a\n\n", 0), sent("bc\n\n", 1), sent("d\n\n", 0)])
    }

    fn changed(text: &str) -> Script {
        match change(stream(), &Fault::parse(text).unwrap(), &HIT) {
            Outcome::Script(script) => script,
            Outcome::Raw(_) => panic!("{text} writes past HTTP"),
        }
    }

    #[test]
    fn steps_change_as_the_fault_says() {
        let wait = Duration::from_secs(1);
        for (text, expected) in [
            ("truncate", vec![sent("a\n\n", 0)]),
            ("truncate,after=2", vec![sent("a\n\n", 0), sent("bc\n\n", 1)]),
            ("reset=4", vec![sent("a\n\n", 0), sent("b", 0), Step::Reset]),
            ("close=3", vec![sent("a\n\n", 0), Step::Close]),
            ("reset=99", vec![sent("a\n\n", 0), sent("bc\n\n", 1), sent("d\n\n", 0)]),
            ("stall=1s,after=1", vec![sent("a\n\n", 0), Step::Wait(wait), sent("bc\n\n", 1), sent("d\n\n", 0)]),
            ("pace=1s", vec![sent("a\n\n", 0), Step::Wait(wait), sent("bc\n\n", 1), sent("d\n\n", 0)]),
            (
                "split=2",
                vec![sent("a\n", 0), sent("\n", 0), sent("bc", 0), sent("\n\n", 1), sent("d\n", 0), sent("\n", 0)],
            ),
            ("lines=crlf", vec![sent("a\r\n\r\n", 0), sent("bc\r\n\r\n", 1), sent("d\r\n\r\n", 0)]),
            (
                "endless=1s",
                vec![sent("a\n\n", 0), sent("bc\n\n", 1), Step::Repeat(Bytes::from_static(b"bc\n\n"), wait)],
            ),
            ("twice", vec![sent("a\n\n", 0), sent("bc\n\n", 1), sent("d\n\n", 0), sent("bc\n\n", 1), sent("d\n\n", 0)]),
        ] {
            assert_eq!(changed(text).steps, expected, "{text}");
        }
        assert_eq!(changed("stall=1s").before, [Step::Wait(wait)]);
        assert_eq!(changed("reset=0").before, [Step::Reset]);
    }

    #[test]
    fn an_error_stands_in_the_stream_in_the_shape_of_the_api() {
        for (api, surface, begins) in [
            (Api::OpenAi, Surface::Chat, r#"data: {"error":{"message":"Overloaded","type":"server_error""#),
            (Api::OpenAi, Surface::Responses, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,"),
            (
                Api::Anthropic,
                Surface::Messages,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"",
            ),
        ] {
            let hit = Hit { api, surface: Some(surface), ..HIT };
            let Outcome::Script(script) = change(stream(), &Fault::parse("error-event").unwrap(), &hit) else {
                panic!("raw")
            };
            let text = String::from_utf8(script.bytes()).unwrap();
            assert!(text.starts_with(begins), "{text}");
        }
        assert!(
            String::from_utf8(changed("error-event,after=1").bytes()).unwrap().starts_with("a\n\ndata: {\"error\"")
        );
    }

    #[test]
    fn refusals_carry_the_headers_that_are_asked_for() {
        let headers = |text: &str| refusal(&Fault::parse(text).unwrap(), &HIT).unwrap().headers;
        let has = |text, name, value: &str| headers(text).contains(&(name, value.to_owned()));
        assert!(has("status=429", "retry-after", "1"));
        assert!(!headers("status=429,retry-after=").iter().any(|(name, _)| *name == "retry-after"));
        assert!(has("status=503,retry-after=soon", "retry-after", "soon"));
        assert!(has("status=503,retry-after=date+60", "retry-after", "Thu, 01 Jan 1970 00:01:00 GMT"));
        assert!(has("status=429,retry-after-ms=250,should-retry=false", "retry-after-ms", "250"));
        assert!(has("status=429,retry-after-ms=250,should-retry=false", "x-should-retry", "false"));
        assert!(has("redirect=http://elsewhere/,status=301", "location", "http://elsewhere/"));
    }
}
