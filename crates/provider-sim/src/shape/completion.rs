//! Completions, the old API.

use std::fmt::Write as _;

use super::about::About;
use super::chat::{reason, usage};
use super::event::{EVENTS, event};
use crate::answer::Answer;
use crate::script::{Script, Step};
use crate::text::quoted;

/// The answer in one piece.
pub(crate) fn plain(about: &About<'_>, answers: &[Answer]) -> Script {
    let mut choices = String::new();
    for (index, answer) in answers.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let (text, reason) = (quoted(&answer.text.concat()), reason(&answer.stop));
        // Writing to a string cannot fail.
        let _ =
            write!(choices, r#"{comma}{{"text":{text},"index":{index},"logprobs":null,"finish_reason":"{reason}"}}"#);
    }
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(about.api, told)));
    let body = format!(r#"{{{},"choices":[{choices}]{usage}}}"#, head(about));
    Script::json(200, body, answers.iter().map(Answer::tokens).sum())
}

/// The answer as a stream of events.
pub(crate) fn stream(about: &About<'_>, answers: &[Answer]) -> Script {
    let mut steps = Vec::new();
    let mut push = |choice: &str, usage: &str, tokens| {
        let usage = if about.ask.stream_usage { format!(r#","usage":{usage}"#) } else { String::new() };
        steps.push(event(None, &format!(r#"{{{},"choices":[{choice}]{usage}}}"#, head(about)), tokens));
    };
    for (index, answer) in answers.iter().enumerate() {
        for piece in &answer.text {
            let piece = quoted(piece);
            push(&format!(r#"{{"text":{piece},"index":{index},"logprobs":null,"finish_reason":null}}"#), "null", 1);
        }
        let reason = reason(&answer.stop);
        push(&format!(r#"{{"text":"","index":{index},"logprobs":null,"finish_reason":"{reason}"}}"#), "null", 0);
    }
    if let (true, Some(told)) = (about.ask.stream_usage, about.told) {
        push("", &usage(about.api, told), 0);
    }
    steps.push(Step::Send("data: [DONE]\n\n".into(), 0));
    Script::stream(EVENTS, steps)
}

fn head(about: &About<'_>) -> String {
    let About { unique, now, ask, .. } = about;
    format!(r#""id":"cmpl-{unique}","object":"text_completion","created":{now},"model":{}"#, quoted(&ask.model))
}
