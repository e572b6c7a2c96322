//! Answers in the shape of each API: the fields of the real ones, in their order. Most are numbers or JSON already, so
//! bodies are written rather than serialised.

pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod completion;
pub(crate) mod embeddings;
pub(crate) mod frame;
pub(crate) mod models;
pub(crate) mod responses;

use serde_json::Value;

use crate::answer::{Answer, Usage};
use crate::ask::Ask;
use crate::refusal::Api;
use crate::script::{Script, Step};

/// What all parts of one answer carry.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    pub(crate) api: Api,
    pub(crate) ask: &'a Ask,
    /// What makes its ids unique.
    pub(crate) unique: String,
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// What is told of the usage, which a fault can make another than what is billed; absent, nothing is.
    pub(crate) told: Option<Told>,
}

/// Usage as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) written: i64,
    pub(crate) written_hour: i64,
    pub(crate) output: i64,
    pub(crate) reasoning: i64,
}

/// How usage is falsified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Falsity {
    Absent,
    Zero,
    Negative,
    Huge,
}

impl Told {
    /// The truth.
    pub(crate) fn of(usage: Usage) -> Self {
        let told = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            input: told(usage.input),
            cached: told(usage.cached),
            written: told(usage.written),
            written_hour: told(usage.written_hour),
            output: told(usage.output),
            reasoning: told(usage.reasoning),
        }
    }

    /// Something else.
    pub(crate) fn falsified(self, falsity: Falsity) -> Option<Self> {
        let all = |change: fn(i64) -> i64| {
            let Self { input, cached, written, written_hour, output, reasoning } = self;
            let [input, cached, written, written_hour, output, reasoning] =
                [input, cached, written, written_hour, output, reasoning].map(change);
            Some(Self { input, cached, written, written_hour, output, reasoning })
        };
        match falsity {
            Falsity::Absent => None,
            Falsity::Zero => all(|_| 0),
            Falsity::Negative => all(|count| -count),
            Falsity::Huge => all(|count| count.saturating_mul(1_000_000)),
        }
    }

    /// All tokens of the prompt.
    pub(crate) fn prompt(&self) -> i64 {
        self.input + self.cached + self.written + self.written_hour
    }
}

/// Which answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Chat,
    Completion,
    Responses,
    Messages,
    Converse,
    /// Anthropic's Messages by Bedrock's `InvokeModel`.
    Invoke,
}

impl Surface {
    /// The whole answer.
    pub(crate) fn write(self, about: &About<'_>, answers: &[Answer]) -> Script {
        let stream = about.ask.stream;
        match (self, answers) {
            (Self::Chat, _) if stream => chat::stream(about, answers),
            (Self::Chat, _) => chat::plain(about, answers),
            (Self::Completion, _) if stream => completion::stream(about, answers),
            (Self::Completion, _) => completion::plain(about, answers),
            (_, []) => Script::json(500, "{}".to_owned(), 0),
            (Self::Responses, [answer, ..]) if stream => responses::stream(about, answer),
            (Self::Responses, [answer, ..]) => responses::plain(about, answer),
            (Self::Messages, [answer, ..]) if stream => anthropic::stream(about, answer),
            (Self::Messages, [answer, ..]) => anthropic::plain(about, answer),
            (Self::Converse, [answer, ..]) if stream => bedrock::stream(about, answer),
            (Self::Converse, [answer, ..]) => bedrock::plain(about, answer),
            (Self::Invoke, [answer, ..]) if stream => bedrock::invoke_stream(about, answer),
            (Self::Invoke, [answer, ..]) => bedrock::invoke(about, answer),
        }
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A count of pieces or places.
pub(crate) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// An event of a stream, with as many tokens of the answer.
pub(crate) fn event(name: Option<&str>, data: &str, tokens: u64) -> Step {
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    Step::Send(format!("{name}data: {data}\n\n").into(), tokens)
}

/// The kind of a stream of events.
pub(crate) const EVENTS: &str = "text/event-stream; charset=utf-8";

#[cfg(test)]
mod tests;
