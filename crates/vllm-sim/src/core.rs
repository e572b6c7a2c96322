//! The scheduler of the engine as a pure step function: which sequences run, how many tokens of each a step computes, and
//! which blocks of the cache they hold. It reads no clock and draws nothing; the time is an argument.
//!
//! It schedules as vLLM does. A step has a budget of tokens. Running sequences get theirs first, in their order; a prompt
//! that does not fit is read in pieces over several steps. When no block is left, the sequence that came last is preempted:
//! it gives its blocks back, waits at its old place, and is computed again. Only when nothing was preempted do waiting
//! sequences join, in the order of priority and arrival, as far as slots, budget and blocks go; one whose adapter has no
//! place is passed over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::text::mix;

pub(crate) mod blocks;

use blocks::{Block, Pool, chain};

/// What bounds a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Sequences that may run at the same time.
    pub(crate) slots: u32,
    /// Tokens of one step, over all sequences.
    pub(crate) budget: u32,
    /// Blocks of the cache.
    pub(crate) blocks: u32,
    /// Tokens of a block.
    pub(crate) block_size: u32,
    /// Whether full blocks are found again.
    pub(crate) prefix_caching: bool,
    /// Adapters that one step can use.
    pub(crate) adapters: u32,
    /// Whether a sequence's priority counts; otherwise all wait in the order they came.
    pub(crate) priorities: bool,
}

/// Why a sequence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It came to its own end, or to a stop word.
    Stop,
    /// It reached its limit.
    Length,
    /// It was cut off.
    Abort,
}

impl Finish {
    /// The word on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
        }
    }
}

/// What a sequence will be.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Tokens of the prompt, at least 1.
    pub(crate) prompt: u32,
    /// The chained hashes of the prompt's full blocks.
    pub(crate) hashes: Arc<[u64]>,
    /// Tokens of the answer; 0 when only the prompt is computed.
    pub(crate) tokens: u32,
    /// How it ends, unless it is cut off.
    pub(crate) finish: Finish,
    /// Stands for the content of the answer.
    pub(crate) key: u64,
    /// Lower goes first, when priorities count.
    pub(crate) priority: i64,
    /// The adapter it runs with.
    pub(crate) adapter: Option<u32>,
}

/// What a step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Tokens of prompts, and of preempted sequences that are computed again.
    pub(crate) prefill: u32,
    /// Sequences that get one more token.
    pub(crate) decodes: u32,
}

/// How a step brought one sequence forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) id: u64,
    /// Tokens of its answer so far.
    pub(crate) made: u32,
    /// Time since its last token; absent for the first.
    pub(crate) gap: Option<Duration>,
    /// Its story so far.
    pub(crate) story: Story,
    /// Set with the last token.
    pub(crate) finish: Option<Finish>,
}

/// Times (of the clock that the steps are told) and counts of one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) arrived: Duration,
    /// When it was first scheduled.
    pub(crate) began: Duration,
    /// When its first token came; for one without tokens, when its prompt was computed.
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    pub(crate) prompt: u32,
    /// Tokens of the prompt that were found in the cache.
    pub(crate) cached: u32,
    pub(crate) preempted: u32,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tokens looked up in the cache.
    pub(crate) queried: u64,
    /// Tokens found.
    pub(crate) hits: u64,
    pub(crate) preemptions: u64,
    /// Steps that ended, and tokens that they computed.
    pub(crate) steps: u64,
    pub(crate) step_tokens: u64,
}

#[derive(Debug)]
struct Sequence {
    work: Work,
    order: (i64, u64),
    /// Tokens of prompt and answer that are computed.
    computed: u32,
    /// Tokens of the answer.
    made: u32,
    blocks: Vec<Block>,
    /// Blocks whose content was told to the pool, and the chained hash of the last of them.
    filled: (u32, u64),
    /// Tokens that the running step computes.
    scheduled: u32,
    began: bool,
    story: Story,
}

