//! Whole answers of Bedrock's Converse.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::translate::{BadAnswer, Failure, Shape};
use crate::unified::{Answer, Content, Json, Stop, Tokens};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    stop_reason: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<Reasoning>,
    citations_content: Option<Citations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    tool_use_id: String,
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: String,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Citations {
    content: Option<Vec<Cited>>,
}

#[derive(Deserialize)]
struct Cited {
    text: Option<String>,
}

/// A `usage` of Converse: what came from a cache or went to one is counted beside the rest of the prompt.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_details: Option<Vec<CacheDetail>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: Option<String>,
    input_tokens: Option<u64>,
}

impl Usage {
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        let hour = self.cache_details.iter().flatten().filter(|d| d.ttl.as_deref() == Some("1h"));
        Some(Tokens {
            prompt: self.input_tokens?,
            cache_read: self.cache_read_input_tokens.unwrap_or_default(),
            cache_write: self.cache_write_input_tokens.unwrap_or_default(),
            cache_write_hour: hour.filter_map(|d| d.input_tokens).fold(0, u64::saturating_add),
            completion: self.output_tokens?,
            reasoning: None,
        })
    }
}

/// What a stop reason means; `None` where the model wrote what Bedrock could not read.
pub(super) fn stop(reason: &str) -> Option<Stop> {
    Some(match reason {
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Context,
        "stop_sequence" => Stop::Sequence(None),
        "tool_use" => Stop::ToolUse,
        "guardrail_intervened" | "content_filtered" => Stop::Refused,
        "malformed_model_output" | "malformed_tool_use" => return None,
        _ => Stop::End,
    })
}

/// The arguments of a call. Of one without any some models write nothing.
fn arguments(input: Option<&RawValue>) -> Result<Json, BadAnswer> {
    match input.map(RawValue::get) {
        None | Some("null" | "\"\"") => Ok(Json("{}".to_owned())),
        Some(text) if text.starts_with('{') => Ok(Json(text.to_owned())),
        Some(_) => Err(BadAnswer::Arguments),
    }
}

pub(crate) fn read(body: &[u8]) -> Result<Answer, BadAnswer> {
    let shape = || BadAnswer::Shape(Shape::Converse);
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| shape())?;
    let blocks = body.output.and_then(|o| o.message).and_then(|m| m.content).ok_or_else(shape)?;
    let reason = body.stop_reason.ok_or_else(shape)?;
    let stop = stop(&reason).ok_or_else(|| BadAnswer::Failed(Failure::gave_up()))?;
    let mut content = Vec::new();
    for block in blocks {
        content.extend(block.text.map(Content::Text));
        for cited in block.citations_content.into_iter().filter_map(|c| c.content).flatten() {
            content.extend(cited.text.map(Content::Text));
        }
        if let Some(reasoning) = block.reasoning_content {
            let thought = reasoning.reasoning_text.map(|r| Content::Reasoning { text: r.text, signature: r.signature });
            content.extend(thought);
            content.extend(reasoning.redacted_content.map(Content::Sealed));
        }
        if let Some(call) = block.tool_use {
            content.push(Content::ToolCall {
                id: call.tool_use_id,
                name: call.name,
                arguments: arguments(call.input)?,
            });
        }
    }
    Ok(Answer { model: None, content, stop, tokens: body.usage.and_then(|u| u.tokens()) })
}
