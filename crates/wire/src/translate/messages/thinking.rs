//! How much Anthropic's models are to think. Models up to 4.5 are told by a budget of tokens and know nothing else; models from 4.6
//! on decide themselves, at a given effort, and the newer of them refuse a budget.

use super::turns::Turn;
use crate::translate::chat::request_out::class;
use crate::translate::write::Object;
use crate::translate::{Field, Shape, Way};
use crate::unified::{Content, Reasoning, Request, ToolChoice};

/// Fewest tokens of a budget.
const LEAST_BUDGET: u64 = 1024;

/// What is said of thinking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    Budget(u64),
    Adaptive(Option<String>),
    /// Only how much trouble to take, thinking or not.
    Effort(String),
}

impl Thinking {
    /// What `output_config.effort` is to say.
    pub(crate) fn effort(&self) -> Option<&str> {
        match self {
            Self::Budget(_) => None,
            Self::Adaptive(effort) => effort.as_deref(),
            Self::Effort(effort) => Some(effort),
        }
    }

    /// Whether the model thinks, which it does at its own temperature.
    pub(crate) fn thinks(&self) -> bool {
        !matches!(self, Self::Effort(_))
    }

    /// Tokens of a budget.
    pub(crate) fn budget(&self) -> u64 {
        if let Self::Budget(tokens) = self { *tokens } else { 0 }
    }

    /// Writes the member `thinking`, if there is something to say.
    pub(crate) fn write(&self, o: &mut Object<'_>) {
        match self {
            Self::Effort(_) => {}
            Self::Adaptive(_) => o.raw("thinking", r#"{"type":"adaptive"}"#),
            Self::Budget(tokens) => o.object("thinking", |o| {
                o.text("type", "enabled");
                o.plain("budget_tokens", tokens);
            }),
        }
    }
}

/// In which form a model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It does not think.
    None,
    Budget,
    Adaptive,
}

/// By the name. The models with the older form are all known; new ones have the newer.
fn form(model: &str) -> Form {
    if !model.contains("claude-") {
        return Form::Budget;
    }
    match version(model) {
        Some((3, 7) | (4, 0..=5)) => Form::Budget,
        Some((0..=3, _)) => Form::None,
        _ => Form::Adaptive,
    }
}

/// The version in the name of one of Anthropic's models.
pub(crate) fn version(model: &str) -> Option<(u32, u32)> {
    let number = |part: &str| part.parse::<u32>().ok();
    let name = model.split("claude-").nth(1)?;
    // The first ones have it in one word with a letter, as in `claude-v2:1` and `claude-instant-v1`.
    if name.starts_with("instant") || name.strip_prefix('v').is_some_and(|rest| rest.starts_with(['1', '2'])) {
        return Some((2, 0));
    }
    let parts = name.split(['-', '.', ':', '@']);
    // A date is no version.
    let mut version = parts.skip_while(|part| number(part).is_none()).map_while(number).take_while(|n| *n < 1000);
    Some((version.next()?, version.next().unwrap_or_default()))
}

/// What the target is told, as far as it can be.
pub(crate) fn thinking(request: &Request, turns: &[Turn<'_>], way: &mut Way<'_>) -> Option<Thinking> {
    let asked = request.reasoning.as_ref()?;
    let form = form(way.target.model);
    // A forced call leaves no room for thoughts.
    let forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
    let said = match (asked, form) {
        // Nobody thinks unasked, and some models cannot be told not to.
        (Reasoning::Off, _) => return None,
        (Reasoning::Effort(effort), _) if effort == "none" => return None,
        (Reasoning::Effort(effort), _) if way.from == Shape::Messages => Some(Thinking::Effort(effort.clone())),
        _ if form == Form::None || forced => None,
        (Reasoning::Budget(tokens), Form::Adaptive) => Some(Thinking::Adaptive(Some(class(*tokens).to_owned()))),
        (Reasoning::Budget(tokens), _) => budget(*tokens, request, turns),
        (Reasoning::Adaptive(effort), Form::Adaptive) => Some(Thinking::Adaptive(effort.clone())),
        (Reasoning::Adaptive(effort), _) => budget(tokens(effort.as_deref().unwrap_or("medium")), request, turns),
        (Reasoning::Effort(effort), Form::Adaptive) => {
            let effort = if effort == "minimal" { "low" } else { effort };
            Some(Thinking::Adaptive(Some(effort.to_owned())))
        }
        (Reasoning::Effort(effort), _) => budget(tokens(effort), request, turns),
    };
    let name = way.name(Field::Reasoning);
    way.give_up(name, said.is_none());
    said
}

/// The budget that stands for an effort.
fn tokens(effort: &str) -> u64 {
    match effort {
        "minimal" | "low" => LEAST_BUDGET,
        "medium" => 4096,
        "high" => 16_384,
        _ => 32_768,
    }
}

/// `None` where a budget is refused: it is a part of the limit and must leave something of it for the answer, and a turn that
/// goes on after results of tools has to begin with the thoughts it had, which a client of another API does not keep.
fn budget(tokens: u64, request: &Request, turns: &[Turn<'_>]) -> Option<Thinking> {
    let most = request.max_tokens.map_or(u64::MAX, |limit| limit.saturating_sub(1));
    let possible = most >= LEAST_BUDGET && !forgot_its_thoughts(turns);
    possible.then(|| Thinking::Budget(tokens.clamp(LEAST_BUDGET, most)))
}

/// Whether the last message brings results of tools and the one before does not begin with thoughts.
fn forgot_its_thoughts(turns: &[Turn<'_>]) -> bool {
    let [.., assistant, user] = turns else { return false };
    let results = user.blocks.iter().any(|b| matches!(b.content, Content::ToolResult { .. }));
    let first = assistant.blocks.first();
    results && !first.is_some_and(|b| matches!(b.content, Content::Reasoning { .. } | Content::Sealed(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_in_their_form() {
        let cases = [
            ("claude-3-5-haiku-20241022", Form::None),
            ("claude-3-opus-20240229", Form::None),
            ("claude-3-7-sonnet-20250219", Form::Budget),
            ("claude-sonnet-4-20250514", Form::Budget),
            ("claude-opus-4-1", Form::Budget),
            ("claude-haiku-4-5-20251001", Form::Budget),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Form::Budget),
            ("claude-opus-4-6", Form::Adaptive),
            ("anthropic.claude-opus-4-6-v1", Form::Adaptive),
            ("claude-opus-4-7", Form::Adaptive),
            ("claude-sonnet-5", Form::Adaptive),
            ("claude-haiku-5-5", Form::Adaptive),
            ("claude-mythos-preview", Form::Adaptive),
            ("anthropic.claude-v2:1", Form::None),
            ("claude-2.1", Form::None),
            ("anthropic.claude-instant-v1", Form::None),
            ("anthropic.claude-haiku-4-5@20251001", Form::Budget),
            ("somebody-s-own", Form::Budget),
        ];
        for (model, want) in cases {
            assert_eq!(form(model), want, "{model}");
        }
    }
}
