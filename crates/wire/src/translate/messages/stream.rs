//! Reads a stream of messages.

use serde::Deserialize;

use super::answer::stop;
use super::usage::Usage;
use crate::translate::chat::said::{Text, filled};
use crate::translate::told::{Emit, Problem};
use crate::translate::{Failure, Shape};
use crate::unified::Event;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    stop_sequence: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    usage: Usage,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], emit: Emit<'_>) -> Result<(), Problem> {
        let body: Body<'_> = serde_json::from_slice(data).map_err(|_| Problem::Shape(Shape::Messages))?;
        match &*body.kind.0 {
            "message_start" => {
                let (model, usage) = body.message.map_or((None, None), |m| (m.model, m.usage));
                self.usage = usage.unwrap_or_default();
                emit(Event::Start { model: model.map(|m| m.0), tokens: self.usage.tokens() })
            }
            "content_block_start" => body.content_block.map_or(Ok(()), |block| begin(block, emit)),
            "content_block_delta" => body.delta.map_or(Ok(()), |delta| piece(delta, emit)),
            "message_delta" => {
                if let Some(usage) = body.usage {
                    // The figures are those of the whole answer, not of what came since.
                    self.usage = usage.over(self.usage);
                    if let Some(tokens) = self.usage.tokens() {
                        emit(Event::Tokens(tokens))?;
                    }
                }
                let (reason, sequence) = body.delta.map_or((None, None), |d| (d.stop_reason, d.stop_sequence));
                reason.map_or(Ok(()), |reason| emit(Event::Stop(stop(&reason.0, sequence))))
            }
            "message_stop" => emit(Event::End),
            "error" => Err(Problem::Failed(Failure::of_messages(data))),
            // Signs of life, ends of blocks, and what may be added one day.
            _ => Ok(()),
        }
    }
}

fn begin(block: Block<'_>, emit: Emit<'_>) -> Result<(), Problem> {
    let shape = || Problem::Shape(Shape::Messages);
    match &*block.kind.0 {
        // As a rule empty, and filled by pieces.
        "text" => filled(block.text).map_or(Ok(()), |text| emit(Event::Text(text))),
        "thinking" => filled(block.thinking).map_or(Ok(()), |text| emit(Event::Reasoning(text))),
        "redacted_thinking" => emit(Event::Sealed(block.data.ok_or_else(shape)?.0)),
        "tool_use" => {
            let (id, name) = (block.id.ok_or_else(shape)?.0, block.name.ok_or_else(shape)?.0);
            emit(Event::ToolCall { id, name })
        }
        _ => Err(shape()),
    }
}

fn piece(delta: Delta<'_>, emit: Emit<'_>) -> Result<(), Problem> {
    let event = match delta.kind.as_ref().map(|k| &*k.0) {
        Some("text_delta") => filled(delta.text).map(Event::Text),
        Some("input_json_delta") => filled(delta.partial_json).map(Event::Arguments),
        Some("thinking_delta") => filled(delta.thinking).map(Event::Reasoning),
        Some("signature_delta") => filled(delta.signature).map(Event::Signature),
        // Citations, which no other shape has.
        _ => None,
    };
    event.map_or(Ok(()), emit)
}
