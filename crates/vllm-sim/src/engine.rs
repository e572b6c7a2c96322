//! Drives the scheduler by the clock: a step lasts as long as the set speeds say, then its tokens go to those who wait for
//! them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::core::{Core, Finish, Limits, Progress, Step, Work};
use crate::metrics::{Metrics, Now};
use crate::settings::{CutOff, Settings};

/// Steps without a pause after which others get their turn.
const STEPS_IN_A_ROW: u32 = 64;

/// What all sequences share.
pub(crate) struct Engine {
    state: Mutex<State>,
    /// Told when there may be something to compute.
    work: Notify,
    settings: Settings,
    started: Instant,
    pub(crate) metrics: Metrics,
}

struct State {
    core: Core,
    readers: HashMap<u64, Reader>,
    /// Prompts that are not yet computed, in tokens.
    backlog: u64,
    /// The engine was ended.
    over: bool,
    /// Steps last so many times as long.
    slowness: f64,
    /// No step ends before.
    frozen_until: Option<Instant>,
}

/// What a sequence has made, and who waits for more.
struct Reader {
    prompt: u32,
    made: u32,
    cached: Option<u32>,
    finish: Option<Finish>,
    waker: Option<Waker>,
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
    id: u64,
    sent: u32,
    /// Tokens of the prompt that were found in the cache; known with the first token.
    pub(crate) cached: u32,
    over: bool,
}

