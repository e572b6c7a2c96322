//! The rules of a policy: which of its targets a request may go to, and in which order.

use ::rules::{BadExpression, Expression, Request};
use ledger::Money;
use serde::{Deserialize, Serialize};

use crate::pick::mix;
use crate::session_key;

/// A rule, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInput {
    /// Its name within the policy.
    pub name: String,
    /// The condition; `None` for every request.
    pub when: Option<String>,
    /// How it chooses.
    pub how: HowInput,
    /// Where copies of its requests go.
    #[serde(default)]
    pub mirror: Option<MirrorInput>,
}

/// Where copies of some requests go, whose answers nobody gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorInput {
    /// Name of the target.
    pub target: String,
    /// Of a hundred requests, how many.
    pub percent: u8,
}

/// How a rule chooses among targets, by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HowInput {
    /// The first one first.
    Ordered(Vec<String>),
    /// By shares.
    Weighted(Vec<(String, u32)>),
    /// The one that costs least first.
    Cheapest(Vec<String>),
}

/// The rules of a policy, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What they were made from: equal inputs need not be read again.
    source: Vec<RuleInput>,
    names: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: Box<str>,
    when: Option<Expression>,
    how: How,
    mirror: Option<Mirror>,
}

#[derive(Clone, Copy, Debug)]
struct Mirror {
    target: usize,
    percent: u8,
}

/// By the places of targets in their policy.
#[derive(Clone, Debug)]
enum How {
    Ordered(Box<[usize]>),
    Weighted(Box<[Share]>),
    Cheapest(Box<[usize]>),
}

#[derive(Clone, Copy, Debug)]
struct Share {
    target: usize,
    weight: u32,
    /// Of the target's name: where it stands in a list has no part in who gets what.
    key: u64,
}

/// Tells the drawing of a request for its mirror apart from others.
const MIRRORED: u64 = 0x6d69_7272_6f72_6564;

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// Its condition cannot be read.
    #[error("spec.rules[{rule}].when: {error}")]
    When {
        /// Place of the rule.
        rule: usize,
        /// What is wrong, and where.
        error: BadExpression,
    },
    /// It names a target that the policy does not have.
    #[error("spec.rules[{rule}].use names {name:?}, but spec.targets has no such target")]
    Target {
        /// Place of the rule.
        rule: usize,
        /// The name.
        name: String,
    },
    /// Its mirror is a target that it sends requests to.
    #[error("spec.rules[{rule}].mirror.target {name:?} is one of the rule's own targets; name another one")]
    MirrorsItself {
        /// Place of the rule.
        rule: usize,
        /// The name.
        name: String,
    },
    /// Its mirror is a target that the policy does not have.
    #[error("spec.rules[{rule}].mirror.target names {name:?}, but spec.targets has no such target")]
    Mirror {
        /// Place of the rule.
        rule: usize,
        /// The name.
        name: String,
    },
    /// It names no target with a share.
    #[error(
        "spec.rules[{rule}].use needs exactly one of ordered, weighted and cheapest, with a target that gets requests"
    )]
    Nothing {
        /// Place of the rule.
        rule: usize,
    },
}

/// What the rules said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Place of the rule.
    pub rule: usize,
    /// Places of the targets in the order in which they are asked.
    pub order: Box<[usize]>,
    /// Place of the target that gets a copy of the request.
    pub mirror: Option<usize>,
}

/// What a decision may depend on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The request's session, if it has one.
    pub session: Option<u64>,
    /// A random number.
    pub luck: u64,
    /// What the request is expected to cost at each target; `None` where that is unknown.
    pub costs: &'a dyn Costs,
}

/// Tells what a request is expected to cost.
pub trait Costs: std::fmt::Debug {
    /// At the target at this place of the policy; `None` where its price is unknown.
    fn at(&self, target: usize) -> Option<Money>;
}

impl Rules {
    /// Reads the rules of a policy whose targets have these names. Those of `before` are taken over if they are the same:
    /// reading an expression takes far longer than asking it.
    ///
    /// # Errors
    ///
    /// At the first rule that cannot be used.
    pub fn build(source: Vec<RuleInput>, names: Vec<String>, before: Option<&Self>) -> Result<Self, BadRule> {
        if let Some(before) = before.filter(|before| before.source == source && before.names == names) {
            return Ok(before.clone());
        }
        let rules = source.iter().enumerate().map(|(at, rule)| read(at, rule, &names)).collect::<Result<_, _>>()?;
        Ok(Self { source, names, rules })
    }

    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The name of the rule at this place.
    #[must_use]
    pub fn name(&self, rule: usize) -> Option<&str> {
        self.rules.get(rule).map(|rule| &*rule.name)
    }

    /// The target that gets copies of the requests of the rule at this place, and of how many of a hundred.
    #[must_use]
    pub fn mirror(&self, rule: usize) -> Option<(usize, u8)> {
        self.rules.get(rule)?.mirror.map(|mirror| (mirror.target, mirror.percent))
    }

    /// Whether a rule asks for what the policy has had today.
    #[must_use]
    pub fn ask_for_today(&self) -> bool {
        self.rules.iter().filter_map(|rule| rule.when.as_ref()).any(Expression::asks_for_today)
    }

