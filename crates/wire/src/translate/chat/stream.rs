//! Reads a stream of chat completions.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::stop;
use super::usage::Usage;
use crate::translate::told::{Emit, Problem};
use crate::translate::{Failure, Shape};
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
    content: Option<Text<'a>>,
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
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A text that says something.
pub(crate) fn filled(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|t| t.0).filter(|t| !t.is_empty())
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    /// The call under way: its index and its id.
    call: Option<(u32, String)>,
}

impl Reader {
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
            if let Some(text) = filled(delta.reasoning_content).or_else(|| filled(delta.reasoning)) {
                emit(Event::Reasoning(text))?;
            }
            if let Some(text) = filled(delta.content) {
                emit(Event::Text(text))?;
            }
            if let Some(text) = filled(delta.refusal) {
                emit(Event::Refusal(text))?;
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(call, emit)?;
            }
        }
        if let Some(reason) = filled(choice.finish_reason) {
            let stop = stop(&reason, choice.stop_reason.as_ref()).ok_or_else(|| Problem::Failed(Failure::gave_up()))?;
            // Some servers say `stop` where they call a tool.
            let stop = if stop == Stop::End && self.call.is_some() { Stop::ToolUse } else { stop };
            emit(Event::Stop(stop))?;
        }
        Ok(())
    }

    /// A call begins where a piece has another index than the last, or another id; some servers give all calls one index.
    fn call(&mut self, piece: ToolCall<'_>, emit: Emit<'_>) -> Result<(), Problem> {
        let id = filled(piece.id);
        let (name, arguments) = piece.function.map_or((None, None), |f| (f.name, f.arguments));
        let name = filled(name);
        let under_way = self.call.as_ref();
        let index = piece.index.unwrap_or_else(|| under_way.map_or(0, |(index, _)| *index));
        let same = under_way.is_some_and(|(at, known)| *at == index && id.as_deref().is_none_or(|id| id == known));
        if !same {
            let (Some(id), Some(name)) = (id, name) else {
                // A piece of a call that is over: no client can be told of two calls in turns.
                let mixed = under_way.is_some();
                return Err(if mixed { Problem::Mixed } else { Problem::Shape(Shape::Chat) });
            };
            self.call = Some((index, id.clone().into_owned()));
            emit(Event::ToolCall { id, name })?;
        }
        match filled(arguments) {
            Some(arguments) => emit(Event::Arguments(arguments)),
            None => Ok(()),
        }
    }
}
