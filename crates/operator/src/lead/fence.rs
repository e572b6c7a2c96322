//! Keeps a process that leads no longer from writing.
//!
//! The fence is open while the Lease is ours for certain. It closes by itself as time goes by, so that a process which was
//! stopped, starved or cut off finds it closed, whatever it was doing. Every request that changes something passes it twice
//! (see `cluster`), and a thread of its own ends the process when it has closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use operator_core::lead::{Lost, Term};

/// How often the thread looks.
const LOOK: Duration = Duration::from_millis(50);

/// When writes may be sent.
#[derive(Debug)]
pub(crate) struct Fence {
    began: Instant,
    /// In microseconds since `began`.
    from: AtomicU64,
    /// The same. Zero: not yet.
    until: AtomicU64,
}

impl Fence {
    /// A closed one.
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), from: AtomicU64::new(0), until: AtomicU64::new(0) })
    }

    /// One that is always open, for an operator that is alone.
    pub(crate) fn open() -> Arc<Self> {
        let fence = Self::closed();
        fence.until.store(u64::MAX, Ordering::Release);
        fence
    }

    /// Opens it for a term.
    pub(crate) fn extend(&self, term: Term) {
        self.from.store(self.since_start(term.from), Ordering::Release);
        self.until.store(self.since_start(term.until), Ordering::Release);
    }

    /// Closes it, because nothing more is to be written.
    pub(crate) fn close(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether a write may be sent at `now`.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let now = self.since_start(now);
        let until = self.until.load(Ordering::Acquire);
        now < until && now >= self.from.load(Ordering::Acquire)
    }

    /// Whether it was open once, and closed because the Lease was not renewed.
    fn expired(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until != 0 && self.since_start(now) >= until
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Ends the process as soon as `fence` has expired. This is a thread and not a task: it must come to its turn also when the
/// runtime does not.
pub(crate) fn guard(fence: Arc<Fence>) -> io::Result<()> {
    let look = move || {
        while !fence.expired(Instant::now()) {
            thread::park_timeout(LOOK);
        }
        leave(&Lost::Late);
    };
    thread::Builder::new().name("fence".to_owned()).spawn(look).map(|_| ())
}

/// Ends the process, with a failure, because it may not write any more. Another process begins in its place with nothing
/// in its memory; to go on in this one would mean to find every task that still believes that it leads.
pub(crate) fn leave(why: &Lost) -> ! {
    tracing::error!(%why, "this operator leads no longer, and ends");
    telemetry::log::flush();
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_open_for_its_term_only() {
        let fence = Fence::closed();
        let at = |seconds: u64| fence.began + Duration::from_secs(seconds);
        let seen = |seconds: &[u64]| seconds.iter().map(|s| fence.allows(at(*s))).collect::<Vec<_>>();
        assert_eq!(seen(&[0, 1, 100]), [false, false, false]);
        assert!(!fence.expired(at(100)), "it never was open");
        fence.extend(Term { from: at(1), until: at(10) });
        assert_eq!(seen(&[0, 1, 9, 10]), [false, true, true, false]);
        assert_eq!((fence.expired(at(9)), fence.expired(at(10))), (false, true));
        fence.extend(Term { from: at(1), until: at(12) });
        assert_eq!(seen(&[9, 11, 12]), [true, true, false]);
        fence.close();
        assert_eq!(seen(&[1, 9, 11]), [false, false, false]);
        assert!(!fence.expired(at(100)), "it was closed on purpose");
        assert!(Fence::open().allows(Instant::now()));
    }
}
