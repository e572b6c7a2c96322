//! How the Responses API counts tokens: as chat completions do, under other names.

use serde::Deserialize;

use crate::translate::write::Object;
use crate::unified::Tokens;

/// A `usage` of a response.
#[derive(Deserialize)]
pub(super) struct Usage {
    input_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl Usage {
    /// `None` when the two figures are missing that every usage has.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        let details = self.input_tokens_details.as_ref();
        let cache_read = details.and_then(|d| d.cached_tokens).unwrap_or_default();
        let cache_write = details.and_then(|d| d.cache_write_tokens).unwrap_or_default();
        Some(Tokens {
            prompt: self.input_tokens?.saturating_sub(cache_read.saturating_add(cache_write)),
            cache_read,
            cache_write,
            cache_write_hour: 0,
            completion: self.output_tokens?,
            reasoning: self.output_tokens_details.as_ref().and_then(|d| d.reasoning_tokens),
        })
    }
}

/// Writes the member `usage`.
pub(super) fn write(tokens: Option<&Tokens>, o: &mut Object<'_>) {
    let Some(tokens) = tokens else { return o.raw("usage", "null") };
    o.object("usage", |o| {
        o.plain("input_tokens", tokens.whole_prompt());
        o.object("input_tokens_details", |o| {
            o.plain("cached_tokens", tokens.cache_read);
            o.plain("cache_write_tokens", tokens.cache_write);
        });
        o.plain("output_tokens", tokens.completion);
        o.object("output_tokens_details", |o| o.plain("reasoning_tokens", tokens.reasoning.unwrap_or_default()));
        o.plain("total_tokens", tokens.total());
    });
}
