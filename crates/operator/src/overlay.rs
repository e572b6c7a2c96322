//! What we wrote, until the watch has told us of it.
//!
//! A reconcile that runs between our write and its echo would see the world as it was, and write the same again. So each
//! write is remembered with the version of the object that it was made over; as long as the store still holds that version,
//! the remembered result is what there is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Echoes come within milliseconds, or a watch is broken and will list anew.
const KEEP: Duration = Duration::from_secs(60);

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

    /// What `key` is now, when the store holds `stored` at `version`.
    pub(crate) fn latest(&self, key: &K, version: Option<&str>, stored: Option<V>, now: Instant) -> Option<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(key) {
            Some(entry) if entry.over.as_deref() == version && now.saturating_duration_since(entry.at) < KEEP => {
                entry.result.clone()
            }
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
            assert_eq!(overlay.latest(&"a", version, stored, now + at), want, "{version:?}");
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
}
