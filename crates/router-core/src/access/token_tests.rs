//! Tokens of issuers: which are taken, and which are not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://login.example.com/realms/apps";
/// Made for these tests with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`; it signs nothing else.
const RSA: &str = include_str!("rsa.txt");

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs what it is given by one algorithm, with one key.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        let der = STANDARD.decode(RSA.split_ascii_whitespace().collect::<String>()).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(&der).unwrap())
    }

    fn ec(curve: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = match curve {
            "P-256" => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            _ => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        };
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(curve, EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    /// Its public half, as issuers list it.
    fn listed(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": id, "n": encode(&n), "e": encode(&e)})
            }
            Self::Ec(curve, key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
                json!({"kty": "EC", "crv": curve, "kid": id, "use": "sig", "x": encode(x), "y": encode(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(key.public_key().as_ref())})
            }
        }
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let way: &dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut made = vec![0; key.public().modulus_len()];
                key.sign(way, &random, text, &mut made).unwrap();
                made
            }
            Self::Ec(_, key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }
}

fn oidc() -> Oidc {
    Oidc { issuer: ISSUER.to_owned(), audiences: vec!["quartermaster".to_owned()], jwks: None, claim: "sub".to_owned() }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "quartermaster", "sub": "ann", "exp": NOW + 300})
}

/// The claims, with these in place of their own; null takes one away.
fn but(changes: &Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        }
    }
    all
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn check(token: &str, keys: &KeySet) -> Result<Caller, Untrusted> {
    oidc().check(&Jwt::read(token).expect("a token"), keys, NOW)
}

fn ann() -> Result<Caller, Untrusted> {
    Ok(Caller::Issued("oidc:ann".to_owned()))
}

const UNSIGNED: Result<Caller, Untrusted> = Err(Untrusted::Unsigned(Unsigned::Wrong));
const NO_KEY: Result<Caller, Untrusted> = Err(Untrusted::Unsigned(Unsigned::NoKey));

