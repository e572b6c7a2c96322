//! Evaluates a checked expression. `None` stands for CEL's error, which `&&` and `||` pass over where the other side
//! decides.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::tree::{Arithmetic, Compare, Flag, Number, Text, Texts};
use crate::Request;

/// `each` is the text that a list's condition is asked for.
pub(super) fn flag(tree: &Flag, request: &Request<'_>, each: Option<&str>) -> Option<bool> {
    let of = |tree: &Flag| flag(tree, request, each);
    let texts = |both: &(Text, Text), judge: fn(&str, &str) -> bool| {
        Some(judge(&text(&both.0, request, each)?, &text(&both.1, request, each)?))
    };
    match tree {
        Flag::Is(is) => Some(*is),
        Flag::Stream => Some(request.stream),
        Flag::Images => Some(request.images),
        Flag::Schema => Some(request.schema),
        Flag::HasHeader(name) => Some(request.headers.contains_key(name)),
        Flag::Not(not) => of(not).map(|is| !is),
        Flag::And(both) => decided(false, of(&both.0), || of(&both.1)),
        Flag::Or(both) => decided(true, of(&both.0), || of(&both.1)),
        Flag::If(three) => of(if of(&three.0)? { &three.1 } else { &three.2 }),
        Flag::Alike(both) => Some(of(&both.0)? == of(&both.1)?),
        Flag::Numbers(compare, both) => {
            let (left, right) = (number(&both.0, request, each)?, number(&both.1, request, each)?);
            Some(compare.holds(left.cmp(&right)))
        }
        Flag::Texts(compare, both) => {
            let (left, right) = (text(&both.0, request, each)?, text(&both.1, request, each)?);
            Some(compare.holds(left.cmp(&right)))
        }
        Flag::NumberIn(one, list) => {
            let one = number(one, request, each)?;
            any(list.iter(), |listed| Some(number(listed, request, each)? == one))
        }
        Flag::TextIn(one, list) => {
            let one = text(one, request, each)?;
            over(list, request, each, &|listed| Some(listed == one))
        }
        Flag::Starts(both) => texts(both, |text, start| text.starts_with(start)),
        Flag::Ends(both) => texts(both, |text, end| text.ends_with(end)),
        Flag::Contains(both) => texts(both, |text, part| text.contains(part)),
        Flag::Matches(one, pattern) => Some(pattern.is_match(&text(one, request, each)?)),
        Flag::Exists(list, holds) => over(list, request, each, &|one| flag(holds, request, Some(one))),
        Flag::All(list, holds) => {
            over(list, request, each, &|one| flag(holds, request, Some(one)).map(|holds| !holds)).map(|none| !none)
        }
    }
}

/// `left`, unless that leaves it to `right`: one side that is `deciding` is enough, whatever the other one is.
fn decided(deciding: bool, left: Option<bool>, right: impl FnOnce() -> Option<bool>) -> Option<bool> {
    if left == Some(deciding) {
        return left;
    }
    match (left, right()) {
        (_, Some(right)) if right == deciding => Some(deciding),
        (Some(_), right) => right,
        (None, _) => None,
    }
}

/// Whether `judge` holds for a text of the list.
fn over(list: &Texts, request: &Request<'_>, each: Option<&str>, judge: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    match list {
        Texts::These(these) => any(these.iter(), |one| judge(&text(one, request, each)?)),
        Texts::Tools => any(request.tools().iter(), |name| judge(name)),
    }
}

fn any<T>(mut all: impl Iterator<Item = T>, judge: impl Fn(T) -> Option<bool>) -> Option<bool> {
    let mut unsaid = false;
    let found = all.any(|one| match judge(one) {
        Some(holds) => holds,
        None => {
            unsaid = true;
            false
        }
    });
    if found { Some(true) } else { (!unsaid).then_some(false) }
}

fn number(tree: &Number, request: &Request<'_>, each: Option<&str>) -> Option<i64> {
    let whole = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    match tree {
        Number::Is(number) => Some(*number),
        Number::MessageCount => whole(request.message_count.into()),
        Number::EstimatedTokens => whole(request.estimated_tokens),
        Number::MaxTokens => whole(request.max_tokens.unwrap_or(0).into()),
        Number::ComplexityScore => Some(request.complexity().score.into()),
        Number::Hour => whole(request.hour.into()),
        Number::RequestsToday => whole(request.today.requests),
        Number::TokensToday => whole(request.today.tokens),
        Number::SizeOfText(one) => i64::try_from(text(one, request, each)?.chars().count()).ok(),
        Number::SizeOfTexts(Texts::These(these)) => i64::try_from(these.len()).ok(),
        Number::SizeOfTexts(Texts::Tools) => i64::try_from(request.tools().len()).ok(),
        Number::SizeOfHeaders => i64::try_from(request.headers.keys_len()).ok(),
        Number::Negative(of) => number(of, request, each)?.checked_neg(),
        Number::Of(how, both) => {
            let (left, right) = (number(&both.0, request, each)?, number(&both.1, request, each)?);
            match how {
                Arithmetic::Plus => left.checked_add(right),
                Arithmetic::Minus => left.checked_sub(right),
                Arithmetic::Times => left.checked_mul(right),
                Arithmetic::By => left.checked_div(right),
                Arithmetic::Rest => left.checked_rem(right),
            }
        }
        Number::If(three) => number(if flag(&three.0, request, each)? { &three.1 } else { &three.2 }, request, each),
    }
}

fn text<'t>(tree: &'t Text, request: &'t Request<'_>, each: Option<&'t str>) -> Option<Cow<'t, str>> {
    Some(Cow::Borrowed(match tree {
        Text::Is(text) => text,
        Text::Model => request.model,
        Text::Surface => request.surface,
        Text::Caller => request.caller,
        Text::User => request.user,
        Text::Namespace => request.namespace,
        Text::Region => request.region,
        Text::Complexity => request.complexity().level.word(),
        Text::Header(name) => request.header(name),
        Text::Each => each?,
        Text::Lower(of) => return Some(Cow::Owned(text(of, request, each)?.to_ascii_lowercase())),
        Text::Joined(both) => {
            return Some(Cow::Owned(text(&both.0, request, each)?.into_owned() + &text(&both.1, request, each)?));
        }
        Text::If(three) => {
            return text(if flag(&three.0, request, each)? { &three.1 } else { &three.2 }, request, each);
        }
    }))
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Same => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrSame => order.is_le(),
            Self::More => order.is_gt(),
            Self::MoreOrSame => order.is_ge(),
        }
    }
}
