//! What Bedrock refuses in requests for Converse, each in the words that people were given by it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::refusal::{Cause, Refusal};

/// Longest id of a call of a tool, by AWS's description of the API.
const MOST_ID: usize = 64;

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Cause::Invalid, message.into())
}

/// Checks what depends on several fields.
pub(super) fn check(body: &Value, model: &str) -> Result<(), Refusal> {
    messages(body)?;
    let tools = body.get("toolConfig").and_then(|config| config.get("tools")).and_then(Value::as_array);
    let marked = tools.into_iter().flatten().position(|tool| tool.get("cachePoint").is_some());
    if let (Some(at), false) = (marked, model.contains("anthropic.")) {
        let at = format!("#/toolConfig/tools/{at}");
        return Err(refused(format!("Malformed input request: {at}: extraneous key [cachePoint] is not permitted")));
    }
    if model.contains("anthropic.claude-") {
        sampling(body, model)?;
    }
    Ok(())
}

fn messages(body: &Value) -> Result<(), Refusal> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for message in list(body, "messages") {
        let blocks = list(&message, "content");
        let text = blocks.iter().any(|block| block.get("text").is_some());
        for block in &blocks {
            if let Some(words) = block.get("text").and_then(Value::as_str).filter(|words| words.trim().is_empty()) {
                let what = if words.is_empty() { "be non-empty" } else { "contain non-whitespace text" };
                return Err(refused(format!("messages: text content blocks must {what}")));
            }
            if let Some(document) = block.get("document") {
                let name = document.get("name").and_then(Value::as_str).unwrap_or_default();
                let plain = |c: char| c.is_ascii_alphanumeric() || " -()[]".contains(c);
                if name.is_empty() || name.len() > 200 || !name.chars().all(plain) || name.contains("  ") {
                    return Err(refused(
                        "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets.",
                    ));
                }
                if !names.insert(name.to_ascii_lowercase()) {
                    return Err(refused(
                        "Messages can't contain duplicate document names. Rename the document and retry your request.",
                    ));
                }
                if !text {
                    return Err(refused("A text block must be included when using documents."));
                }
            }
            for kind in ["toolUse", "toolResult"] {
                let Some(call) = block.get(kind) else { continue };
                let id = call.get("toolUseId").and_then(Value::as_str).unwrap_or_default();
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
                if !(1..=MOST_ID).contains(&id.len()) || !id.bytes().all(plain) {
                    return Err(refused(format!(
                        "Value at '{kind}.toolUseId' failed to satisfy constraint: Member must have length less than or equal to 64"
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Claude's models before 4.1 take both of `temperature` and `topP`.
const TAKE_BOTH: [&str; 5] = ["claude-3", "claude-v2", "claude-instant", "claude-opus-4-2025", "claude-sonnet-4-2025"];
/// Those from 4.1 to 4.6 take one of them, all later ones neither.
const TAKE_ONE: [&str; 7] = ["opus-4-1", "opus-4-5", "opus-4-6", "sonnet-4-5", "sonnet-4-6", "haiku-4-5", "claude-x"];

fn sampling(body: &Value, model: &str) -> Result<(), Refusal> {
    let config = body.get("inferenceConfig");
    let number = |name: &str| config.and_then(|config| config.get(name)).and_then(Value::as_f64);
    let (heat, top) = (number("temperature"), number("topP"));
    let more = body.get("additionalModelRequestFields");
    let top_k = more.and_then(|more| more.get("top_k")).is_some();
    let of = |names: &[&str]| names.iter().any(|name| model.contains(name));
    let said = |what: &str| refused(format!("The model returned the following errors: {what}"));
    if !of(&TAKE_BOTH) && !of(&TAKE_ONE) && (heat.is_some() || top.is_some() || top_k) {
        return Err(said("`temperature` is deprecated for this model."));
    }
    if !of(&TAKE_BOTH) && heat.is_some() && top.is_some() {
        return Err(said("`temperature` and `top_p` cannot both be specified for this model. Please use only one."));
    }
    let thinking = more.and_then(|more| more.get("thinking")).and_then(|thinking| thinking.get("type"));
    if thinking.and_then(Value::as_str).is_some_and(|kind| kind != "disabled") {
        if heat.is_some_and(|heat| heat < 1.0) {
            return Err(said("`temperature` may only be set to 1 when thinking is enabled."));
        }
        if top.is_some_and(|top| top < 0.95) {
            return Err(said("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."));
        }
        if top_k {
            return Err(said("`top_k` must be unset when thinking is enabled."));
        }
    }
    let stops = config.and_then(|config| config.get("stopSequences")).and_then(Value::as_array);
    if stops.into_iter().flatten().any(|stop| stop.as_str().is_some_and(|stop| stop.trim().is_empty())) {
        return Err(said("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    Ok(())
}
