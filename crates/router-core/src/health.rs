//! Whether an endpoint is left alone for a while because it failed, and who may find out that it recovered.
//!
//! An endpoint that fails several times in a row is ejected: nobody picks it until some time is over. Then one request is
//! its trial. A good end brings the endpoint back; a bad one ejects it again, for longer.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::Moment;
use crate::moment::millis;
use crate::word::Word;

/// When an endpoint is ejected, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct EjectionRules {
    /// Failures in a row that eject.
    pub failures: u16,
    /// How long the first ejection lasts; each further one lasts twice as long as the one before.
    pub first: Duration,
    /// How long an ejection lasts at most.
    pub longest: Duration,
    /// How long an endpoint must serve without an ejection for its former ones to be forgotten.
    pub forgiven_after: Duration,
}

impl Default for EjectionRules {
    fn default() -> Self {
        Self {
            failures: 5,
            first: Duration::from_secs(5),
            longest: Duration::from_secs(300),
            forgiven_after: Duration::from_secs(300),
        }
    }
}

/// How an endpoint stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be picked.
    Serving,
    /// It is left alone until then.
    Ejected(Moment),
    /// Its time is over: the next request is its trial.
    Due,
    /// A request is on trial there. With when its ejection ended.
    OnTrial(Moment),
}

/// The right to end an ejection, or the duty to prolong it. At most one is out for each ejection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trial(u64);

/// The standing of one endpoint, in one word, so that every change of it is one step for all threads.
#[derive(Debug, Default)]
pub struct Health<W = AtomicU64>(W);

/// The word's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// When the latest ejection ends or ended, in milliseconds; also the number by which a trial is known.
    until: u64,
    /// Ejections in a row.
    level: u8,
    phase: Phase,
    /// Failures in a row.
    failures: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Ejected,
    OnTrial,
}

/// Bits of [`State::until`]: some 34 years.
const UNTIL_BITS: u32 = 40;
/// Highest level; no ejection grows beyond it.
const MOST_LEVEL: u8 = 31;

impl State {
    fn of(word: u64) -> Self {
        let phase = match (word >> 16) & 3 {
            0 => Phase::Serving,
            1 => Phase::Ejected,
            _ => Phase::OnTrial,
        };
        let [low, high, rest, ..] = word.to_le_bytes();
        Self { until: word >> (64 - UNTIL_BITS), level: rest >> 2, phase, failures: u16::from_le_bytes([low, high]) }
    }

    fn word(self) -> u64 {
        let until = self.until.min((1 << UNTIL_BITS) - 1);
        until << (64 - UNTIL_BITS) | u64::from(self.level) << 18 | (self.phase as u64) << 16 | u64::from(self.failures)
    }

    fn ejected(self, now: Moment, rules: &EjectionRules) -> Self {
        let forgiven = self.phase == Phase::Serving && now.since(Moment(self.until)) >= millis(rules.forgiven_after);
        let level = if forgiven { 0 } else { self.level };
        let length = millis(rules.first).saturating_mul(1 << level).min(millis(rules.longest));
        // A later end than that of the ejection before, so that a trial of that one is not taken for one of this.
        let until = now.0.saturating_add(length).max(self.until + 1);
        Self { until, level: (level + 1).min(MOST_LEVEL), phase: Phase::Ejected, failures: 0 }
    }
}

impl<W: Word> Health<W> {
    /// How the endpoint stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        let state = State::of(self.0.get());
        match state.phase {
            Phase::Serving => Standing::Serving,
            Phase::OnTrial => Standing::OnTrial(Moment(state.until)),
            Phase::Ejected if state.until <= now.0 => Standing::Due,
            Phase::Ejected => Standing::Ejected(Moment(state.until)),
        }
    }

    /// Takes the trial of an endpoint whose time is over. Of several who try, one gets it.
    pub(crate) fn claim(&self, now: Moment) -> Option<Trial> {
        let due = |state: State| state.phase == Phase::Ejected && state.until <= now.0;
        let claimed = self.change(|state| due(state).then_some(State { phase: Phase::OnTrial, ..state }));
        claimed.map(|state| Trial(state.until))
    }

    /// Gives a trial back that told nothing: the next request gets it.
    pub(crate) fn give_back(&self, trial: &Trial) {
        self.change(|state| state.is_on(trial).then_some(State { phase: Phase::Ejected, ..state }));
    }

    /// A request went well. `trial` is its trial; `anyway` that it was sent although the endpoint was ejected.
    pub(crate) fn succeeded(&self, trial: Option<&Trial>, anyway: bool) {
        self.change(|state| {
            let back = match state.phase {
                // The usual case writes nothing.
                Phase::Serving => state.failures > 0,
                Phase::OnTrial | Phase::Ejected => anyway || trial.is_some_and(|trial| state.is_on(trial)),
            };
            back.then_some(State { phase: Phase::Serving, failures: 0, ..state })
        });
    }

    /// A request failed; whether that ejects the endpoint. `certain` says that it will not recover by itself.
    pub(crate) fn failed(&self, trial: Option<&Trial>, certain: bool, now: Moment, rules: &EjectionRules) -> bool {
        let after = self.change(|state| match state.phase {
            Phase::Serving => {
                let failures = state.failures.saturating_add(1);
                let enough = certain || failures >= rules.failures;
                Some(if enough { state.ejected(now, rules) } else { State { failures, ..state } })
            }
            Phase::OnTrial => trial.is_some_and(|trial| state.is_on(trial)).then(|| state.ejected(now, rules)),
            // Whatever was sent before the ejection, or in spite of it, adds nothing to it.
            Phase::Ejected => None,
        });
        after.is_some_and(|state| state.phase == Phase::Ejected)
    }

    /// Makes a change in one step; what it led to, if it was wanted.
    fn change(&self, step: impl Fn(State) -> Option<State>) -> Option<State> {
        loop {
            let word = self.0.get();
            let new = step(State::of(word))?;
            if self.0.replace(word, new.word()) {
                return Some(State::of(new.word()));
            }
        }
    }
}

impl State {
    fn is_on(self, trial: &Trial) -> bool {
        self.phase == Phase::OnTrial && self.until == trial.0
    }
}

#[cfg(test)]
mod tests;
