//! Runs sequences: so many at a time, the others waiting in the order they came, their tokens appearing at the set rate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Finish, Metrics};
use crate::settings::{CutOff, Settings};

/// What all sequences share.
pub(crate) struct Engine {
    slots: Arc<Semaphore>,
    settings: Settings,
    /// Ends every sequence when it is cancelled.
    pub(crate) abort: CancellationToken,
    pub(crate) metrics: Metrics,
}

/// What a sequence will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) prompt_tokens: u32,
    /// Length of its answer, at least 1.
    pub(crate) tokens: u32,
    pub(crate) finish: Finish,
}

/// Tokens of one sequence that are due, by their places in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) tokens: std::ops::Range<u32>,
    /// Set with the last token, or without one when the sequence is cut off.
    pub(crate) finish: Option<Finish>,
}

/// The engine was ended while the sequence ran, and says so by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted;

/// One answer in the making. Dropping it frees its slot at once.
pub(crate) struct Sequence {
    engine: Arc<Engine>,
    plan: Plan,
    arrived: Instant,
    sent: u32,
    stage: Stage,
}

enum Stage {
    Waiting,
    Running { _slot: OwnedSemaphorePermit, first_due: Instant, last_sent: Option<Instant> },
    Over,
}

impl Engine {
    /// An engine with `slots` slots.
    pub(crate) fn new(slots: u32, settings: Settings, metrics: Metrics) -> Self {
        let most = usize::try_from(slots).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(most)), settings, abort: CancellationToken::new(), metrics }
    }

    /// Lines a sequence up. It runs when [`Sequence::next`] is called.
    pub(crate) fn queue(self: &Arc<Self>, plan: Plan) -> Sequence {
        self.metrics.waiting.inc();
        Sequence { engine: Arc::clone(self), plan, arrived: Instant::now(), sent: 0, stage: Stage::Waiting }
    }
}

impl Sequence {
    /// Waits for the tokens that are due next; `None` after the last.
    ///
    /// # Errors
    /// When the engine is ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, Aborted> {
        let abort = self.engine.abort.clone();
        tokio::select! {
            biased;
            () = abort.cancelled() => self.cut_off().await,
            batch = self.advance() => Ok(batch),
        }
    }

    async fn cut_off(&mut self) -> Result<Option<Batch>, Aborted> {
        match (self.engine.settings.cut_off, &self.stage) {
            (_, Stage::Over) => Ok(None),
            (CutOff::Error, _) => Err(Aborted),
            (CutOff::Silence, _) => std::future::pending().await,
            (CutOff::Abort, _) => {
                self.engine.metrics.finish(Finish::Abort);
                self.leave();
                Ok(Some(Batch { tokens: self.sent..self.sent, finish: Some(Finish::Abort) }))
            }
        }
    }

    async fn advance(&mut self) -> Option<Batch> {
        if matches!(self.stage, Stage::Waiting) {
            let slot = Arc::clone(&self.engine.slots).acquire_owned().await.ok()?;
            self.begin(slot);
        }
        let Stage::Running { first_due, .. } = self.stage else { return None };
        let due = first_due + self.engine.settings.token_gap * self.sent;
        if due > Instant::now() {
            sleep_until(due).await;
        }
        Some(self.emit(first_due, Instant::now()))
    }

    fn begin(&mut self, slot: OwnedSemaphorePermit) {
        let (metrics, now) = (&self.engine.metrics, Instant::now());
        metrics.waiting.dec();
        metrics.running.inc();
        metrics.hold(i64::from(self.plan.prompt_tokens));
        metrics.queued.observe(now.duration_since(self.arrived).as_secs_f64());
        let first_due = now + self.engine.settings.prefill_gap * self.plan.prompt_tokens;
        self.stage = Stage::Running { _slot: slot, first_due, last_sent: None };
    }

    /// Takes the tokens that are due at `now`: one, or more when their time has passed meanwhile.
    fn emit(&mut self, first_due: Instant, now: Instant) -> Batch {
        let due = due_by(now.duration_since(first_due), self.engine.settings.token_gap);
        let to = due.clamp(self.sent + 1, self.plan.tokens);
        let tokens = self.sent..to;
        let metrics = &self.engine.metrics;
        if let Stage::Running { last_sent, .. } = &mut self.stage {
            match last_sent.replace(now) {
                None => {
                    metrics.first_token.observe(now.duration_since(self.arrived).as_secs_f64());
                    metrics.prompt_tokens.inc_by(u64::from(self.plan.prompt_tokens));
                }
                Some(before) => metrics.token_gap.observe(now.duration_since(before).as_secs_f64()),
            }
        }
        metrics.generation_tokens.inc_by(u64::from(to - self.sent));
        metrics.hold(i64::from(to - self.sent));
        self.sent = to;
        let finish = (to == self.plan.tokens).then_some(self.plan.finish);
        if let Some(why) = finish {
            metrics.whole.observe(now.duration_since(self.arrived).as_secs_f64());
            metrics.finish(why);
            self.leave();
        }
        Batch { tokens, finish }
    }

    /// Gives the slot, or the place in the queue, back.
    fn leave(&mut self) {
        let metrics = &self.engine.metrics;
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => {}
            Stage::Waiting => metrics.waiting.dec(),
            Stage::Running { .. } => {
                metrics.running.dec();
                metrics.hold(-i64::from(self.plan.prompt_tokens) - i64::from(self.sent));
            }
        }
    }
}

impl Drop for Sequence {
    /// A client that leaves is not counted: vLLM counts it neither as finished nor as aborted.
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many tokens are due so long after the first was; all of them when they have no gap.
fn due_by(elapsed: Duration, gap: Duration) -> u32 {
    match elapsed.as_nanos().checked_div(gap.as_nanos()) {
        Some(gaps) => u32::try_from(gaps + 1).unwrap_or(u32::MAX),
        None => u32::MAX,
    }
}

#[cfg(test)]
mod tests;
