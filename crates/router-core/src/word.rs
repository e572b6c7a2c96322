//! One word of memory that several threads share.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the counters of an endpoint need of an atomic word. In tests a model checker's word stands in for the real one, so
/// that what it goes through is the code that runs.
pub trait Word {
    /// The present value.
    fn get(&self) -> u64;
    /// Adds, and gives what was there before.
    fn add(&self, amount: u64) -> u64;
    /// Subtracts, and gives what was there before.
    fn sub(&self, amount: u64) -> u64;
    /// Puts `new` where `old` is; whether it was there.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// Each word stands for itself and publishes no other memory, so no ordering beyond its own is needed.
impl Word for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn add(&self, amount: u64) -> u64 {
        self.fetch_add(amount, Ordering::Relaxed)
    }

    fn sub(&self, amount: u64) -> u64 {
        self.fetch_sub(amount, Ordering::Relaxed)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Loom's word, with the same orderings.
#[cfg(test)]
impl Word for loom::sync::atomic::AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn add(&self, amount: u64) -> u64 {
        self.fetch_add(amount, Ordering::Relaxed)
    }

    fn sub(&self, amount: u64) -> u64 {
        self.fetch_sub(amount, Ordering::Relaxed)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
