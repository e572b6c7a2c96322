//! Prices of tokens: a built-in table with its date, and what a request costs by it.
//!
//! A rate is counted in nano-dollars per million tokens, in which every published price is a whole number.

mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BadDecimal, Money, scaled};

pub use table::{BadLine, HEAD, all, date, find, line, parse, source};

/// Tokens that a rate is for.
const MILLION: u128 = 1_000_000;

/// What a million tokens cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(u64);

impl Rate {
    /// The dollars per million tokens that `text` writes, such as `0.15`.
    ///
    /// # Errors
    ///
    /// When it is no decimal number without sign, finer than nano-dollars, or too large.
    pub fn per_million(text: &str) -> Result<Self, BadDecimal> {
        scaled(text, 9).map(Self)
    }

    /// The dollars per single token that `text` writes, such as `1.5e-07`, as public tables have them.
    ///
    /// # Errors
    ///
    /// As [`Rate::per_million`].
    pub fn per_token(text: &str) -> Result<Self, BadDecimal> {
        scaled(text, 15).map(Self)
    }

    /// The rate in nano-dollars per million tokens.
    #[must_use]
    pub fn as_nanos_per_million(self) -> u64 {
        self.0
    }

    fn of(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

/// In dollars per million tokens.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money::nanos(i64::try_from(self.0).unwrap_or(i64::MAX)).fmt(f)
    }
}

/// The rates of one tier. What is not told apart from input is charged as input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Tokens read that were in no cache.
    pub input: Rate,
    /// Tokens read from the cache.
    pub cached: Option<Rate>,
    /// Tokens written to the cache for five minutes.
    pub write_5m: Option<Rate>,
    /// Tokens written to the cache for an hour.
    pub write_1h: Option<Rate>,
    /// Tokens written, those of reasoning included.
    pub output: Rate,
}

impl Rates {
    /// What these tokens cost, rounded up to a nano-dollar.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> Money {
        let or_input = |rate: Option<Rate>| rate.unwrap_or(self.input);
        let parts = [
            (self.input, tokens.input),
            (or_input(self.cached), tokens.cached),
            (or_input(self.write_5m), tokens.write_5m),
            (or_input(self.write_1h), tokens.write_1h),
            (self.output, tokens.output),
        ];
        let sum = parts.iter().fold(0u128, |sum, (rate, tokens)| sum.saturating_add(rate.of(*tokens)));
        Money::nanos(i64::try_from(sum.div_ceil(MILLION)).unwrap_or(i64::MAX))
    }

    /// The dearest rate that a token read may have.
    fn dearest_input(&self) -> Rate {
        [self.cached, self.write_5m, self.write_1h].into_iter().flatten().fold(self.input, Rate::max)
    }
}

/// Rates for a request that reads more than so many tokens: all of its tokens have them, not only those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Long {
    /// The rates hold for requests that read more tokens than this.
    pub above: u64,
    /// The rates.
    pub rates: Rates,
}

/// The prices of one tier of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPrice {
    /// The rates of most requests.
    pub rates: Rates,
    /// The rates of long ones, if they have others.
    pub long: Option<Long>,
}

impl TierPrice {
    fn rates_for(&self, read: u64) -> &Rates {
        self.long.as_ref().filter(|long| read > long.above).map_or(&self.rates, |long| &long.rates)
    }
}

/// How soon the provider answers, which it charges by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// As usual.
    #[default]
    Standard,
    /// Sooner, and dearer.
    Priority,
    /// Later, and cheaper.
    Flex,
    /// Within a day, and cheaper.
    Batch,
}

impl Tier {
    /// All tiers, the standard one first.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Priority, Self::Flex, Self::Batch];

    /// The word for it in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Batch => "batch",
        }
    }
}

/// Who is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Provider {
    /// Anthropic's own API.
    Anthropic,
    /// Amazon Bedrock. Models of a region with prices of its own are named `REGION/MODEL`.
    Bedrock,
    /// Google's Gemini API.
    Gemini,
    /// OpenAI's own API.
    OpenAi,
}

impl Provider {
    /// All providers of the table, in its order.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::Bedrock, Self::Gemini, Self::OpenAi];

    /// The word for it in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }
}

/// The prices of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Who is paid for it.
    pub provider: Provider,
    /// Its name at the provider.
    pub name: Box<str>,
    /// The price of each tier, in the order of [`Tier::ALL`]; `None` where the provider has no such tier for the model.
    pub tiers: [Option<TierPrice>; 4],
}

impl Model {
    /// What a request with these tokens cost at this tier; at the standard one if there is no other. `None` when not even
    /// that has a price.
    #[must_use]
    pub fn cost(&self, tier: Tier, tokens: &Tokens) -> Option<Money> {
        let price = self.tiers[tier as usize].as_ref().or(self.tiers[0].as_ref())?;
        Some(price.rates_for(tokens.read()).cost(tokens))
    }

    /// The most that a request can cost which reads at most `read` tokens and writes at most `written`: at the dearest of the
    /// tiers and of the ways to read a token.
    #[must_use]
    pub fn bound(&self, read: u64, written: u64) -> Option<Money> {
        let most = |price: &TierPrice| {
            let both = [Some(&price.rates), price.long.as_ref().filter(|long| read > long.above).map(|l| &l.rates)];
            let dearest = |rates: &Rates| {
                let all_dear = Rates { input: rates.dearest_input(), output: rates.output, ..Rates::default() };
                all_dear.cost(&Tokens { input: read, output: written, ..Tokens::default() })
            };
            both.into_iter().flatten().map(dearest).max().unwrap_or_default()
        };
        self.tiers.iter().flatten().map(most).max()
    }
}

/// The tokens of a request and its answer, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read, neither from a cache nor into one.
    pub input: u64,
    /// Read from the cache.
    pub cached: u64,
    /// Read and written to the cache for five minutes.
    pub write_5m: u64,
    /// Read and written to the cache for an hour.
    pub write_1h: u64,
    /// Written, those of reasoning included.
    pub output: u64,
}

impl Tokens {
    /// All tokens that were read.
    #[must_use]
    pub fn read(&self) -> u64 {
        [self.cached, self.write_5m, self.write_1h].into_iter().fold(self.input, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
