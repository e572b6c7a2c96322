//! What Anthropic's models take of `temperature`, `top_p`, `top_k` and stop sequences, in their own API and at Bedrock alike. What they
//! would refuse is refused here with the field, so that a target that can is asked.

use super::thinking::{Thinking, version};
use crate::translate::json::{Read, cannot};
use crate::translate::{Field, Way};
use crate::unified::Request;

/// Least `top_p` while a model thinks, by the words of its refusal.
const LEAST_WHILE_THINKING: f64 = 0.95;

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampling {
    /// Whatever is asked for.
    All,
    /// `temperature` or `top_p`, not both. So it is from 4.1 to 4.6.
    One,
    /// Nothing but the usual. So it is after 4.6.
    None,
}

impl Sampling {
    /// By the name: new models are like the newest known ones.
    fn of(model: &str) -> Self {
        if !model.contains("claude-") {
            return Self::All;
        }
        match version(model) {
            Some((0..=3, _) | (4, 0)) => Self::All,
            Some((4, 1..=6)) => Self::One,
            _ => Self::None,
        }
    }
}

/// Whether `temperature` and `top_p` are told. A value that is the usual one anyway is left out where the model takes none.
pub(crate) fn sampled(request: &Request, thinking: Option<&Thinking>, way: &Way<'_>) -> Read<(bool, bool)> {
    let usual = |number: &Option<serde_json::Number>| number.as_ref().is_none_or(|n| n.as_f64() == Some(1.0));
    let (heat, top) = (usual(&request.temperature), usual(&request.top_p));
    let sampling = Sampling::of(way.target.model);
    let no = |name, why| Err(cannot(why).within(name));
    if sampling == Sampling::None {
        return match (heat, top, request.top_k) {
            (true, true, None) => Ok((false, false)),
            (false, _, _) => no("temperature", "the target's model takes none but 1"),
            (_, false, _) => no("top_p", "the target's model takes none but 1"),
            _ => no("top_k", "the target's model takes none"),
        };
    }
    if thinking.is_some_and(Thinking::thinks) {
        let low = request.top_p.as_ref().and_then(serde_json::Number::as_f64).is_some_and(|p| p < LEAST_WHILE_THINKING);
        return match (heat, low, request.top_k) {
            (true, false, None) => Ok((false, !top)),
            (false, _, _) => no("temperature", "the target takes none but 1 while it thinks"),
            (_, true, _) => no("top_p", "the target takes 0.95 to 1 while it thinks"),
            _ => no("top_k", "the target takes none while it thinks"),
        };
    }
    match (heat, top) {
        (false, false) if sampling == Sampling::One => {
            no("top_p", "the target's model takes temperature or top_p, not both")
        }
        _ if sampling == Sampling::One => Ok((!heat || top, !top)),
        _ => Ok((true, true)),
    }
}

/// Whether the model takes the stop sequences: none may be nothing but space.
pub(crate) fn stops(request: &Request, way: &Way<'_>) -> Read<()> {
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        return Err(way.cannot(Field::Stop, "the target does not stop at what is nothing but space"));
    }
    Ok(())
}