    /// The rules as they were written.
    #[must_use]
    pub fn source(&self) -> &[RuleInput] {
        &self.source
    }

    /// Whether the condition of the rule at this place holds; `None` when that cannot be said.
    #[must_use]
    pub fn holds(&self, rule: usize, request: &Request<'_>) -> Option<bool> {
        self.rules.get(rule)?.when.as_ref().map_or(Some(true), |when| when.matches(request))
    }

    /// What the first rule says whose condition the request meets; `None` when it meets none. A condition that cannot be
    /// said to hold, as when it divides by zero, does not.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, by: &Circumstances<'_>) -> Option<Decision> {
        let rule = (0..self.rules.len()).find(|rule| self.holds(*rule, request) == Some(true))?;
        let (order, mirror) = (self.rules[rule].order(by), self.rules[rule].mirror(by));
        Some(Decision { rule, order, mirror })
    }
}

fn read(at: usize, rule: &RuleInput, names: &[String]) -> Result<Rule, BadRule> {
    let place = |name: &String| {
        let found = names.iter().position(|known| known == name);
        found.ok_or_else(|| BadRule::Target { rule: at, name: name.clone() })
    };
    let places = |listed: &[String]| listed.iter().map(place).collect::<Result<Box<[usize]>, _>>();
    let how = match &rule.how {
        HowInput::Ordered(listed) => How::Ordered(places(listed)?),
        HowInput::Cheapest(listed) => How::Cheapest(places(listed)?),
        HowInput::Weighted(shares) => {
            let share = |name: &String| Ok((place(name)?, mix(session_key(name.as_bytes()))));
            let shares = shares
                .iter()
                .map(|(name, weight)| share(name).map(|(target, key)| Share { target, weight: *weight, key }));
            How::Weighted(shares.collect::<Result<_, _>>()?)
        }
    };
    let nothing = match &how {
        How::Ordered(listed) | How::Cheapest(listed) => listed.is_empty(),
        How::Weighted(shares) => shares.iter().all(|share| share.weight == 0),
    };
    if nothing {
        return Err(BadRule::Nothing { rule: at });
    }
    let mirror = rule.mirror.as_ref().map(|mirror| {
        let name = || mirror.target.clone();
        let target = place(&mirror.target).map_err(|_| BadRule::Mirror { rule: at, name: name() })?;
        if how.targets().any(|own| own == target) {
            return Err(BadRule::MirrorsItself { rule: at, name: name() });
        }
        Ok(Mirror { target, percent: mirror.percent })
    });
    let mirror = mirror.transpose()?;
    let when = rule.when.as_deref().map(Expression::compile).transpose();
    let when = when.map_err(|error| BadRule::When { rule: at, error })?;
    Ok(Rule { name: rule.name.as_str().into(), when, how, mirror })
}

impl How {
    fn targets(&self) -> impl Iterator<Item = usize> {
        let (listed, shares) = match self {
            Self::Ordered(listed) | Self::Cheapest(listed) => (&listed[..], &[][..]),
            Self::Weighted(shares) => (&[][..], &shares[..]),
        };
        listed.iter().copied().chain(shares.iter().map(|share| share.target))
    }
}

impl Rule {
    /// The target that gets a copy of this request, if it is one of those that are copied.
    fn mirror(&self, by: &Circumstances<'_>) -> Option<usize> {
        let mirror = self.mirror?;
        // Drawn apart from the shares: both would fall to the same requests.
        let drawn = u128::from(mix(by.luck ^ MIRRORED)) * 100;
        (drawn >> 64 < u128::from(mirror.percent)).then_some(mirror.target)
    }

    fn order(&self, by: &Circumstances<'_>) -> Box<[usize]> {
        match &self.how {
            How::Ordered(listed) => listed.clone(),
            How::Cheapest(listed) => {
                let mut listed = listed.clone();
                // One whose price is unknown comes last; those that cost the same stay in their order.
                listed.sort_by_key(|target| by.costs.at(*target).map_or((true, Money::ZERO), |cost| (false, cost)));
                listed
            }
            How::Weighted(shares) => self.by_shares(shares, by),
        }
    }

    /// The targets in an order that is drawn, as in a race: each draws a time that is the shorter the more weight it has, so that
    /// it comes first as often as its share says, and second behind each other one as often as its share of what is left. No
    /// target's time depends on the others, so where one goes, only its own requests move. See docs/design/033.
    fn by_shares(&self, shares: &[Share], by: &Circumstances<'_>) -> Box<[usize]> {
        // Each rule parts sessions in its own way, or the same ones would be in every test.
        let drawn = by.session.map_or(by.luck, |session| mix(session ^ session_key(self.name.as_bytes())));
        let time = |share: &Share| {
            let luck = u32::try_from(mix(drawn ^ share.key) >> 32).unwrap_or(u32::MAX);
            // Between 0 and 1, and neither.
            let luck = (f64::from(luck) + 0.5) / (f64::from(u32::MAX) + 1.0);
            -luck.ln() / f64::from(share.weight)
        };
        let mut order: Vec<(f64, usize)> = shares.iter().map(|share| (time(share), share.target)).collect();
        // What has no weight takes for ever.
        order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        order.into_iter().map(|(_, target)| target).collect()
    }
}

#[cfg(test)]
mod tests;
