//! Providers' keys, as far as they are known. They live in memory only, and nothing shows them.

use std::collections::HashMap;
use std::fmt;

use http::HeaderValue;
use router_core::{RemoteInput, SecretKey};
use zeroize::Zeroizing;

/// Longest key that is taken.
const MOST: usize = 8 * 1024;

/// A provider's key. What shows it is only what sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<Box<[u8]>>);

impl Key {
    /// A key out of a Secret. Space around it is no part of it: a line feed at the end is a common mistake.
    ///
    /// # Errors
    ///
    /// When it is empty, or holds what can stand in no header.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyFault> {
        let bytes = bytes.trim_ascii();
        let fits = !bytes.is_empty() && bytes.len() <= MOST && bytes.iter().all(u8::is_ascii_graphic);
        if fits { Ok(Self(Zeroizing::new(bytes.into()))) } else { Err(KeyFault::Malformed) }
    }

    /// The key after this word, as a header that no Debug shows.
    pub(crate) fn header(&self, word: &str) -> Option<HeaderValue> {
        let mut text = Zeroizing::new(Vec::with_capacity(word.len() + self.0.len()));
        text.extend_from_slice(word.as_bytes());
        text.extend_from_slice(&self.0);
        let mut value = HeaderValue::from_bytes(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether the key stands in this text.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        memchr::memmem::find(text, &self.0).is_some()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The Secret was not asked for yet, or the API server has not answered.
    #[error("its Secret was not read yet")]
    Unread,
    /// There is no such Secret.
    #[error("its Secret does not exist")]
    Missing,
    /// The Secret has no such key.
    #[error("its Secret has no such key")]
    NoKey,
    /// The router may not read it.
    #[error("its Secret may not be read: add it to the chart's value credentials")]
    Denied,
    /// The key is empty, or no text.
    #[error("the key in its Secret is empty, or holds characters that no key has")]
    Malformed,
    /// The Secret does not name the target's host.
    #[error("its Secret is not meant for its host: annotate it with quartermaster.dev/hosts")]
    OtherHost,
}

/// What a Secret holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key itself.
    pub key: Key,
    /// Hosts that the Secret names.
    pub hosts: Vec<String>,
    /// Changes with the key.
    pub version: u64,
}

/// All keys that policies name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(pub(crate) HashMap<SecretKey, Result<Held, KeyFault>>);

impl Secrets {
    /// These keys.
    #[must_use]
    pub fn new(held: impl IntoIterator<Item = (SecretKey, Result<Held, KeyFault>)>) -> Self {
        Self(held.into_iter().collect())
    }

    /// The key that a target is to be used with; `None` where it needs none.
    pub(crate) fn for_target(&self, input: &RemoteInput) -> Result<Option<Key>, KeyFault> {
        let Some(secret) = &input.secret else { return Ok(None) };
        let held = self.0.get(secret).unwrap_or(&Err(KeyFault::Unread)).as_ref().map_err(|fault| *fault)?;
        if input.host_is_chosen && !held.hosts.contains(&input.host) {
            return Err(KeyFault::OtherHost);
        }
        Ok(Some(held.key.clone()))
    }

    /// What tells this value of the target's key from others.
    pub(crate) fn version(&self, secret: &SecretKey) -> u64 {
        self.0.get(secret).and_then(|held| held.as_ref().ok()).map_or(0, |held| held.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_trimmed_checked_and_never_shown() {
        let key = Key::new(b" sk-canary\r\n").unwrap();
        assert_eq!(key.header("Bearer ").unwrap().as_bytes(), b"Bearer sk-canary");
        let shown = format!("{key:?} {:?} {:?}", key.header(""), Held { key: key.clone(), hosts: vec![], version: 1 });
        assert!(!shown.contains("canary"), "{shown}");
        assert!(key.is_in(b"no such key: sk-canary!") && !key.is_in(b"sk-canar"));
        for bad in [&b""[..], b"  \n", b"a b", b"a\nb", b"\xff", &[b'x'; MOST + 1]] {
            assert_eq!(Key::new(bad), Err(KeyFault::Malformed));
        }
    }
}
