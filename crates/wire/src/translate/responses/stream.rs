//! Reads a stream of responses.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{Body, Item};
use crate::translate::chat::said::Text;
use crate::translate::told::{Emit, Problem};
use crate::translate::{Failure, Shape};
use crate::unified::Event;

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    response: Option<Body<'a>>,
    item: Option<Item>,
    output_index: Option<u32>,
    summary_index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    /// The item that is under way, and whether pieces of it have come; some servers send the whole of it only.
    item: Option<u32>,
    pieces: bool,
    calls: bool,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], emit: Emit<'_>) -> Result<(), Problem> {
        let piece: Piece<'_> = match serde_json::from_slice(data) {
            Ok(piece) => piece,
            // Some servers end every stream as chat completions do.
            Err(_) if data.trim_ascii() == b"[DONE]" => return Ok(()),
            Err(_) => return Err(Problem::Shape(Shape::Responses)),
        };
        match &*piece.kind.0 {
            "response.created" | "response.in_progress" | "response.queued" if !self.started => {
                self.started = true;
                let model = piece.response.and_then(|r| r.model).map(Cow::Owned);
                emit(Event::Start { model, tokens: None })
            }
            "response.output_item.added" => self.added(piece.output_index, piece.item, emit),
            "response.output_text.delta" => self.piece(piece.delta, emit, Event::Text),
            "response.refusal.delta" => self.piece(piece.delta, emit, Event::Refusal),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.piece(piece.delta, emit, Event::Reasoning)
            }
            "response.reasoning_summary_part.added" if piece.summary_index.unwrap_or_default() > 0 => {
                emit(Event::Reasoning("\n\n".into()))
            }
            "response.output_text.done" if !self.pieces => self.piece(piece.text, emit, Event::Text),
            "response.function_call_arguments.delta" if self.item != piece.output_index => Err(Problem::Mixed),
            "response.function_call_arguments.delta" => self.piece(piece.delta, emit, Event::Arguments),
            "response.function_call_arguments.done" if !self.pieces => {
                self.piece(piece.arguments, emit, Event::Arguments)
            }
            "response.output_item.done" => self.item_done(piece.output_index, piece.item, emit),
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.end(&piece.response.ok_or(Problem::Shape(Shape::Responses))?, emit)
            }
            "error" => Err(Problem::Failed(Failure::of_openai(data))),
            _ => Ok(()),
        }
    }

    fn piece<'a>(
        &mut self,
        text: Option<Text<'a>>,
        emit: Emit<'_>,
        event: fn(Cow<'a, str>) -> Event<'a>,
    ) -> Result<(), Problem> {
        let Some(text) = text.map(|t| t.0).filter(|t| !t.is_empty()) else { return Ok(()) };
        self.pieces = true;
        emit(event(text))
    }

    fn added(&mut self, index: Option<u32>, item: Option<Item>, emit: Emit<'_>) -> Result<(), Problem> {
        let shape = || Problem::Shape(Shape::Responses);
        let item = item.ok_or_else(shape)?;
        (self.item, self.pieces) = (index, false);
        if item.kind.as_deref() != Some("function_call") {
            return Ok(());
        }
        self.calls = true;
        let (id, name) = (item.call_id.ok_or_else(shape)?, item.name.ok_or_else(shape)?);
        emit(Event::ToolCall { id: id.into(), name: name.into() })
    }

    fn item_done(&mut self, index: Option<u32>, item: Option<Item>, emit: Emit<'_>) -> Result<(), Problem> {
        let item = item.ok_or(Problem::Shape(Shape::Responses))?;
        match item.kind.as_deref() {
            Some("reasoning") => item.seal().map_or(Ok(()), |seal| emit(Event::Signature(seal.into()))),
            Some("function_call") => {
                let arguments = item.arguments.clone().unwrap_or_default();
                if self.item != index {
                    self.added(index, Some(item), emit)?;
                }
                if self.pieces || arguments.is_empty() {
                    return Ok(());
                }
                self.pieces = true;
                emit(Event::Arguments(arguments.into()))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, response: &Body<'_>, emit: Emit<'_>) -> Result<(), Problem> {
        if response.failed() {
            return Err(Problem::Failed(response.failure()));
        }
        if let Some(tokens) = response.tokens() {
            emit(Event::Tokens(tokens))?;
        }
        emit(Event::Stop(response.stop(self.calls)))?;
        emit(Event::End)
    }
}