#[test]
fn every_algorithm_that_is_taken_is_confirmed_and_only_by_its_own_key() {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::ec("P-256"), Signer::ec("P-384"), Signer::ed());
    let others = [Signer::ec("P-256"), Signer::ec("P-384"), Signer::ed()];
    let all = set(&[rsa.listed("r"), p256.listed("p256"), p384.listed("p384"), ed.listed("ed")]);
    let strangers = set(&[others[0].listed("p256"), others[1].listed("p384"), others[2].listed("ed")]);
    for (algorithm, id, signer) in [
        ("RS256", "r", &rsa),
        ("RS384", "r", &rsa),
        ("RS512", "r", &rsa),
        ("PS256", "r", &rsa),
        ("PS384", "r", &rsa),
        ("PS512", "r", &rsa),
        ("ES256", "p256", &p256),
        ("ES384", "p384", &p384),
        ("EdDSA", "ed", &ed),
    ] {
        let token = signer.token(&json!({"alg": algorithm, "kid": id}), &claims());
        assert_eq!(check(&token, &all), ann(), "{algorithm}");
        let without = signer.token(&json!({"alg": algorithm}), &claims());
        assert_eq!(check(&without, &all), ann(), "{algorithm} without kid");
        let expected = if id == "r" { NO_KEY } else { UNSIGNED };
        assert_eq!(check(&token, &strangers), expected, "{algorithm} of a stranger");
        let unknown = signer.token(&json!({"alg": algorithm, "kid": "new"}), &claims());
        assert_eq!(check(&unknown, &all), NO_KEY, "{algorithm} of an unknown key");
        // One character of the claims, and one of the signature.
        let (front, signature) = token.rsplit_once('.').unwrap();
        let forged = encode(but(&json!({"sub": "bob"})).to_string().as_bytes());
        let forged = format!("{}.{forged}.{signature}", front.split_once('.').unwrap().0);
        assert_eq!(check(&forged, &all), UNSIGNED, "{algorithm} forged");
        let bent = if signature.starts_with('A') { "B" } else { "A" };
        assert_eq!(check(&format!("{front}.{bent}{}", &signature[1..]), &all), UNSIGNED, "{algorithm} bent");
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_judged() {
    let (rsa, p256) = (Signer::rsa(), Signer::ec("P-256"));
    let mut bound = rsa.listed("bound");
    bound["alg"] = json!("PS256");
    let mut for_secrets = p256.listed("enc");
    for_secrets["use"] = json!("enc");
    let keys = set(&[rsa.listed("r"), p256.listed("p"), bound, for_secrets]);
    for (header, expected) in [
        (json!({"alg": "none"}), UNSIGNED),
        (json!({"alg": "HS256", "kid": "r"}), UNSIGNED),
        (json!({"alg": "ES512", "kid": "p"}), UNSIGNED),
        (json!({"alg": "rs256", "kid": "r"}), UNSIGNED),
        // The right key, by a name for another kind; by an algorithm that it is not for; and one that is for no signature.
        (json!({"alg": "ES256", "kid": "r"}), NO_KEY),
        (json!({"alg": "RS256", "kid": "bound"}), NO_KEY),
        (json!({"alg": "PS256", "kid": "bound"}), ann()),
        (json!({"alg": "RS256", "kid": "enc"}), NO_KEY),
    ] {
        assert_eq!(check(&rsa.token(&header, &claims()), &keys), expected, "{header}");
    }
    let empty = format!("{}.{}.", encode(br#"{"alg":"none"}"#), encode(claims().to_string().as_bytes()));
    assert_eq!(check(&empty, &keys), UNSIGNED);
    let critical = rsa.token(&json!({"alg": "RS256", "crit": ["b64"], "b64": false}), &claims());
    assert!(Jwt::read(&critical).is_none(), "what must be understood and is not");
}

#[test]
fn what_a_token_says_has_to_do() {
    let signer = Signer::ed();
    let keys = set(&[signer.listed("ed")]);
    let unfit = |why| Err(Untrusted::Unfit(why));
    let (expired, not_yet) = (unfit(Unfit::Expired), unfit(Unfit::NotYet));
    let (audience, nameless) = (unfit(Unfit::Audience), unfit(Unfit::Nameless));
    for (changes, expected) in [
        (json!({}), ann()),
        (json!({"aud": ["other", "quartermaster"]}), ann()),
        (json!({"exp": NOW - 59}), ann()),
        (json!({"exp": NOW as f64 + 0.5}), ann()),
        (json!({"nbf": NOW + 60}), ann()),
        (json!({"exp": NOW - 60}), expired.clone()),
        (json!({"exp": null}), expired.clone()),
        (json!({"exp": (NOW + 300).to_string()}), expired.clone()),
        (json!({"exp": f64::MAX}), ann()),
        (json!({"nbf": NOW + 61}), not_yet.clone()),
        (json!({"nbf": "soon"}), not_yet),
        (json!({"aud": "other"}), audience.clone()),
        (json!({"aud": null}), audience.clone()),
        (json!({"aud": {"quartermaster": true}}), audience.clone()),
        (json!({"iss": "https://login.example.com/realms/apps/"}), audience),
        (json!({"sub": null}), nameless.clone()),
        (json!({"sub": ""}), nameless.clone()),
        (json!({"sub": 7}), nameless.clone()),
        (json!({"sub": "a\nb"}), nameless.clone()),
        (json!({"sub": "x".repeat(254)}), nameless),
    ] {
        let token = signer.token(&json!({"alg": "EdDSA"}), &but(&changes));
        assert_eq!(check(&token, &keys), expected, "{changes}");
    }
}

#[test]
fn a_claim_of_choice_names_the_caller() {
    let signer = Signer::ed();
    let keys = set(&[signer.listed("ed")]);
    let by_mail = Oidc { claim: "email".to_owned(), ..oidc() };
    for (verified, expected) in [
        (json!(true), Ok(Caller::Issued("oidc:ann@example.com".to_owned()))),
        (Value::Null, Ok(Caller::Issued("oidc:ann@example.com".to_owned()))),
        (json!(false), Err(Untrusted::Unfit(Unfit::Nameless))),
        (json!("true"), Err(Untrusted::Unfit(Unfit::Nameless))),
    ] {
        let said = but(&json!({"email": "ann@example.com", "email_verified": verified}));
        let token = signer.token(&json!({"alg": "EdDSA"}), &said);
        assert_eq!(by_mail.check(&Jwt::read(&token).unwrap(), &keys, NOW), expected, "{verified}");
    }
}

#[test]
fn what_is_no_token_is_none() {
    let header = encode(br#"{"alg":"RS256"}"#);
    for text in [
        String::new(),
        "ey".to_owned(),
        "sk-proj-abc.def.ghi".to_owned(),
        header.clone(),
        format!("{header}.e30"),
        format!("{header}.!!.AAAA"),
        format!("{header}.{}.AAAA", encode(b"[]")),
        format!("{}.e30.AAAA", encode(br#"{"kid":"x"}"#)),
        format!("{header}.{}.AAAA", encode(" ".repeat(20_000).as_bytes())),
    ] {
        assert!(Jwt::read(&text).is_none(), "{text}");
    }
    assert!(Jwt::read(&format!("{header}.e30.AAAA")).is_some());
}

#[test]
fn sets_of_keys_are_read() {
    let good = Signer::ec("P-256").listed("a");
    for (text, expected) in [
        (json!({"keys": [good, {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "crv": "P-521"}, 7, {}]}).to_string(), Ok(1)),
        (json!({"keys": []}).to_string(), Err(KeySetError::Empty)),
        (json!({"keys": [{"kty": "oct", "k": "AAAA"}]}).to_string(), Err(KeySetError::Empty)),
        (
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]}).to_string(),
            Err(KeySetError::Empty),
        ),
        ("[]".to_owned(), Err(KeySetError::Form)),
        ("<html>".to_owned(), Err(KeySetError::Form)),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).map(|set| set.count()), expected, "{text}");
    }
}

#[test]
fn what_a_request_shows_is_told_apart() {
    let signer = Signer::ed();
    let header = json!({"alg": "EdDSA"});
    let account = |aud: Value| {
        let claims =
            json!({"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:apps:web", "aud": aud});
        signer.token(&header, &claims)
    };
    let issued = signer.token(&header, &claims());
    let access = Access { oidc: Some(oidc()), ..Access::default() };
    for (shown, audience, expected) in [
        (None, Some("quartermaster"), "nothing"),
        (Some("qm_a_b".to_owned()), Some("quartermaster"), "key"),
        (Some("sk-proj-1".to_owned()), Some("quartermaster"), "nothing"),
        (Some(account(json!(["quartermaster"]))), Some("quartermaster"), "account"),
        (Some(account(json!(["quartermaster"]))), None, "nothing"),
        // The token that every pod has for the API server is not for us, and nobody should send it to us.
        (Some(account(json!(["https://kubernetes.default.svc"]))), Some("quartermaster"), "nothing"),
        (Some(issued.clone()), None, "issued"),
    ] {
        let told = match access.shown(shown.as_deref(), audience) {
            Shown::Nothing => "nothing",
            Shown::Key(_) => "key",
            Shown::Account(_) => "account",
            Shown::Issued(..) => "issued",
        };
        assert_eq!(told, expected, "{shown:?} {audience:?}");
    }
    // The cluster itself as the issuer, whose accounts are also known by reviews.
    let cluster = Access { oidc: Some(Oidc { audiences: vec!["jobs".to_owned()], ..oidc() }), ..Access::default() };
    let web = "system:serviceaccount:ml:web";
    for (sub, aud, expected) in [
        (web, "quartermaster", "account"),
        (web, "jobs", "issued"),
        (web, "others", "issued"),
        ("ann", "quartermaster", "issued"),
    ] {
        let token = Signer::ed().token(&json!({"alg": "EdDSA"}), &but(&json!({"sub": sub, "aud": aud})));
        let told = match cluster.shown(Some(&token), Some("quartermaster")) {
            Shown::Account(_) => "account",
            Shown::Issued(..) => "issued",
            _ => "else",
        };
        assert_eq!(told, expected, "{sub} {aud}");
    }
    assert!(
        matches!(Access::default().shown(Some(&issued), Some("quartermaster")), Shown::Nothing),
        "of no issuer here"
    );
}

#[test]
fn findings_are_kept_up_to_a_number_and_the_ones_in_use_stay() {
    let mut findings = Findings::new(8);
    let finding = |found: u32| Finding { found, fresh_until: 1, good_until: 2 };
    let one = |number: u32| digest(&[&number.to_string()]);
    for number in 0..100 {
        findings.put(one(number), finding(number));
        assert!(findings.count() <= 8, "{}", findings.count());
        assert_eq!(findings.get(&one(0)), Some(finding(0)), "it is in use");
    }
    assert_eq!(findings.get(&one(1)), None);
    assert_eq!(findings.get(&one(99)), Some(finding(99)));
    assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
}
