//! API keys: `qm_NAME_SECRET`. What is kept of one is a salted hash, under the caller's name, so that one look finds the one
//! hash to compare with, and whoever reads what is kept can call nobody's name. The secret is 32 random bytes: nobody guesses
//! it, so a fast hash is as good as a slow one.

use std::collections::HashMap;
use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::Denied;

/// What every key begins with. It tells keys of this router from those of providers, which SDKs send unasked.
pub(super) const PREFIX: &str = "qm_";
/// How a kept hash begins: HMAC-SHA256 with the salt as its key.
const VERSION: &str = "v1";
/// Fewest bytes of a salt.
const LEAST_SALT: usize = 16;
/// Fewest characters of a secret: 32 random bytes as hexadecimal digits have 64.
const LEAST_SECRET: usize = 32;

/// The keys that are kept, by namespace and caller; a namespace that is not there was not read yet. A caller may have several, so that one can be replaced while the other
/// is still in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(HashMap<Box<str>, HashMap<Box<str>, Vec<KeptKey>>>);

/// What is kept of one key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptKey {
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// A line that is not what is kept of a key. It does not repeat the line, which might be a key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is a key in clear text.
    Clear,
    /// It is not `v1:SALT:HASH`.
    Form,
    /// Its salt is too short, or is no hexadecimal number.
    Salt,
    /// Its hash is not of 32 bytes as hexadecimal digits.
    Hash,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "it is a key in clear text; keep v1:SALT:HASH of it, and give out a new one",
            Self::Form => "it is not of the form v1:SALT:HASH",
            Self::Salt => "its salt must be 16 bytes or more, as hexadecimal digits",
            Self::Hash => "its hash must be the HMAC-SHA256 of the secret, as 64 hexadecimal digits",
        })
    }
}

impl fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptKey")
    }
}

impl KeptKey {
    /// Reads one line: `v1:SALT:HASH`, in hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When the line has another form.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        if line.starts_with(PREFIX) {
            return Err(KeyError::Clear);
        }
        let mut parts = line.split(':');
        let (Some(VERSION), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::Form);
        };
        let salt = bytes(salt).filter(|salt| salt.len() >= LEAST_SALT).ok_or(KeyError::Salt)?;
        let hash = bytes(hash).filter(|hash| hash.len() == 32).ok_or(KeyError::Hash)?;
        Ok(Self { salt, hash })
    }

    /// Whether this is what is kept of a key with this secret. It takes as long for every wrong secret of the same length.
    fn is_of(&self, secret: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.salt);
        hmac::verify(&key, secret.as_bytes(), &self.hash).is_ok()
    }
}

impl Keys {
    /// The keys of `namespace`, each with its caller, are these.
    pub fn set(&mut self, namespace: &str, keys: impl IntoIterator<Item = (String, KeptKey)>) {
        let mut callers: HashMap<Box<str>, Vec<KeptKey>> = HashMap::new();
        for (caller, key) in keys {
            callers.entry(caller.into()).or_default().push(key);
        }
        self.0.insert(namespace.into(), callers);
    }

    /// Forgets the keys of namespaces that are not to stay.
    pub fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.0.retain(|namespace, _| stays(namespace));
    }

    /// Whether the keys of `namespace` are known.
    #[must_use]
    pub fn knows(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    /// Who shows this key to a policy of `namespace`.
    pub(super) fn holder<'a>(&self, namespace: &str, shown: &'a str) -> Result<&'a str, Denied> {
        let parts = shown.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('_'));
        let (caller, secret) = parts.ok_or(Denied::Unknown)?;
        let callers = self.0.get(namespace).ok_or(Denied::Unread)?;
        let kept = callers.get(caller).map_or(&[][..], Vec::as_slice);
        // A caller that is not there takes as long as one that is, so that names cannot be found by the clock.
        let nobody = [KeptKey { salt: vec![0; LEAST_SALT], hash: vec![0; 32] }];
        let compared = if kept.is_empty() { &nobody[..] } else { kept };
        let right = compared.iter().fold(false, |right, key| key.is_of(secret) | right);
        if right && !kept.is_empty() && secret.len() >= LEAST_SECRET { Ok(caller) } else { Err(Denied::Unknown) }
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
