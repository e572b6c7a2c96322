//! The keys of the issuers that policies name, and whose the tokens are that these have signed.

mod keep;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use router_core::{Caller, Denied, Finding, Findings, Jwt, KeySet, Oidc, Source, Unsigned, Untrusted};
use tokio::sync::mpsc;

pub(crate) use keep::QUEUE;
pub use keep::keep;

/// For how many seconds a token is not looked into again. Its end and the issuer's keys are still heeded.
const GOOD_FOR: i64 = 300;
/// Most tokens whose finding a worker keeps: some 200 bytes each.
const MOST: usize = 4096;
/// For how long the keys of an issuer are taken for all that there are. A token of a key that is not among older ones makes them
/// be read again, and so often at most.
const LATEST: Duration = Duration::from_secs(10);

/// The keys of all issuers that policies name, as far as they were read.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    sets: HashMap<Source, Known>,
    /// Who is told that the keys of an issuer should be read again.
    again: Option<mpsc::Sender<Source>>,
}

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) keys: Arc<KeySet>,
    /// Another one for other keys.
    pub(crate) version: u64,
    /// When they were read, in seconds since 1970.
    pub(crate) read: i64,
}

/// What a worker found about tokens lately.
#[derive(Debug)]
pub(crate) struct Tokens(RefCell<Findings<Caller>>);

impl Default for Tokens {
    fn default() -> Self {
        Self(RefCell::new(Findings::new(MOST)))
    }
}

impl Issuers {
    /// None yet; `again` is told which should be read again.
    #[must_use]
    pub fn asking(again: mpsc::Sender<Source>) -> Self {
        Self { sets: HashMap::new(), again: Some(again) }
    }

    pub(crate) fn known(&self, source: &Source) -> Option<&Known> {
        self.sets.get(source)
    }

    pub(crate) fn set(&mut self, source: Source, known: Known) {
        self.sets.insert(source, known);
    }

    /// Forgets the issuers that are not to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Source) -> bool) {
        self.sets.retain(|source, _| stays(source));
    }

    /// Who calls with this token, `now` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When the token does not prove it; or when that cannot be said, because the issuer's keys were not read, or not
    /// lately.
    pub(crate) fn caller(&self, token: &Jwt<'_>, oidc: &Oidc, lately: &Tokens, now: i64) -> Result<Caller, Denied> {
        let source = oidc.source();
        let Some(known) = self.sets.get(&source) else { return Err(self.unread(source)) };
        let (digest, mut lately) = (oidc.digest(known.version, token), lately.0.borrow_mut());
        if let Some(finding) = lately.get(&digest).filter(|finding| finding.fresh_until > now) {
            return Ok(finding.found);
        }
        match oidc.check(token, &known.keys, now) {
            Ok(caller) => {
                let until = token.expires().map_or(now, |ends| ends.min(now + GOOD_FOR));
                lately.put(digest, Finding { found: caller.clone(), fresh_until: until, good_until: until });
                Ok(caller)
            }
            // The issuer may have a new key. Whoever sends unknown ones without end has them read once in a while only.
            Err(Untrusted::Unsigned(Unsigned::NoKey)) if now.abs_diff(known.read) >= LATEST.as_secs() => {
                Err(self.unread(source))
            }
            Err(_) => Err(Denied::Unknown),
        }
    }

    /// Has the keys of an issuer read again soon.
    fn unread(&self, source: Source) -> Denied {
        if let Some(again) = &self.again {
            // A full queue holds enough to be done already.
            let _ = again.try_send(source);
        }
        Denied::Unread
    }
}
