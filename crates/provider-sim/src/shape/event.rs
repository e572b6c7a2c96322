//! Server-sent events.

use crate::script::Step;

/// An event of a stream, with as many tokens of the answer.
pub(crate) fn event(name: Option<&str>, data: &str, tokens: u64) -> Step {
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    Step::Send(format!("{name}data: {data}\n\n").into(), tokens)
}

/// The kind of a stream of events.
pub(crate) const EVENTS: &str = "text/event-stream; charset=utf-8";
