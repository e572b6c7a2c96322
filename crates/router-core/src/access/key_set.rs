//! The public keys of an issuer of tokens (JWKS), and the signatures that they confirm.

use std::fmt;

use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{Jwt, decode};

/// Most keys of an issuer that are kept. Issuers have two or three, some a dozen.
const MOST_KEYS: usize = 64;

/// An issuer's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<PublicKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicKey {
    id: Option<String>,
    /// The one way in which it may be used, if the issuer says so.
    algorithm: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a token is not its issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// The issuer has no key that could have signed it, as far as is known. A new one may be there since.
    NoKey,
    /// Its signature is wrong, or of a kind that is not taken.
    Wrong,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// It is not `{"keys": [...]}`.
    Form,
    /// None of its keys is of a kind that is taken.
    Empty,
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is no JSON Web Key Set: {\"keys\": [...]}",
            Self::Empty => "it has no key for signatures by RS, PS, ES256, ES384 or EdDSA",
        })
    }
}

#[derive(Deserialize)]
struct Listed {
    keys: Vec<Value>,
}

/// One key as it is listed. Members that its kind does not have are absent.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds, and for other purposes than signatures, are left out.
    ///
    /// # Errors
    ///
    /// When it has another form, or none of its keys is of use.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let listed: Listed = serde_json::from_slice(text).map_err(|_| KeySetError::Form)?;
        let read = |value: Value| PublicKey::read(serde_json::from_value(value).ok()?);
        let keys: Vec<PublicKey> = listed.keys.into_iter().filter_map(read).take(MOST_KEYS).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(keys)) }
    }

    /// How many keys of use there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Confirms that one of these keys has signed the token.
    ///
    /// # Errors
    ///
    /// When none has.
    pub fn confirm(&self, token: &Jwt<'_>) -> Result<(), Unsigned> {
        // `none`, and the algorithms by which whoever checks could also sign, have no place in this list.
        let way = Way::named(token.algorithm()).ok_or(Unsigned::Wrong)?;
        let fits = |key: &&PublicKey| {
            way.takes(&key.kind)
                && key.algorithm.as_deref().is_none_or(|only| only == token.algorithm())
                && token.key().is_none_or(|id| key.id.as_deref() == Some(id))
        };
        let mut found = Err(Unsigned::NoKey);
        for key in self.0.iter().filter(fits) {
            if way.confirms(&key.kind, token) {
                return Ok(());
            }
            found = Err(Unsigned::Wrong);
        }
        found
    }
}

impl PublicKey {
    fn read(jwk: Jwk) -> Option<Self> {
        if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let member = |text: &Option<String>| text.as_deref().and_then(decode);
        let point = |length: usize| {
            let (x, y) = (member(&jwk.x)?, member(&jwk.y)?);
            // An uncompressed point, as X9.62 has it.
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let kind = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let modulus = member(&jwk.n)?;
                let leading = modulus.iter().take_while(|byte| **byte == 0).count();
                Kind::Rsa { modulus: modulus[leading..].to_vec(), exponent: member(&jwk.e)? }
            }
            ("EC", Some("P-256")) => Kind::P256(point(32)?),
            ("EC", Some("P-384")) => Kind::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Kind::Ed25519(member(&jwk.x).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self { id: jwk.kid, algorithm: jwk.alg, kind })
    }
}

/// How a token can be signed.
enum Way {
    Rsa(&'static RsaParameters),
    P256,
    P384,
    Ed25519,
}

impl Way {
    fn named(algorithm: &str) -> Option<Self> {
        Some(match algorithm {
            "RS256" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::P256,
            "ES384" => Self::P384,
            "EdDSA" | "Ed25519" => Self::Ed25519,
            _ => return None,
        })
    }

    /// Whether a key of this kind makes such signatures. A key is never used in a way that the token alone asks for.
    fn takes(&self, kind: &Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Rsa(_), Kind::Rsa { .. })
                | (Self::P256, Kind::P256(_))
                | (Self::P384, Kind::P384(_))
                | (Self::Ed25519, Kind::Ed25519(_))
        )
    }

    fn confirms(&self, kind: &Kind, token: &Jwt<'_>) -> bool {
        let (signed, signature) = (token.signed(), token.signature());
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        match (self, kind) {
            (Self::Rsa(way), Kind::Rsa { modulus, exponent }) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(way, signed, signature).is_ok()
            }
            (Self::P256, Kind::P256(key)) => by(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384, Kind::P384(key)) => by(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519, Kind::Ed25519(key)) => by(&signature::ED25519, key),
            _ => false,
        }
    }
}
