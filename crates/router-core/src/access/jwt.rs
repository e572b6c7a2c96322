//! JSON Web Tokens: what one says before anybody has checked it, and the checks of what it says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most characters of a token that is looked at. Tokens with many groups reach some kilobytes.
const MOST: usize = 16 * 1024;
/// How far the clocks of an issuer and of this router may be apart, in seconds.
pub(super) const LEEWAY: i64 = 60;
/// Most characters of a caller's name.
const MOST_NAME: usize = 253;

/// A token that has the form of one. Nothing of it is known to be true.
pub struct Jwt<'a> {
    text: &'a str,
    signed: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood. None is.
    crit: Option<Value>,
}

/// Why what a token says does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its time is over, or it does not say when it is.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is for somebody else.
    Audience,
    /// It does not name the caller.
    Nameless,
}

impl std::fmt::Debug for Jwt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jwt")
    }
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` for what is none.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        // The first character of every JSON object in base64url; it spares a look at keys of other kinds.
        if text.len() > MOST || !text.starts_with("ey") {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let claims = serde_json::from_slice(&decode(claims)?).ok()?;
        Some(Self { text, signed, signature: decode(signature)?, header, claims })
    }

    /// The token itself: a secret.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Who says that he made it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claim("iss")
    }

    /// A claim that is a text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Whether it says that it is for this audience.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one == audience),
            _ => false,
        }
    }

    /// When it ends, in seconds since 1970, if it says so as it should.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        seconds(self.claims.get("exp")?)
    }

    /// Whether its time is now.
    ///
    /// # Errors
    ///
    /// When it is over, has not come, or cannot be read.
    pub fn timely(&self, now: i64) -> Result<(), Unfit> {
        if self.expires().is_none_or(|end| end.saturating_add(LEEWAY) <= now) {
            return Err(Unfit::Expired);
        }
        match self.claims.get("nbf").map(seconds) {
            None => Ok(()),
            Some(Some(start)) if start.saturating_sub(LEEWAY) <= now => Ok(()),
            Some(_) => Err(Unfit::NotYet),
        }
    }

    /// The name of the caller in this claim. An address of mail that its owner has not confirmed names nobody.
    ///
    /// # Errors
    ///
    /// When there is none that a log can carry.
    pub fn caller(&self, claim: &str) -> Result<&str, Unfit> {
        let confirmed = claim != "email" || self.claims.get("email_verified").is_none_or(|said| *said == true);
        let name = self.claim(claim).filter(|name| !name.is_empty() && name.len() <= MOST_NAME);
        name.filter(|name| confirmed && !name.chars().any(char::is_control)).ok_or(Unfit::Nameless)
    }

    /// What its signature is over.
    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// How it is signed, by its own word: only to choose a key by, which must be of that kind.
    pub(super) fn algorithm(&self) -> &str {
        &self.header.alg
    }

    /// Which key of its issuer signed it, by its own word.
    pub(super) fn key(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }
}

/// Base64url without padding, as tokens and their keys have it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A time, which may have a fraction. What is no number is none: a check that would be passed over for it is not passed.
fn seconds(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a conversion from f64 saturates, and fractions do not count")]
    let whole = |number: f64| number.is_finite().then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}
