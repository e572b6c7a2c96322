//! A length of time as people write it in Kubernetes: `90s`, `10m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A whole number of seconds, written as hours, minutes and seconds: `90s`, `10m`, `1h30m`. At most 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(i32);

const PATTERN: &str = "^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?$";
const MOST: i64 = 31 * 86_400;
/// [`MOST`], as a rule: the pattern alone would let texts be stored that cannot be read.
const MOST_RULE: &str = "duration(self) <= duration('744h')";

/// Why a text is not a [`Duration`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadDuration(String);

impl Duration {
    /// This many seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i32) -> Self {
        Self(seconds)
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> i32 {
        self.0
    }
}

impl FromStr for Duration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let bad = || BadDuration(text.to_owned());
        let (mut total, mut rest) = (0i64, text);
        for (unit, seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
            if let Some((number, after)) = rest.split_once(unit) {
                let number: u32 = number.parse().map_err(|_| bad())?;
                total = total.saturating_add(i64::from(number).saturating_mul(seconds));
                rest = after;
            }
        }
        if text.is_empty() || !rest.is_empty() || total > MOST {
            return Err(bad());
        }
        i32::try_from(total).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s != 0 && s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s != 0 && s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

impl fmt::Display for BadDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration such as 90s, 10m or 1h30m, of at most 31 days", self.0)
    }
}

impl std::error::Error for BadDuration {}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 2, "maxLength": 16, "pattern": PATTERN,
            "x-kubernetes-validations": [{"rule": MOST_RULE, "message": "must be at most 744h, which are 31 days"}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        let good =
            [("90s", 90, "90s"), ("10m", 600, "10m"), ("1h30m", 5400, "90m"), ("0s", 0, "0s"), ("2h", 7200, "2h")];
        for (text, seconds, again) in good {
            let read: Duration = text.parse().unwrap();
            assert_eq!((read.seconds(), read.to_string().as_str()), (seconds, again));
        }
        for bad in ["", "5", "s", "1d", "5 s", "-3s", "1s2m", "800h", "1.5m", "99999999999999s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