impl Sequence {
    fn length(&self) -> u32 {
        self.work.prompt + self.made
    }

    /// The chained hash of the block at `at`, whose predecessor has the hash `before`. Blocks beyond the prompt's full ones
    /// hold made-up text, which the answer's key stands for.
    fn hash(&self, at: u32, before: u64) -> u64 {
        let given = usize::try_from(at).ok().and_then(|at| self.work.hashes.get(at));
        given.copied().unwrap_or_else(|| chain(before, mix(self.work.key ^ u64::from(at))))
    }
}

/// The scheduler's state.
#[derive(Debug)]
pub(crate) struct Core {
    limits: Limits,
    pool: Pool,
    sequences: HashMap<u64, Sequence>,
    running: Vec<u64>,
    waiting: BTreeMap<(i64, u64), u64>,
    next: u64,
    paused: bool,
    counts: Counts,
}

impl Core {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            pool: Pool::new(limits.blocks),
            sequences: HashMap::new(),
            running: Vec::new(),
            waiting: BTreeMap::new(),
            next: 0,
            paused: false,
            counts: Counts::default(),
        }
    }

    /// Lines a sequence up, and names it.
    pub(crate) fn add(&mut self, work: Work, now: Duration) -> u64 {
        self.next += 1;
        let id = self.next;
        let order = (if self.limits.priorities { work.priority } else { 0 }, id);
        let story = Story { arrived: now, prompt: work.prompt, ..Story::default() };
        let sequence = Sequence {
            work,
            order,
            computed: 0,
            made: 0,
            blocks: Vec::new(),
            filled: (0, 0),
            scheduled: 0,
            began: false,
            story,
        };
        self.sequences.insert(id, sequence);
        self.waiting.insert(order, id);
        id
    }

    /// Takes a sequence out, wherever it is. Its slot and its blocks are free at once.
    pub(crate) fn remove(&mut self, id: u64) {
        self.release(id);
        if let Some(sequence) = self.sequences.remove(&id) {
            self.waiting.remove(&sequence.order);
            self.running.retain(|running| *running != id);
        }
    }

    /// Whether steps are held back.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Forgets the cached prefixes; `false` while sequences run.
    pub(crate) fn forget_prefixes(&mut self) -> bool {
        self.pool.forget()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waiting sequences whose adapter has no place.
    pub(crate) fn deferred(&self) -> usize {
        let used = self.adapters_in_use();
        if used.len() < usize::try_from(self.limits.adapters).unwrap_or(usize::MAX) {
            return 0;
        }
        let lacks = |adapter: Option<u32>| adapter.is_some_and(|adapter| !used.contains(&adapter));
        self.waiting.values().filter(|id| self.sequences.get(id).is_some_and(|s| lacks(s.work.adapter))).count()
    }

    /// The adapters of running and of waiting sequences.
    pub(crate) fn adapters(&self) -> (Vec<u32>, Vec<u32>) {
        let of = |ids: &mut dyn Iterator<Item = &u64>| {
            let mut all: Vec<u32> = ids.filter_map(|id| self.sequences.get(id)?.work.adapter).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        (of(&mut self.running.iter()), of(&mut self.waiting.values()))
    }

    /// Part of the blocks that are in use, from 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        f64::from(self.pool.used()) / f64::from(self.limits.blocks.max(1))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Plans a step at `now`; `None` when there is nothing to compute. It must be ended before the next.
    pub(crate) fn begin(&mut self, now: Duration) -> Option<Step> {
        if self.paused {
            return None;
        }
        let mut budget = self.limits.budget;
        let preempted = self.go_on(&mut budget);
        // When even the last running sequence went, nobody else would ever give a block back.
        if !preempted || self.running.is_empty() {
            self.admit(&mut budget, now);
        }
        let mut step = Step::default();
        for sequence in self.running.iter().filter_map(|id| self.sequences.get(id)) {
            if sequence.made > 0 && sequence.scheduled == 1 {
                step.decodes += 1;
            } else {
                step.prefill += sequence.scheduled;
            }
        }
        (step != Step::default()).then_some(step)
    }

    /// Gives running sequences their tokens; tells whether one was preempted for it.
    fn go_on(&mut self, budget: &mut u32) -> bool {
        let mut preempted = false;
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let id = self.running[at];
            let Some(sequence) = self.sequences.get(&id) else { break };
            let tokens = (sequence.length() - sequence.computed).min(*budget);
            let mut room = self.reserve(id, tokens);
            while !room {
                let Some(victim) = self.victim() else { return preempted };
                let place = self.running.iter().position(|running| *running == victim).unwrap_or(at);
                *budget += self.preempt(victim);
                preempted = true;
                if victim == id {
                    break;
                }
                at -= usize::from(place < at);
                room = self.reserve(id, tokens);
            }
            // Without room it was preempted itself, and the next one stands in its place.
            if room {
                self.schedule(id, tokens);
                *budget -= tokens;
                at += 1;
            }
        }
        preempted
    }

    /// The running sequence that came last; with priorities, the last of the least urgent ones.
    fn victim(&self) -> Option<u64> {
        let order = |id: &&u64| self.sequences.get(id).map(|sequence| sequence.order);
        if self.limits.priorities {
            self.running.iter().max_by_key(order).copied()
        } else {
            self.running.last().copied()
        }
    }

    /// Sends a running sequence back to its place in the queue; tells how many tokens of the step it had.
    fn preempt(&mut self, id: u64) -> u32 {
        self.release(id);
        self.running.retain(|running| *running != id);
        let Some(sequence) = self.sequences.get_mut(&id) else { return 0 };
        sequence.computed = 0;
        sequence.story.preempted += 1;
        self.counts.preemptions += 1;
        self.waiting.insert(sequence.order, id);
        std::mem::take(&mut sequence.scheduled)
    }

    fn admit(&mut self, budget: &mut u32, now: Duration) {
        let slots = usize::try_from(self.limits.slots).unwrap_or(usize::MAX);
        let most_adapters = usize::try_from(self.limits.adapters).unwrap_or(usize::MAX);
        let mut adapters = self.adapters_in_use();
        let mut passed_over = None;
        while *budget > 0 && self.running.len() < slots {
            let next = match passed_over {
                None => self.waiting.iter().next(),
                Some(last) => self.waiting.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).next(),
            };
            let Some((&order, &id)) = next else { break };
            let Some(sequence) = self.sequences.get(&id) else { break };
            if let Some(adapter) = sequence.work.adapter
                && !adapters.contains(&adapter)
            {
                if adapters.len() >= most_adapters {
                    passed_over = Some(order);
                    continue;
                }
                adapters.push(adapter);
            }
            let Some(tokens) = self.join(id, *budget, now) else { break };
            self.waiting.remove(&order);
            self.running.push(id);
            *budget -= tokens;
        }
    }

    fn adapters_in_use(&self) -> Vec<u32> {
        let mut adapters: Vec<u32> =
            self.running.iter().filter_map(|id| self.sequences.get(id)?.work.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        adapters
    }

    /// Gives a waiting sequence its cached prefix and its first tokens. All of it must fit into the free blocks, so that it
    /// is not preempted at once.
    fn join(&mut self, id: u64, budget: u32, now: Duration) -> Option<u32> {
        let found = self.cached_prefix(id);
        let sequence = self.sequences.get(&id)?;
        let whole = sequence.length().div_ceil(self.limits.block_size);
        let found_count = u32::try_from(found.len()).unwrap_or(0);
        let revived = u32::try_from(found.iter().filter(|(block, _)| self.pool.is_unused(*block)).count()).unwrap_or(0);
        if whole - found_count + revived > self.pool.free() {
            return None;
        }
        let cached = found_count * self.limits.block_size;
        let tokens = (sequence.length() - cached).min(budget);
        for (block, _) in &found {
            self.pool.share(*block);
        }
        let caching = self.limits.prefix_caching;
        let sequence = self.sequences.get_mut(&id)?;
        if !sequence.began {
            sequence.began = true;
            sequence.story.began = now;
            sequence.story.cached = cached;
            if caching {
                self.counts.queried += u64::from(sequence.length());
                self.counts.hits += u64::from(cached);
            }
        }
        sequence.computed = cached;
        sequence.filled = (found_count, found.last().map_or(0, |(_, hash)| *hash));
        sequence.blocks = found.into_iter().map(|(block, _)| block).collect();
        self.reserve(id, tokens).then(|| self.schedule(id, tokens))?;
        Some(tokens)
    }

    /// The blocks that hold the sequence's beginning. The last token is always computed, because the next follows from it.
    fn cached_prefix(&self, id: u64) -> Vec<(Block, u64)> {
        let Some(sequence) = self.sequences.get(&id).filter(|_| self.limits.prefix_caching) else { return Vec::new() };
        let most = (sequence.length() - 1) / self.limits.block_size;
        let mut found = Vec::new();
        let mut before = 0;
        for at in 0..most {
            before = sequence.hash(at, before);
            let Some(block) = self.pool.find(before) else { break };
            found.push((block, before));
        }
        found
    }

    /// Takes the blocks for `tokens` more tokens; takes none when there are too few.
    fn reserve(&mut self, id: u64, tokens: u32) -> bool {
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        let wanted = (sequence.computed + tokens).div_ceil(self.limits.block_size);
        let more = wanted.saturating_sub(u32::try_from(sequence.blocks.len()).unwrap_or(u32::MAX));
        if more > self.pool.free() {
            return false;
        }
        sequence.blocks.extend((0..more).map_while(|_| self.pool.take()));
        true
    }

    /// Puts tokens into the step. Blocks that become full with it can be found from now on: whoever finds them is computed
    /// after them.
    fn schedule(&mut self, id: u64, tokens: u32) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        sequence.scheduled = tokens;
        if !self.limits.prefix_caching {
            return;
        }
        let full = (sequence.computed + tokens) / self.limits.block_size;
        while sequence.filled.0 < full {
            let (at, before) = sequence.filled;
            let hash = sequence.hash(at, before);
            if let Some(block) = usize::try_from(at).ok().and_then(|at| sequence.blocks.get(at)) {
                self.pool.fill(*block, hash);
            }
            sequence.filled = (at + 1, hash);
        }
    }

    /// Ends the step that was begun, at `now`: every sequence that is wholly computed gets a token.
    pub(crate) fn end(&mut self, now: Duration) -> Vec<Progress> {
        let mut all = Vec::new();
        self.counts.steps += 1;
        for id in &self.running {
            let Some(sequence) = self.sequences.get_mut(id) else { continue };
            let tokens = std::mem::take(&mut sequence.scheduled);
            self.counts.step_tokens += u64::from(tokens);
            sequence.computed += tokens;
            if tokens == 0 || sequence.computed < sequence.length() {
                continue;
            }
            let first = sequence.made == 0;
            sequence.made += u32::from(sequence.work.tokens > 0);
            let gap = (!first).then(|| now.saturating_sub(sequence.story.last));
            if first {
                sequence.story.first = now;
            }
            sequence.story.last = now;
            let finish = (sequence.made == sequence.work.tokens).then_some(sequence.work.finish);
            all.push(Progress { id: *id, made: sequence.made, gap, story: sequence.story, finish });
        }
        for done in all.iter().filter(|progress| progress.finish.is_some()) {
            self.remove(done.id);
        }
        all
    }

    /// Gives a sequence's blocks back, its last first: the beginning of a text is the most likely to be asked for again.
    fn release(&mut self, id: u64) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            for block in sequence.blocks.drain(..).rev() {
                self.pool.give_back(block);
            }
            sequence.filled = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests;
