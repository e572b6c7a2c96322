//! The log line of each request.
//!
//! These lines are by far the most that a router logs, so they are written without the general machinery: put together
//! in a buffer of the worker, and handed to standard error many at a time, where a system call for each would be a tenth
//! of what a request costs. They look like all others. A process that is killed loses those of its last moments.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::clock;

/// A buffer of this many bytes is written out at once; a lesser one at the next [`RequestLog::flush`].
const ENOUGH: usize = 32 * 1024;
/// `2026-11-21T12:23:41`
const SECOND: usize = 19;

/// How a request's line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// No lines are written.
    Off,
    /// One JSON object a line.
    #[default]
    Json,
    /// Plain text.
    Text,
}

/// The lines of one worker that are not written yet.
#[derive(Debug)]
pub(crate) struct RequestLog {
    format: LineFormat,
    lines: RefCell<Vec<u8>>,
    /// The second of the last line, since 1970 and as text.
    second: Cell<(u64, [u8; SECOND])>,
}

impl RequestLog {
    pub(crate) fn new(format: LineFormat) -> Self {
        Self { format, lines: RefCell::default(), second: Cell::new((u64::MAX, [b'-'; SECOND])) }
    }

    /// Adds one line, whose fields `say` gives, unless lines are off.
    pub(crate) fn line(&self, say: impl FnOnce(&mut Line<'_>)) {
        if self.format != LineFormat::Off {
            self.line_at(clock::since_1970(), say);
        }
    }

    fn line_at(&self, now: Duration, say: impl FnOnce(&mut Line<'_>)) {
        let mut lines = self.lines.borrow_mut();
        let second = self.second(now.as_secs());
        let json = self.format == LineFormat::Json;
        lines.extend_from_slice(if json { b"{\"timestamp\":\"" } else { b"" });
        lines.extend_from_slice(&second);
        put(&mut lines, format_args!(".{:06}Z", now.subsec_micros()));
        let start: &[u8] = if json {
            // Other lines name a part of the program as their `target`; here that is where the request went.
            b"\",\"level\":\"INFO\",\"message\":\"request\""
        } else {
            b"  INFO router::request: request"
        };
        lines.extend_from_slice(start);
        say(&mut Line { lines: &mut lines, json, first: false });
        lines.extend_from_slice(if json { b"}\n" } else { b"\n" });
        if lines.len() >= ENOUGH {
            write_out(&mut lines);
        }
    }

    /// Writes out what is there.
    pub(crate) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            write_out(&mut lines);
        }
    }

    /// A second as text. Most lines share it with the one before.
    fn second(&self, since_1970: u64) -> [u8; SECOND] {
        let (known, text) = self.second.get();
        if known == since_1970 {
            return text;
        }
        let at = i64::try_from(since_1970).ok().and_then(|second| Timestamp::from_second(second).ok());
        let text = at.unwrap_or_default().to_string();
        let text = text.as_bytes().first_chunk().copied().unwrap_or([b'-'; SECOND]);
        self.second.set((since_1970, text));
        text
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A line that fields can be added to. A field without a value is left out.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a mut Vec<u8>,
    json: bool,
    /// The next field is the first of an object.
    first: bool,
}

impl Line<'_> {
    /// A field that is a list of objects, whose fields `say` gives; left out when the list is empty.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        items: impl Iterator<Item = T>,
        mut say: impl FnMut(&mut Self, T),
    ) {
        let mut any = false;
        for item in items {
            if any {
                self.lines.push(b',');
            } else {
                self.key(key);
                self.lines.push(b'[');
                any = true;
            }
            self.lines.push(b'{');
            self.first = true;
            say(self, item);
            self.first = false;
            self.lines.push(b'}');
        }
        if any {
            self.lines.push(b']');
        }
    }

    /// A field of text.
    pub(crate) fn text(&mut self, key: &'static str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.key(key);
        if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
            self.lines.push(b'"');
            self.lines.extend_from_slice(value.as_bytes());
            self.lines.push(b'"');
        } else {
            // Writing text into memory cannot fail.
            let _ = serde_json::to_writer(&mut *self.lines, value);
        }
    }

    /// A field that is a number.
    pub(crate) fn number(&mut self, key: &'static str, value: Option<impl Into<i64>>) {
        let Some(value) = value else { return };
        self.key(key);
        put(self.lines, format_args!("{}", value.into()));
    }

    /// A field that is a length of time, in milliseconds to the microsecond.
    pub(crate) fn millis(&mut self, key: &'static str, value: Option<Duration>) {
        let Some(value) = value else { return };
        self.key(key);
        let micros = value.as_micros();
        put(self.lines, format_args!("{}.{:03}", micros / 1000, micros % 1000));
    }

    /// A field that says yes or no.
    pub(crate) fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.lines.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn key(&mut self, key: &'static str) {
        let first = std::mem::take(&mut self.first);
        let start = match (self.json, first) {
            (true, false) => ",\"",
            (true, true) => "\"",
            (false, false) => " ",
            (false, true) => "",
        };
        self.lines.extend_from_slice(start.as_bytes());
        self.lines.extend_from_slice(key.as_bytes());
        self.lines.extend_from_slice(if self.json { b"\":" } else { b"=" });
    }
}

fn put(lines: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let _ = lines.write_fmt(text);
}

fn write_out(lines: &mut Vec<u8>) {
    telemetry::log::put(lines);
    lines.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_all_others() {
        let cases = [
            (
                LineFormat::Json,
                "{\"timestamp\":\"2026-11-21T12:23:41.000042Z\",\"level\":\"INFO\",\"message\":\"request\",\
                 \"model\":\"a\\\"b\",\"status\":200,\"total_ms\":1234.005,\"stream\":true,\
                 \"tries\":[{\"at\":\"a\",\"n\":1},{\"at\":\"b\",\"n\":2}]}\n",
            ),
            (
                LineFormat::Text,
                "2026-11-21T12:23:41.000042Z  INFO router::request: request model=\"a\\\"b\" status=200 \
                 total_ms=1234.005 stream=true tries=[{at=\"a\" n=1},{at=\"b\" n=2}]\n",
            ),
        ];
        for (format, want) in cases {
            let log = RequestLog::new(format);
            for _ in 0..2 {
                log.line_at(Duration::new(1_795_263_821, 42_999), |line| {
                    line.text("model", Some("a\"b"));
                    line.text("pool", None);
                    line.number("status", Some(200u16));
                    line.millis("total_ms", Some(Duration::from_micros(1_234_005)));
                    line.flag("stream", true);
                    line.list("none", std::iter::empty::<()>(), |_, ()| {});
                    line.list("tries", [("a", 1i64), ("b", 2)].into_iter(), |line, (at, n)| {
                        line.text("at", Some(at));
                        line.number("n", Some(n));
                    });
                });
            }
            let lines = std::mem::take(&mut *log.lines.borrow_mut());
            assert_eq!(String::from_utf8(lines).unwrap(), want.repeat(2));
        }
    }
}
