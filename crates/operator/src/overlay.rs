//! What we wrote, until the watch has told us of it.
//!
//! A reconcile that runs between our write and its echo would see the world as it was, and write the same again. So each
//! write is remembered with the version of the object that it was made over; as long as the store still holds that version,
//! the remembered result is what there is. That does not tell of an object that came and went between two looks, with nothing
//! in the store before and after; for those there is [`Gone`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Echoes come within milliseconds, or a watch is broken and will list anew.
const KEEP: Duration = Duration::from_secs(60);

/// Objects that watches have lately told to be deleted, by UID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<Mutex<HashMap<String, Instant>>>);

impl Gone {
    /// Notes that the object with this UID was deleted.
    pub(crate) fn note(&self, uid: String, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As long as a write is remembered, it must be known that its object is gone.
        all.retain(|_, at| now.saturating_duration_since(*at) < 2 * KEEP);
        all.insert(uid, now);
    }

    /// Whether the object with this UID is known to be deleted.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uid)
    }
}

/// Results of writes by key, each `None` for a deletion.
#[derive(Debug)]
pub(crate) struct Overlay<K, V>(Mutex<HashMap<K, Entry<V>>>);

#[derive(Debug)]
struct Entry<V> {
    /// Resource version in the store just before the write was made; `None` when there was no object.
    over: Option<String>,
    result: Option<V>,
    at: Instant,
}

impl<K, V> Default for Overlay<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Overlay<K, V> {
    /// Remembers that `key`, whose version in the store was `over` before the write, is now `result`. It must be the version
    /// from before: by the time that the API server has answered, the store may hold something newer than the result.
    pub(crate) fn wrote(&self, key: K, over: Option<String>, result: Option<V>, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, entry| now.saturating_duration_since(entry.at) < KEEP);
        all.insert(key, Entry { over, result, at: now });
    }

    /// What `key` is now, when the store holds `stored` at `version` and `gone` tells which results are deleted.
    pub(crate) fn latest(
        &self,
        key: &K,
        version: Option<&str>,
        stored: Option<V>,
        now: Instant,
        gone: impl Fn(&V) -> bool,
    ) -> Option<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |entry: &Entry<V>| {
            entry.over.as_deref() == version
                && now.saturating_duration_since(entry.at) < KEEP
                && !entry.result.as_ref().is_some_and(&gone)
        };
        match all.get(key) {
            Some(entry) if holds(entry) => entry.result.clone(),
            Some(_) => {
                all.remove(key);
                stored
            }
            None => stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_write_holds_until_the_store_moves() {
        let now = Instant::now();
        let overlay = Overlay::default();
        let check = |version: Option<&str>, stored: Option<i32>, at: Duration, want: Option<i32>| {
            assert_eq!(overlay.latest(&"a", version, stored, now + at, |_| false), want, "{version:?}");
        };
        check(Some("1"), Some(10), Duration::ZERO, Some(10));
        overlay.wrote("a", Some("1".to_owned()), Some(20), now);
        check(Some("1"), Some(10), Duration::ZERO, Some(20));
        check(Some("2"), Some(21), Duration::ZERO, Some(21));
        check(Some("1"), Some(10), Duration::ZERO, Some(10));

        overlay.wrote("a", None, Some(20), now);
        check(None, None, Duration::ZERO, Some(20));
        overlay.wrote("a", Some("3".to_owned()), None, now);
        check(Some("3"), Some(20), Duration::ZERO, None);
        check(Some("3"), Some(20), KEEP, Some(20));
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_gone() {
        let (now, overlay, gone) = (Instant::now(), Overlay::default(), Gone::default());
        let look = || overlay.latest(&"a", None, None, now, |uid: &&str| gone.has(uid));
        overlay.wrote("a", None, Some("first"), now);
        gone.note("another".to_owned(), now);
        assert_eq!(look(), Some("first"));
        gone.note("first".to_owned(), now);
        assert_eq!(look(), None);
        // Also when the watch was faster than the answer to the write.
        gone.note("second".to_owned(), now);
        overlay.wrote("a", None, Some("second"), now);
        assert_eq!(look(), None);
        gone.note("late".to_owned(), now + 2 * KEEP);
        assert!(!gone.has("first"), "it is not remembered for ever");
    }
}