impl Engine {
    pub(crate) fn new(limits: Limits, settings: Settings, metrics: Metrics) -> Self {
        let state = State {
            core: Core::new(limits),
            readers: HashMap::new(),
            backlog: 0,
            over: false,
            slowness: 1.0,
            frozen_until: None,
        };
        Self { state: Mutex::new(state), work: Notify::new(), settings, started: Instant::now(), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked held it between two whole changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time on the engine's clock.
    fn clock(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// Lines a sequence up.
    pub(crate) fn queue(self: &Arc<Self>, work: Work) -> Sequence {
        let prompt = work.prompt;
        let mut state = self.state();
        let id = state.core.add(work, self.clock(Instant::now()));
        state.backlog += u64::from(prompt);
        state.readers.insert(id, Reader { prompt, made: 0, cached: None, finish: None, waker: None });
        drop(state);
        self.work.notify_one();
        Sequence { engine: Arc::clone(self), id, sent: 0, cached: 0, over: false }
    }

    /// Sequences that run or wait, and tokens of prompts that are not yet computed.
    pub(crate) fn backlog(&self) -> (u64, u64) {
        let state = self.state();
        let sequences = state.core.running() + state.core.waiting();
        (u64::try_from(sequences).unwrap_or(u64::MAX), state.backlog)
    }

    /// Holds the steps back, or lets them go on.
    pub(crate) fn pause(&self, paused: bool) {
        self.state().core.pause(paused);
        self.work.notify_one();
    }

    /// Ends whatever runs or waits with what there is of it.
    pub(crate) fn cut_all(&self) {
        let mut state = self.state();
        let State { core, readers, backlog, .. } = &mut *state;
        for (id, reader) in readers.iter_mut().filter(|(_, reader)| reader.finish.is_none()) {
            core.remove(*id);
            reader.finish = Some(Finish::Abort);
            self.metrics.finish(Finish::Abort);
            wake(reader);
        }
        *backlog = 0;
    }

    /// Whether nothing runs or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog().0 == 0
    }

    /// Forgets the cached prefixes; `false` while sequences run.
    pub(crate) fn forget_prefixes(&self) -> bool {
        self.state().core.forget_prefixes()
    }

    /// Ends the engine: what runs is cut off in the set way.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        state.core.pause(true);
        state.readers.values_mut().for_each(wake);
    }

    /// Makes steps last so many times as long.
    pub(crate) fn slow_down(&self, factor: f64) {
        self.state().slowness = factor;
    }

    /// Makes no step end for so long.
    pub(crate) fn freeze(&self, span: Duration) {
        let until = Instant::now().checked_add(span);
        self.state().frozen_until = until.or_else(|| Instant::now().checked_add(Duration::from_secs(86_400)));
    }

    /// The metrics page. `name_of` names an adapter.
    pub(crate) fn page(&self, name_of: impl Fn(u32) -> String) -> prometheus::Result<String> {
        let state = self.state();
        let (running, waiting) = state.core.adapters();
        let named = |ids: Vec<u32>| ids.into_iter().map(&name_of).collect::<Vec<_>>().join(",");
        let now = Now {
            running: state.core.running(),
            waiting: state.core.waiting(),
            deferred: state.core.deferred(),
            usage: state.core.usage(),
            counts: state.core.counts(),
            running_adapters: named(running),
            waiting_adapters: named(waiting),
            uptime: self.started.elapsed(),
        };
        drop(state);
        self.metrics.page(&now)
    }

    /// Computes step after step, for ever.
    pub(crate) async fn run(&self) {
        let mut clock = Instant::now();
        let mut in_a_row = 0;
        loop {
            let begun = {
                let mut state = self.state();
                let step = state.core.begin(self.clock(clock));
                step.map(|step| self.length(step).mul_f64(state.slowness))
            };
            let Some(length) = begun else {
                self.work.notified().await;
                clock = Instant::now();
                continue;
            };
            // Timers are coarse and processors busy: a step that ended late does not make the next one late.
            let due = if length.is_zero() { Instant::now() } else { clock + length };
            in_a_row += 1;
            if due > Instant::now() {
                sleep_until(due).await;
                in_a_row = 0;
            } else if in_a_row >= STEPS_IN_A_ROW {
                tokio::task::yield_now().await;
                in_a_row = 0;
            }
            clock = self.thawed(due).await;
            self.deliver(clock);
        }
    }

    /// Waits on while the engine is frozen, and looks now and then whether it still is.
    async fn thawed(&self, due: Instant) -> Instant {
        let mut due = due;
        loop {
            let until = self.state().frozen_until;
            match until {
                Some(until) if until > due => {
                    sleep_until(until.min(due + Duration::from_millis(100))).await;
                    due = Instant::now();
                }
                _ => return due,
            }
        }
    }

    /// How long a step lasts: reading prompts costs time for each token; a token for each running answer costs the time of
    /// one, and a little more the more there are.
    fn length(&self, step: Step) -> Duration {
        let Settings { token_gap, prefill_gap, crowding, .. } = self.settings;
        let others = f64::from(step.decodes.saturating_sub(1));
        let decode = if step.decodes == 0 { Duration::ZERO } else { token_gap.mul_f64(1.0 + crowding * others) };
        prefill_gap * step.prefill + decode
    }

    fn deliver(&self, at: Instant) {
        let mut state = self.state();
        if state.over {
            return;
        }
        let now = self.clock(at);
        let before = state.core.counts();
        let progress = state.core.end(now);
        let after = state.core.counts();
        self.metrics.step(after.step_tokens - before.step_tokens);
        for one in progress {
            self.metrics.progress(&one, now);
            let Progress { id, made, story, finish, gap } = one;
            if gap.is_none() {
                state.backlog = state.backlog.saturating_sub(u64::from(story.prompt));
            }
            let Some(reader) = state.readers.get_mut(&id) else { continue };
            (reader.made, reader.cached, reader.finish) = (made, Some(story.cached), finish);
            wake(reader);
        }
    }
}

fn wake(reader: &mut Reader) {
    if let Some(waker) = reader.waker.take() {
        waker.wake();
    }
}

impl Sequence {
    /// Waits for the tokens that are due next; `None` after the last.
    ///
    /// # Errors
    /// When the engine is ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, Aborted> {
        if self.over {
            return Ok(None);
        }
        let engine = Arc::clone(&self.engine);
        poll_fn(|context| {
            let mut state = engine.state();
            let over = state.over;
            let Some(reader) = state.readers.get_mut(&self.id) else { return Poll::Ready(Ok(None)) };
            self.cached = reader.cached.unwrap_or(0);
            if reader.made > self.sent || reader.finish.is_some() {
                let batch = Batch { tokens: self.sent..reader.made, finish: reader.finish };
                self.sent = reader.made;
                self.over = batch.finish.is_some();
                return Poll::Ready(Ok(Some(batch)));
            }
            match (over, engine.settings.cut_off) {
                (true, CutOff::Error) => {
                    self.over = true;
                    return Poll::Ready(Err(Aborted));
                }
                (true, CutOff::Abort) => {
                    self.over = true;
                    engine.metrics.finish(Finish::Abort);
                    let batch = Batch { tokens: self.sent..self.sent, finish: Some(Finish::Abort) };
                    return Poll::Ready(Ok(Some(batch)));
                }
                (true, CutOff::Silence) | (false, _) => {}
            }
            reader.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Sequence {
    /// A client that leaves is not counted: vLLM counts it neither as finished nor as aborted.
    fn drop(&mut self) {
        let mut state = self.engine.state();
        state.core.remove(self.id);
        if let Some(reader) = state.readers.remove(&self.id)
            && reader.cached.is_none()
            && reader.finish.is_none()
        {
            state.backlog = state.backlog.saturating_sub(u64::from(reader.prompt));
        }
        drop(state);
        // A slot is free.
        self.engine.work.notify_one();
    }
}

#[cfg(test)]
mod tests;
