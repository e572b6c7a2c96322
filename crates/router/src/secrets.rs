//! Providers' keys, as far as they are known. They live in memory only, and nothing shows them.

use std::collections::HashMap;
use std::fmt;

use http::HeaderValue;
use router_core::{RemoteInput, SecretKey, sigv4};
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

    /// The key as text. All of its bytes are letters, digits and signs.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
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

/// An AWS access key, with which requests are signed. It is sent nowhere, but for the token of temporary credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    id: Key,
    secret: Key,
    token: Option<Key>,
}

impl AccessKey {
    /// The key as what signs takes it.
    pub(crate) fn to_sign(&self) -> sigv4::AccessKey<'_> {
        let (id, secret, token) = (self.id.text(), self.secret.text(), self.token.as_ref().map(Key::text));
        sigv4::AccessKey { id, secret, token }
    }
}

/// What a target is used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A key that is sent.
    Key(Key),
    /// A key that signs.
    Aws(Box<AccessKey>),
}

impl Credentials {
    /// The key that is sent, if it is one.
    pub(crate) fn key(&self) -> Option<&Key> {
        if let Self::Key(key) = self { Some(key) } else { None }
    }

    /// Whether anything that is secret of it stands in this text.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Self::Key(key) => key.is_in(text),
            Self::Aws(key) => key.secret.is_in(text) || key.token.as_ref().is_some_and(|token| token.is_in(text)),
        }
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

    /// What a target is to be used with; `None` where it needs nothing.
    pub(crate) fn for_target(&self, input: &RemoteInput) -> Result<Option<Credentials>, KeyFault> {
        let keys = input.secret_keys();
        let Some(first) = keys.first() else { return Ok(None) };
        let held = self.held(first)?;
        if input.host_is_chosen && !held.hosts.contains(&input.host) {
            return Err(KeyFault::OtherHost);
        }
        let [_, secret, token] = keys.as_slice() else { return Ok(Some(Credentials::Key(held.key.clone()))) };
        let token = match self.held(token) {
            Ok(token) => Some(token.key.clone()),
            // Only temporary credentials have one.
            Err(KeyFault::NoKey) => None,
            Err(fault) => return Err(fault),
        };
        let secret = self.held(secret)?.key.clone();
        Ok(Some(Credentials::Aws(Box::new(AccessKey { id: held.key.clone(), secret, token }))))
    }

    fn held(&self, secret: &SecretKey) -> Result<&Held, KeyFault> {
        self.0.get(secret).unwrap_or(&Err(KeyFault::Unread)).as_ref().map_err(|fault| *fault)
    }

    /// What tells these values of the target's keys from others.
    pub(crate) fn version(&self, input: &RemoteInput) -> u64 {
        let keys = input.secret_keys();
        let versions = keys.iter().map(|key| self.held(key).map_or(0, |held| held.version));
        versions.fold(0, |all, version| all.wrapping_mul(0x1_0000).wrapping_add(version))
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
    #[test]
    fn an_access_key_is_put_together() {
        let at = |key: &str| SecretKey { namespace: "ml".to_owned(), name: "aws".to_owned(), key: key.to_owned() };
        let held = |text: &str, version| {
            Ok(Held { key: Key::new(text.as_bytes()).unwrap(), hosts: vec!["own.example".to_owned()], version })
        };
        let input = |host_is_chosen| RemoteInput {
            api: router_core::Api::Bedrock,
            secure: true,
            host: "own.example".to_owned(),
            port: 443,
            authority: "own.example".to_owned(),
            path: String::new(),
            model: None,
            secret: Some(at("AWS_ACCESS_KEY_ID")),
            aws: Some(router_core::Aws { region: "eu-central-1".to_owned(), signs: true }),
            host_is_chosen,
            api_version: None,
            organization: None,
            project: None,
            key_version: 0,
        };
        let [id, secret, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(at);
        let long = Secrets::new([
            (id.clone(), held("AKIA", 1)),
            (secret.clone(), held("canary-secret", 1)),
            (token.clone(), Err(KeyFault::NoKey)),
        ]);
        let Ok(Some(Credentials::Aws(key))) = long.for_target(&input(true)) else { panic!("no access key") };
        let signs = key.to_sign();
        assert_eq!((signs.id, signs.secret, signs.token), ("AKIA", "canary-secret", None));
        let mut other = input(true);
        other.host = "other.example".to_owned();
        assert_eq!(long.for_target(&other), Err(KeyFault::OtherHost));

        let short = Secrets::new([
            (id.clone(), held("AKIA", 1)),
            (secret, held("canary-secret", 1)),
            (token, held("canary-token", 1)),
        ]);
        assert_ne!(long.version(&input(false)), short.version(&input(false)), "a token makes another key");
        let credentials = short.for_target(&input(false)).unwrap().unwrap();
        assert!(credentials.is_in(b"x canary-token x") && credentials.is_in(b"canary-secret"));
        assert!(!credentials.is_in(b"AKIA"), "an id is told by AWS itself");
        let shown = format!("{credentials:?} {short:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(Secrets::new([(id, held("AKIA", 1))]).for_target(&input(false)), Err(KeyFault::Unread));
    }
}
