//! What the whole process has in hand at once, and may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by all workers. Counts only: nothing is ever waited for here.
#[derive(Debug, Default)]
pub(crate) struct Load {
    requests: AtomicUsize,
    body_bytes: AtomicUsize,
}

impl Load {
    /// Counts one more request, unless there are `most` already.
    pub(crate) fn admit(self: &Arc<Self>, most: usize) -> Option<Admitted> {
        let admitted = Admitted(Arc::clone(self));
        (self.requests.fetch_add(1, Ordering::Relaxed) < most).then_some(admitted)
    }

    /// Begins to count the bytes of one body.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { load: Arc::clone(self), bytes: 0 }
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies held.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }
}

/// One request under way; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Load>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes of one body; they count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    load: Arc<Load>,
    bytes: usize,
}

impl Held {
    /// Counts the body as this large from now on; `false`, and as before, when all bodies together then had more than
    /// `most` bytes.
    pub(crate) fn grow_to(&mut self, bytes: usize, most: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        if self.load.body_bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more) > most {
            self.load.body_bytes.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.load.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_a_limit_and_back_to_nothing() {
        let load = Arc::new(Load::default());
        let (first, second) = (load.admit(2), load.admit(2));
        assert!(first.is_some() && second.is_some() && load.admit(2).is_none());
        drop(first);
        assert!(load.admit(2).is_some());
        drop(second);
        assert_eq!(load.requests(), 0);

        let (mut one, mut other) = (load.hold(), load.hold());
        assert!(one.grow_to(60, 100) && !other.grow_to(41, 100) && other.grow_to(40, 100));
        assert!(one.grow_to(50, 100), "a body that shrinks counts as before");
        assert_eq!(load.body_bytes(), 100);
        drop(one);
        assert!(other.grow_to(100, 100));
        drop(other);
        assert_eq!(load.body_bytes(), 0);
    }
}
