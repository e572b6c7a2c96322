//! What an answer is written of, besides what it says.

use crate::answer::Usage;
use crate::ask::Ask;
use crate::refusal::Api;

/// What all parts of one answer carry.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    pub(crate) api: Api,
    pub(crate) ask: &'a Ask,
    /// What makes its ids unique.
    pub(crate) unique: String,
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// What is told of the usage, which a fault can make another than what is billed; absent, nothing is.
    pub(crate) told: Option<Told>,
}

/// Usage as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) written: i64,
    pub(crate) written_hour: i64,
    pub(crate) output: i64,
    pub(crate) reasoning: i64,
}

/// How usage is falsified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Falsity {
    Absent,
    Zero,
    Negative,
    Huge,
}

impl Told {
    /// The truth.
    pub(crate) fn of(usage: Usage) -> Self {
        let told = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            input: told(usage.input),
            cached: told(usage.cached),
            written: told(usage.written),
            written_hour: told(usage.written_hour),
            output: told(usage.output),
            reasoning: told(usage.reasoning),
        }
    }

    /// Something else.
    pub(crate) fn falsified(self, falsity: Falsity) -> Option<Self> {
        let all = |change: fn(i64) -> i64| {
            let Self { input, cached, written, written_hour, output, reasoning } = self;
            let [input, cached, written, written_hour, output, reasoning] =
                [input, cached, written, written_hour, output, reasoning].map(change);
            Some(Self { input, cached, written, written_hour, output, reasoning })
        };
        match falsity {
            Falsity::Absent => None,
            Falsity::Zero => all(|_| 0),
            Falsity::Negative => all(|count| -count),
            Falsity::Huge => all(|count| count.saturating_mul(1_000_000)),
        }
    }

    /// All tokens of the prompt.
    pub(crate) fn prompt(&self) -> i64 {
        self.input + self.cached + self.written + self.written_hour
    }
}
