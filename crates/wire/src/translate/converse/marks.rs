//! Where a prompt may be marked for the cache. Bedrock refuses a mark where the model does not take it, and it is but a hint.

use crate::translate::messages::thinking::version;

/// Where a model takes marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) system: bool,
    pub(super) messages: bool,
    pub(super) tools: bool,
    /// Whether what is kept may be kept for an hour.
    pub(super) hour: bool,
}

impl Marks {
    const ALL: Self = Self { system: true, messages: true, tools: true, hour: true };
    const NONE: Self = Self { system: false, messages: false, tools: false, hour: false };

    /// By the model's id. An id that does not say whose model it is, as that of an application's own profile, is taken for one
    /// that takes all.
    pub(super) fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or_default();
        if name.contains("anthropic.") {
            return match version(name) {
                Some((0..=2, _) | (3, 0..=4)) => Self::NONE,
                Some((3, _) | (4, 0..=4)) => Self { hour: false, ..Self::ALL },
                _ => Self::ALL,
            };
        }
        // Nova keeps prompts by itself, too. Its refusal of marks beside tools is certain; people were also refused some in messages.
        if name.contains("amazon.nova") {
            return Self { system: true, ..Self::NONE };
        }
        if name.contains('.') { Self::NONE } else { Self::ALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_take_marks_where_their_makers_say() {
        let brief = Marks { hour: false, ..Marks::ALL };
        for (model, want) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", Marks::NONE),
            ("anthropic.claude-v2:1", Marks::NONE),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", brief),
            ("anthropic.claude-opus-4-1-20250805-v1:0", brief),
            ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", Marks::ALL),
            ("arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-opus-4-7", Marks::ALL),
            ("arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1b2", Marks::ALL),
            ("amazon.nova-pro-v1:0", Marks { system: true, ..Marks::NONE }),
            ("us.meta.llama3-1-8b-instruct-v1:0", Marks::NONE),
            ("openai.gpt-oss-120b-1:0", Marks::NONE),
        ] {
            assert_eq!(Marks::of(model), want, "{model}");
        }
    }
}
