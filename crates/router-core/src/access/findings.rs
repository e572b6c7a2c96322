//! What was found about tokens lately, so that each is looked into once in a while and not with every request. A token itself
//! is never kept: its digest stands for it.

use std::collections::HashMap;

use ring::digest;

/// What stands for a token.
pub type Digest = [u8; 32];

/// The digest of a token together with what it was judged by: under other rules it is another one.
#[must_use]
pub fn digest(parts: &[&str]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // With its length before it, a part cannot run into the next.
        context.update(&part.len().to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut made = Digest::default();
    made.copy_from_slice(context.finish().as_ref());
    made
}

/// What was found about one token. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<V> {
    /// What was found.
    pub found: V,
    /// Until then nobody needs to look again.
    pub fresh_until: i64,
    /// Until then it may be used while nobody can look again.
    pub good_until: i64,
}

/// So many findings at most. The ones that were used last stay: half of them are the younger ones, and when these are full, the
/// older half goes.
#[derive(Clone, Debug)]
pub struct Findings<V> {
    young: HashMap<Digest, Finding<V>>,
    old: HashMap<Digest, Finding<V>>,
    half: usize,
}

impl<V: Clone> Findings<V> {
    /// Keeps `most` of them.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (most / 2).max(1) }
    }

    /// What was found about this token.
    pub fn get(&mut self, token: &Digest) -> Option<Finding<V>> {
        if let Some(finding) = self.young.get(token) {
            return Some(finding.clone());
        }
        let finding = self.old.remove(token)?;
        self.put(*token, finding.clone());
        Some(finding)
    }

    /// This was found about this token.
    pub fn put(&mut self, token: Digest, finding: Finding<V>) {
        if self.young.len() >= self.half && !self.young.contains_key(&token) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&token);
        self.young.insert(token, finding);
    }

    /// How many are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
