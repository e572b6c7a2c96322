//! Reads a stream of chat completions.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{extra_seal, made_id, stop};
use super::said::{Piece, Said, Text, filled};
use super::usage::Usage;
use crate::translate::told::{Emit, Problem};
use crate::translate::{Failure, PLAIN_SEAL, Shape};
use crate::unified::{Event, Stop};

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    stop_reason: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Said<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    request_id: String,
    call: Option<Call>,
    /// Calls so far.
    calls: usize,
    /// Thoughts came in `reasoning_content`, and nothing else since.
    thinks: bool,
}

/// The call under way.
#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    /// The id is ours: the server gives none.
    made: bool,
}

impl Reader {
    pub(crate) fn new(request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..Self::default() }
    }

    pub(crate) fn event(&mut self, data: &[u8], emit: Emit<'_>) -> Result<(), Problem> {
        if data.trim_ascii() == b"[DONE]" {
            return emit(Event::End);
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| Problem::Shape(Shape::Chat))?;
        if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
            return Err(Problem::Failed(Failure::of_openai(error.get().as_bytes())));
        }
        if chunk.object.is_some_and(|object| object.0 == "error") {
            return Err(Problem::Failed(Failure::of_openai(data)));
        }
        if !self.started {
            self.started = true;
            emit(Event::Start { model: chunk.model.map(|m| m.0).filter(|m| !m.is_empty()), tokens: None })?;
        }
        // Only one answer was asked for.
        for choice in chunk.choices.into_iter().flatten().filter(|c| c.index.unwrap_or_default() == 0) {
            self.choice(choice, emit)?;
        }
        chunk.usage.and_then(|u| u.tokens()).map_or(Ok(()), |tokens| emit(Event::Tokens(tokens)))
    }

    fn choice(&mut self, choice: Choice<'_>, emit: Emit<'_>) -> Result<(), Problem> {
        if let Some(delta) = choice.delta {
            // One of the two: servers that write both write the same.
            if let Some(text) = filled(delta.reasoning_content) {
                self.thinks = true;
                emit(Event::Reasoning(text))?;
            } else if let Some(text) = filled(delta.reasoning) {
                emit(Event::Reasoning(text))?;
            }
            if let Some(said) = delta.content {
                said.each(|piece| match piece {
                    Piece::Thought(text) => emit(Event::Reasoning(text)),
                    Piece::Text(text) => {
                        self.thought(emit)?;
                        emit(Event::Text(text))
                    }
                })?;
            }
            if let Some(text) = filled(delta.refusal) {
                self.thought(emit)?;
                emit(Event::Refusal(text))?;
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(call, emit)?;
            }
        }
        if let Some(reason) = filled(choice.finish_reason) {
            self.thought(emit)?;
            let stop = stop(&reason, choice.stop_reason.as_ref()).ok_or_else(|| Problem::Failed(Failure::gave_up()))?;
            // Some servers say `stop` where they call a tool.
            let stop = if stop == Stop::End && self.call.is_some() { Stop::ToolUse } else { stop };
            emit(Event::Stop(stop))?;
        }
        Ok(())
    }

    /// What it thought is over.
    fn thought(&mut self, emit: Emit<'_>) -> Result<(), Problem> {
        if std::mem::take(&mut self.thinks) { emit(Event::Signature(PLAIN_SEAL.into())) } else { Ok(()) }
    }

    /// A call begins where a piece has another index than the last, or another id; some servers give all calls one index, and
    /// some give them no ids, so that only their names tell them apart.
    fn call(&mut self, piece: ToolCall<'_>, emit: Emit<'_>) -> Result<(), Problem> {
        let id = filled(piece.id);
        let (name, arguments) = piece.function.map_or((None, None), |f| (f.name, f.arguments));
        let name = filled(name);
        let under_way = self.call.as_ref();
        let index = piece.index.unwrap_or_else(|| under_way.map_or(0, |call| call.index));
        let same = under_way.filter(|call| call.index == index).is_some_and(|call| match (&id, &name) {
            (Some(id), _) => *id == call.id,
            (None, Some(_)) => !call.made,
            (None, None) => true,
        });
        if !same {
            let Some(name) = name else {
                // A piece of a call that is over: no client can be told of two calls in turns.
                let mixed = under_way.is_some();
                return Err(if mixed { Problem::Mixed } else { Problem::Shape(Shape::Chat) });
            };
            let made = id.is_none();
            let id = id.map_or_else(|| made_id(&self.request_id, self.calls), Cow::into_owned);
            self.thought(emit)?;
            if let Some(seal) = extra_seal(piece.extra_content) {
                emit(Event::Signature(seal.into()))?;
            }
            self.calls += 1;
            emit(Event::ToolCall { id: id.clone().into(), name })?;
            self.call = Some(Call { index, id, made });
        }
        match filled(arguments) {
            Some(arguments) => emit(Event::Arguments(arguments)),
            None => Ok(()),
        }
    }
}
