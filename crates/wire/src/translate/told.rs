//! What a stream's reader finds, and what its events have told so far.

use super::{Failure, Shape};
use crate::unified::{Event, Stop, Tokens};

/// Where a reader puts the events that it found.
pub(crate) type Emit<'e> = &'e mut (dyn FnMut(Event<'_>) -> Result<(), Problem> + 'e);

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// An event does not have the target's shape.
    Shape(Shape),
    /// An event, or an answer that must be repeated at its end, is longer than any.
    TooLong,
    /// Pieces of two calls come in turns.
    Mixed,
    /// The terminal event came before the answer was finished, or never.
    Unfinished,
    /// The target said so.
    Failed(Failure),
}

impl Problem {
    pub(super) fn failure(self) -> Failure {
        let server = |message: &str, code| Failure::server(message.to_owned(), code);
        match self {
            Self::Shape(shape) => {
                Failure::server(format!("the target sent an event that {shape} do not have"), "upstream_malformed")
            }
            Self::TooLong => server("the target sent more than any answer has", "upstream_malformed"),
            Self::Mixed => server("the target mixed the pieces of two calls of tools", "upstream_malformed"),
            Self::Unfinished => server("the target's stream ended before the answer did", "upstream_cut"),
            Self::Failed(failure) => failure,
        }
    }
}

/// What the events so far have told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) model: String,
    pub(crate) stop: Stop,
    pub(super) stopped: bool,
    pub(crate) tokens: Option<Tokens>,
    pub(super) begun: bool,
    pub(super) call: Call,
}

/// Where the call of a tool stands whose arguments may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    No,
    /// Nothing of its arguments has come.
    Named,
    Argued,
}

impl Told {
    pub(super) fn note(&mut self, event: &Event<'_>) -> Result<(), Problem> {
        match event {
            Event::Start { model, tokens } => {
                if let Some(model) = model {
                    self.model.clear();
                    self.model.push_str(model);
                }
                self.tokens = tokens.or(self.tokens);
            }
            Event::Stop(stop) => {
                self.stop = stop.clone();
                self.stopped = true;
            }
            Event::Tokens(tokens) => self.tokens = Some(*tokens),
            Event::End if self.stopped => {}
            Event::End => return Err(Problem::Unfinished),
            Event::Arguments(_) if self.call == Call::No => return Err(Problem::Mixed),
            Event::Text(_)
            | Event::Refusal(_)
            | Event::Reasoning(_)
            | Event::Signature(_)
            | Event::Sealed(_)
            | Event::ToolCall { .. }
            | Event::Arguments(_) => {}
        }
        self.begun |= !matches!(event, Event::Start { .. } | Event::Stop(_) | Event::Tokens(_));
        self.call = match event {
            Event::ToolCall { .. } => Call::Named,
            Event::Arguments(_) => Call::Argued,
            Event::Tokens(_) => self.call,
            _ => Call::No,
        };
        Ok(())
    }
}
