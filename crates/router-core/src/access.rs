//! Who calls, and whether a policy lets them.
//!
//! A caller shows an API key, the token of a ServiceAccount, or a token of an issuer that the policy names. What a request
//! shows is told apart by its form alone; a key is then judged here, and of tokens what can be judged without asking anybody.

mod findings;
mod jwt;
mod key_set;
mod keys;
mod oidc;

use serde::{Deserialize, Serialize};

pub use findings::{Digest, Finding, Findings, digest};
pub use jwt::{Jwt, Unfit};
pub use key_set::{KeySet, KeySetError, Unsigned};
pub use keys::{KeptKey, KeyError, Keys};
pub use oidc::{Oidc, Source, Untrusted};

/// What the names of ServiceAccounts begin with; namespace and name follow, with a colon between them.
pub const ACCOUNT: &str = "system:serviceaccount:";
/// What stands for [`ACCOUNT`] in a policy's list, and without a namespace for an account of the policy's own.
const SHORT_ACCOUNT: &str = "sa:";
/// What the names of callers begin with that an issuer has named, so that none of them is a ServiceAccount's or a key's.
const ISSUED: &str = "oidc:";

/// What a policy says of its callers. One that says nothing lets in who has a key of its namespace or is a ServiceAccount there,
/// and nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Callers need not say who they are.
    pub anonymous: bool,
    /// The callers that are let in, by name; a trailing `*` stands for any rest. Empty: all of the policy's namespace, and all
    /// that its issuer names.
    pub allow: Vec<String>,
    /// Whose tokens are taken beside the cluster's own.
    pub oidc: Option<Oidc>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody said.
    Anonymous,
    /// The holder of an API key of the policy's namespace.
    Key(String),
    /// The ServiceAccount of this whole name.
    Account(String),
    /// Whom an issuer names so, with our own word before it.
    Issued(String),
}

/// What a request shows of its caller.
pub enum Shown<'a> {
    /// Nothing that is meant for this service: nothing at all, or a key of somebody else's.
    Nothing,
    /// What looks like a key of ours.
    Key(&'a str),
    /// What says that it is the token of a ServiceAccount, for us.
    Account(Jwt<'a>),
    /// What says that it is a token of the policy's issuer.
    Issued(Jwt<'a>, &'a Oidc),
}

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No proof, or a wrong one. Which of the two is not told.
    Unknown,
    /// The proof is right, but the policy does not let in whose it is.
    NotAllowed(Caller),
    /// Nobody can say at the moment whether the proof is right.
    Unread,
}

impl Caller {
    /// The name, as the log, rules and lists of policies have it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Key(name) | Self::Account(name) | Self::Issued(name) => Some(name),
        }
    }

    /// The name as its own.
    #[must_use]
    pub fn into_name(self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Key(name) | Self::Account(name) | Self::Issued(name) => Some(name),
        }
    }
}

impl Access {
    /// Everybody is let in, and nobody needs to say who he is.
    #[must_use]
    pub fn anyone() -> Self {
        Self { anonymous: true, ..Self::default() }
    }

    /// What a request shows, by its form alone. `audience` is what the tokens of ServiceAccounts must be for; without it they are
    /// not taken.
    #[must_use]
    pub fn shown<'a>(&'a self, shown: Option<&'a str>, audience: Option<&str>) -> Shown<'a> {
        let Some(shown) = shown else { return Shown::Nothing };
        if shown.starts_with(keys::PREFIX) {
            return Shown::Key(shown);
        }
        let Some(token) = Jwt::read(shown) else { return Shown::Nothing };
        let issued = self.oidc.as_ref().filter(|oidc| token.issuer() == Some(&oidc.issuer));
        let account = audience.is_some_and(|audience| is_account(&token, audience));
        match issued {
            // The issuer can be the cluster itself; whom a token is for tells then what it is shown as.
            Some(oidc) if oidc.takes(&token) || !account => Shown::Issued(token, oidc),
            // Tokens of others, which clients send unasked, are nothing that the API server should see.
            _ if account => Shown::Account(token),
            _ => Shown::Nothing,
        }
    }

    /// Who shows this key, if they are let in by a policy of `namespace`.
    ///
    /// # Errors
    ///
    /// When the caller is not let in.
    pub fn holder(&self, keys: &Keys, namespace: &str, shown: &str) -> Result<Caller, Denied> {
        self.admit(namespace, Caller::Key(keys.holder(namespace, shown)?.to_owned()))
    }

    /// Lets a caller in who is known, or who shows nothing that is meant for this service. `namespace` is the policy's.
    ///
    /// What is meant for this service has to be right, even where anybody is let in: what is sent under a name is not to go
    /// unnamed.
    ///
    /// # Errors
    ///
    /// When the caller is not let in.
    pub fn admit(&self, namespace: &str, caller: Caller) -> Result<Caller, Denied> {
        let allowed = self.anonymous
            || if self.allow.is_empty() {
                is_at_home(&caller, namespace)
            } else {
                self.allow.iter().any(|pattern| covers(pattern, &caller, namespace))
            };
        match caller {
            caller if allowed => Ok(caller),
            Caller::Anonymous => Err(Denied::Unknown),
            caller => Err(Denied::NotAllowed(caller)),
        }
    }
}

/// Whether a token says that it is a ServiceAccount's, for us.
fn is_account(token: &Jwt<'_>, audience: &str) -> bool {
    token.claim("sub").is_some_and(|sub| sub.starts_with(ACCOUNT)) && token.is_for(audience)
}

/// Whether a policy lets a caller in that names none. Keys are looked for in the policy's namespace only, and tokens of an
/// issuer are asked for by the policy.
fn is_at_home(caller: &Caller, namespace: &str) -> bool {
    match caller {
        Caller::Anonymous => false,
        Caller::Key(_) | Caller::Issued(_) => true,
        Caller::Account(name) => place(name).is_some_and(|(home, _)| home == namespace),
    }
}

/// Whether an entry of a policy's list stands for this caller. The name of a key has no colon in it, and the others begin with
/// a word of their own, so that `*` alone stands for keys and never for every ServiceAccount of the cluster.
fn covers(pattern: &str, caller: &Caller, namespace: &str) -> bool {
    match caller {
        Caller::Anonymous => false,
        Caller::Key(name) => !pattern.contains(':') && fits(pattern, name),
        Caller::Issued(name) => pattern.starts_with(ISSUED) && fits(pattern, name),
        Caller::Account(name) => match pattern.strip_prefix(SHORT_ACCOUNT) {
            Some(pattern) if pattern.contains(':') => {
                name.strip_prefix(ACCOUNT).is_some_and(|rest| fits(pattern, rest))
            }
            Some(pattern) => place(name).is_some_and(|(home, name)| home == namespace && fits(pattern, name)),
            None => pattern.starts_with(ACCOUNT) && fits(pattern, name),
        },
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

/// Namespace and name of a ServiceAccount.
fn place(account: &str) -> Option<(&str, &str)> {
    account.strip_prefix(ACCOUNT)?.split_once(':')
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;
