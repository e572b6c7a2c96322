//! How much an endpoint carries right now, counted by those who send to it.

use std::sync::atomic::AtomicU64;

use crate::word::Word;

/// Bytes of a request that make about one prompt token: English text and JSON.
const BYTES_PER_PROMPT_TOKEN: u64 = 4;
/// Bytes of a stream that make about one token: an event of vLLM's is mostly the same envelope around a word.
const BYTES_PER_STREAMED_TOKEN: u64 = 256;
/// Tokens that an answer is taken to have where the request sets no limit.
const ASSUMED_OUTPUT: u64 = 512;
/// Most tokens that one request counts for. Whoever sends a request chooses its limits; no more fits into an engine.
const MOST_TOKENS: u64 = 1 << 20;

/// What a request is expected to cost an engine, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the prompt, estimated from its size.
    pub prompt: u64,
    /// Tokens that the answer may have: its limit where one is known.
    pub output: u64,
}

impl Work {
    /// The work of a request with a prompt of `bytes`, and at most `most_tokens` in all its answers together.
    #[must_use]
    pub fn estimate(bytes: usize, most_tokens: Option<u64>) -> Self {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let output = most_tokens.unwrap_or(ASSUMED_OUTPUT);
        Self { prompt: (bytes / BYTES_PER_PROMPT_TOKEN).min(MOST_TOKENS), output: output.min(MOST_TOKENS) }
    }

    /// Both together.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.prompt + self.output
    }
}

/// What this router has under way at one endpoint. Shared by all threads, and by every table that knows the endpoint, so
/// that a new table does not forget what an old one sent.
#[derive(Debug, Default)]
pub struct Load<W = AtomicU64> {
    requests: W,
    tokens: W,
}

impl<W: Word> Load<W> {
    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.requests.get()
    }

    /// Tokens under way: the prompts of those requests, and what is left of their answers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens.get()
    }

    /// Counts one more request.
    pub(crate) fn enter(&self, work: Work) -> Share {
        self.requests.add(1);
        self.tokens.add(work.tokens());
        Share { held: work.tokens(), output: work.output, bytes: 0 }
    }

    /// So many bytes of the request's stream have passed: there is less of its answer left. The shared count is touched
    /// once in many tokens, not for each.
    pub(crate) fn streamed(&self, share: &mut Share, bytes: usize) {
        const STEP: u64 = 16;
        share.bytes = share.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if share.bytes >= STEP * BYTES_PER_STREAMED_TOKEN {
            let done = (share.bytes / BYTES_PER_STREAMED_TOKEN).min(share.output);
            share.bytes %= BYTES_PER_STREAMED_TOKEN;
            if done > 0 {
                share.output -= done;
                share.held -= done;
                self.tokens.sub(done);
            }
        }
    }

    /// The request is over.
    pub(crate) fn leave(&self, share: &Share) {
        self.tokens.sub(share.held);
        self.requests.sub(1);
    }
}

/// What one request has added to a [`Load`] and not taken back.
#[derive(Debug)]
pub(crate) struct Share {
    held: u64,
    /// Part of `held` that is still to be answered.
    output: u64,
    /// Bytes that have passed and are not counted yet.
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64 as LoomWord;
    use loom::thread;

    #[test]
    fn work_is_bounded_whatever_is_asked_for() {
        let cases = [
            ((400, Some(100)), (100, 100)),
            ((0, None), (0, ASSUMED_OUTPUT)),
            ((3, Some(0)), (0, 0)),
            ((usize::MAX, Some(u64::MAX)), (MOST_TOKENS, MOST_TOKENS)),
        ];
        for ((bytes, most_tokens), (prompt, output)) in cases {
            assert_eq!(Work::estimate(bytes, most_tokens), Work { prompt, output }, "{bytes} {most_tokens:?}");
        }
    }

    #[test]
    fn an_answer_counts_down_and_never_below_its_prompt() {
        let load: Load = Load::default();
        let mut share = load.enter(Work { prompt: 10, output: 100 });
        let other = load.enter(Work { prompt: 1, output: 1 });
        assert_eq!((load.in_flight(), load.tokens()), (2, 112));
        for (bytes, left) in [(256, 112), (15 * 256, 96), (40 * 256, 56), (1 << 40, 12), (1 << 40, 12)] {
            load.streamed(&mut share, bytes);
            assert_eq!(load.tokens(), left, "{bytes}");
        }
        load.leave(&share);
        assert_eq!((load.in_flight(), load.tokens()), (1, 2));
        load.leave(&other);
        assert_eq!((load.in_flight(), load.tokens()), (0, 0));
    }

    #[test]
    fn threads_leave_nothing_behind() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let load = Arc::new(Load::<LoomWord> { requests: LoomWord::new(0), tokens: LoomWord::new(0) });
            let request = |output: u64| {
                let load = Arc::clone(&load);
                thread::spawn(move || {
                    let mut share = load.enter(Work { prompt: 3, output });
                    assert!(load.tokens() >= 3 + output, "its own share is always in the count");
                    load.streamed(&mut share, 1 << 20);
                    load.leave(&share);
                })
            };
            let threads = [request(5), request(7)];
            assert!(load.in_flight() <= 2 && load.tokens() <= 18);
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!((load.in_flight(), load.tokens()), (0, 0));
        });
    }
}
