//! Answers in the shape of each API: the fields of the real ones, in their order. Most are numbers or JSON already, so
//! bodies are written rather than serialised.

mod about;
pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod completion;
pub(crate) mod embeddings;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod models;
pub(crate) mod responses;

pub(crate) use about::{About, Falsity, Told};

use crate::answer::Answer;
use crate::script::Script;

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

#[cfg(test)]
mod tests;
