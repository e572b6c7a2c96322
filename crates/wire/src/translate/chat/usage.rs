//! How OpenAI counts tokens: what came from a cache is a part of the prompt.

use serde::Deserialize;

use crate::translate::write::Object;
use crate::unified::Tokens;

/// A `usage` of chat completions.
#[derive(Deserialize)]
pub(super) struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl Usage {
    /// `None` when the two figures are missing that every usage has.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        let details = self.prompt_tokens_details.as_ref();
        let cache_read = details.and_then(|d| d.cached_tokens).unwrap_or_default();
        let cache_write = details.and_then(|d| d.cache_write_tokens).unwrap_or_default();
        let (prompt, completion) = (self.prompt_tokens?, self.completion_tokens?);
        // Gemini and xAI count thoughts in the total only.
        let thoughts = self.total_tokens.unwrap_or_default().saturating_sub(prompt.saturating_add(completion));
        let reasoning = self.completion_tokens_details.as_ref().and_then(|d| d.reasoning_tokens);
        Some(Tokens {
            prompt: prompt.saturating_sub(cache_read.saturating_add(cache_write)),
            cache_read,
            cache_write,
            cache_write_hour: 0,
            completion: completion.saturating_add(thoughts),
            reasoning: reasoning.or_else(|| (thoughts > 0).then_some(thoughts)),
        })
    }
}

/// Writes the member `usage`.
pub(super) fn write(tokens: &Tokens, o: &mut Object<'_>) {
    o.object("usage", |o| {
        o.plain("prompt_tokens", tokens.whole_prompt());
        o.plain("completion_tokens", tokens.completion);
        o.plain("total_tokens", tokens.total());
        o.object("prompt_tokens_details", |o| {
            o.plain("cached_tokens", tokens.cache_read);
            o.plain("cache_write_tokens", tokens.cache_write);
        });
        o.object("completion_tokens_details", |o| o.plain("reasoning_tokens", tokens.reasoning.unwrap_or_default()));
    });
}
