//! An amount of money.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::{BadDecimal, scaled};

/// Nano-dollars in a dollar.
const NANOS: u64 = 1_000_000_000;

/// An amount in nano-dollars: billionths of a dollar. Sums stop at the largest one, which is nine billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MOST: Self = Self(i64::MAX);

    /// So many nano-dollars.
    #[must_use]
    pub const fn nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The dollars that `text` writes, such as `0.35`.
    ///
    /// # Errors
    ///
    /// When it is no decimal number without sign, finer than nano-dollars, or too large.
    pub fn parse(text: &str) -> Result<Self, BadDecimal> {
        i64::try_from(scaled(text, 9)?).map(Self).map_err(|_| BadDecimal::TooLarge)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// In dollars, with as many decimals as it takes: `0.35`, `12`, `0.000000001`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / NANOS, self.0.unsigned_abs() % NANOS);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["0", "0.35", "12", "0.000000001", "9223372036.854775807", "1.5"] {
            assert_eq!(Money::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Money::parse("9223372036.854775808"), Err(BadDecimal::TooLarge));
        assert_eq!(Money::nanos(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(Money::MOST + Money::nanos(1), Money::MOST);
        assert_eq!([Money::nanos(1), Money::nanos(2)].into_iter().sum::<Money>(), Money::nanos(3));
    }
}
