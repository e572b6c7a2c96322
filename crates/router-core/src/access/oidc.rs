//! Tokens of an issuer that a policy names.

use serde::{Deserialize, Serialize};

use super::jwt::{Jwt, Unfit};
use super::key_set::{KeySet, Unsigned};
use super::{Caller, Digest, ISSUED, digest};

/// An issuer, and which of its tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oidc {
    /// Its name for itself: the claim `iss`, and where its description is found.
    pub issuer: String,
    /// A token is taken that is for one of these.
    pub audiences: Vec<String>,
    /// Where its keys are; absent: where its description says.
    pub jwks: Option<String>,
    /// The claim that names the caller.
    pub claim: String,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The issuer.
    pub issuer: String,
    /// Where its keys are; absent: where its description says.
    pub jwks: Option<String>,
}

/// Why a token does not tell who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// What it says does not do.
    Unfit(Unfit),
    /// The issuer did not sign it.
    Unsigned(Unsigned),
}

impl Oidc {
    /// Where the keys come from.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { issuer: self.issuer.clone(), jwks: self.jwks.clone() }
    }

    /// What stands for a token that is judged by these rules and this version of the issuer's keys.
    #[must_use]
    pub fn digest(&self, version: u64, token: &Jwt<'_>) -> Digest {
        let version = version.to_string();
        let audiences = self.audiences.join("\n");
        let jwks = self.jwks.as_deref().unwrap_or_default();
        digest(&[&self.issuer, jwks, &audiences, &self.claim, &version, token.text()])
    }

    /// Whether the token says that it is for one of the audiences.
    pub(super) fn takes(&self, token: &Jwt<'_>) -> bool {
        self.audiences.iter().any(|audience| token.is_for(audience))
    }

    /// Who calls with this token, `now` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When the token does not prove it.
    pub fn check(&self, token: &Jwt<'_>, keys: &KeySet, now: i64) -> Result<Caller, Untrusted> {
        if token.issuer() != Some(&self.issuer) || !self.takes(token) {
            return Err(Untrusted::Unfit(Unfit::Audience));
        }
        token.timely(now).map_err(Untrusted::Unfit)?;
        let name = token.caller(&self.claim).map_err(Untrusted::Unfit)?;
        keys.confirm(token).map_err(Untrusted::Unsigned)?;
        Ok(Caller::Issued(format!("{ISSUED}{name}")))
    }
}
