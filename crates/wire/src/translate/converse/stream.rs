//! Reads the events of Bedrock's ConverseStream, after their binary framing has been taken off.

use serde::Deserialize;

use super::answer::{Usage, stop};
use crate::translate::chat::said::Text;
use crate::translate::told::{Emit, Problem};
use crate::translate::{Failure, Shape};
use crate::unified::Event;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow)]
    start: Option<Start<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use: Option<Input<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Reasoning<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    input: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    #[serde(borrow)]
    redacted_content: Option<Text<'a>>,
}

/// Reads one event.
pub(crate) fn event(kind: &[u8], data: &[u8], emit: Emit<'_>) -> Result<(), Problem> {
    let kind = std::str::from_utf8(kind).map_err(|_| Problem::Shape(Shape::Converse))?;
    if kind.ends_with("Exception") {
        return Err(Problem::Failed(Failure::of_converse(kind, data)));
    }
    let payload: Payload<'_> = serde_json::from_slice(data).map_err(|_| Problem::Shape(Shape::Converse))?;
    match kind {
        "messageStart" => emit(Event::Start { model: None, tokens: None }),
        "contentBlockStart" => match payload.start.and_then(|s| s.tool_use) {
            Some(ToolUse { tool_use_id, name }) => emit(Event::ToolCall { id: tool_use_id.0, name: name.0 }),
            None => Ok(()),
        },
        "contentBlockDelta" => payload.delta.map_or(Ok(()), |delta| piece(delta, emit)),
        "messageStop" => {
            let reason = payload.stop_reason.ok_or(Problem::Shape(Shape::Converse))?;
            emit(Event::Stop(stop(&reason.0).ok_or_else(|| Problem::Failed(Failure::gave_up()))?))
        }
        // The last event: what was used.
        "metadata" => {
            if let Some(tokens) = payload.usage.and_then(|u| u.tokens()) {
                emit(Event::Tokens(tokens))?;
            }
            emit(Event::End)
        }
        _ => Ok(()),
    }
}

fn piece(delta: Delta<'_>, emit: Emit<'_>) -> Result<(), Problem> {
    let reasoning = delta.reasoning_content;
    let (thought, seal, sealed) = reasoning.map_or((None, None, None), |r| (r.text, r.signature, r.redacted_content));
    let events = [
        delta.text.map(|t| Event::Text(t.0)),
        delta.tool_use.and_then(|t| t.input).map(|t| Event::Arguments(t.0)),
        thought.map(|t| Event::Reasoning(t.0)),
        seal.map(|t| Event::Signature(t.0)),
        sealed.map(|t| Event::Sealed(t.0)),
    ];
    let empty = |event: &Event<'_>| match event {
        Event::Text(t) | Event::Arguments(t) | Event::Reasoning(t) | Event::Signature(t) => t.is_empty(),
        _ => false,
    };
    events.into_iter().flatten().filter(|e| !empty(e)).try_for_each(emit)
}
