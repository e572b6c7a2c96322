//! How Anthropic counts tokens: what came from a cache or went to one is counted beside the rest of the prompt.

use serde::Deserialize;

use crate::translate::write::Object;
use crate::unified::Tokens;

/// A `usage` of messages. In a stream the later one replaces the earlier, member by member.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Creation {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Details {
    thinking_tokens: Option<u64>,
}

impl Usage {
    /// These figures where they are given, the earlier ones where not.
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_creation_input_tokens: self.cache_creation_input_tokens.or(earlier.cache_creation_input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            cache_creation: self.cache_creation.or(earlier.cache_creation),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            output_tokens_details: self.output_tokens_details.or(earlier.output_tokens_details),
        }
    }

    /// `None` when the two figures are missing that every usage has.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        Some(Tokens {
            prompt: self.input_tokens?,
            cache_read: self.cache_read_input_tokens.unwrap_or_default(),
            cache_write: self.cache_creation_input_tokens.unwrap_or_default(),
            cache_write_hour: self.cache_creation.and_then(|c| c.ephemeral_1h_input_tokens).unwrap_or_default(),
            completion: self.output_tokens?,
            reasoning: self.output_tokens_details.and_then(|d| d.thinking_tokens),
        })
    }
}

/// Writes the member `usage`. Where nothing is known, the figures are zero: the shape wants numbers.
pub(super) fn write(tokens: Option<&Tokens>, o: &mut Object<'_>) {
    let tokens = tokens.copied().unwrap_or_default();
    o.object("usage", |o| {
        o.plain("input_tokens", tokens.prompt);
        o.plain("cache_creation_input_tokens", tokens.cache_write);
        o.plain("cache_read_input_tokens", tokens.cache_read);
        o.plain("output_tokens", tokens.completion);
        if let Some(reasoning) = tokens.reasoning {
            o.object("output_tokens_details", |o| o.plain("thinking_tokens", reasoning));
        }
    });
}
