//! Keys and who they let in.

use super::*;

const SALT: &str = "000102030405060708090a0b0c0d0e0f";
const SECRET: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";

/// What is kept of a key, as `openssl dgst -sha256 -mac HMAC` writes it.
fn line(secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes(SALT).unwrap());
    let hash: String = hmac::sign(&key, secret.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1:{SALT}:{hash}")
}

fn keys() -> Keys {
    let kept = |caller: &str, secret: &str| (caller.to_owned(), KeptKey::parse(&line(secret)).unwrap());
    let mut keys = Keys::default();
    let old = kept("team-a", "an old secret of many characters");
    keys.set("ml", [old, kept("team-a", SECRET), kept("weak", "short")]);
    keys.set("other", [kept("team-b", SECRET)]);
    keys
}

fn key(caller: &str, secret: &str) -> String {
    format!("qm_{caller}_{secret}")
}

#[test]
fn lines_are_read() {
    let good = line(SECRET);
    assert!(KeptKey::parse(&good).is_ok());
    for (text, error) in [
        (key("team-a", SECRET), KeyError::Clear),
        (SECRET.to_owned(), KeyError::Form),
        (good.replace("v1", "v2"), KeyError::Form),
        (format!("{good}:x"), KeyError::Form),
        (good.replace(SALT, "00"), KeyError::Salt),
        (good.replace(SALT, &"zz".repeat(16)), KeyError::Salt),
        (good[..good.len() - 2].to_owned(), KeyError::Hash),
        (good[..good.len() - 1].to_owned(), KeyError::Hash),
    ] {
        assert_eq!(KeptKey::parse(&text), Err(error), "{text}");
    }
}

#[test]
fn callers_are_let_in_as_the_policy_says() {
    let closed = Access::default();
    let open = Access::anyone();
    let some = Access { allow: vec!["batch-*".to_owned(), "team-b".to_owned()], ..Access::default() };
    let named = Access { allow: vec!["team-*".to_owned()], ..Access::default() };
    let right = key("team-a", SECRET);
    let caller = Caller::Key("team-a".to_owned());
    for (access, shown, expected) in [
        (&closed, Some(right.clone()), Ok(caller.clone())),
        (&closed, Some(key("team-a", "an old secret of many characters")), Ok(caller.clone())),
        (&closed, None, Err(Denied::Unknown)),
        (&closed, Some("sk-of-a-provider".to_owned()), Err(Denied::Unknown)),
        (&closed, Some(key("team-a", &SECRET.replace('5', "6"))), Err(Denied::Unknown)),
        (&closed, Some(key("nobody", SECRET)), Err(Denied::Unknown)),
        (&closed, Some(key("team-b", SECRET)), Err(Denied::Unknown)),
        (&closed, Some(key("weak", "short")), Err(Denied::Unknown)),
        (&closed, Some("qm_".to_owned()), Err(Denied::Unknown)),
        (&open, None, Ok(Caller::Anonymous)),
        (&open, Some("sk-of-a-provider".to_owned()), Ok(Caller::Anonymous)),
        (&open, Some(right.clone()), Ok(caller.clone())),
        (&open, Some(key("nobody", SECRET)), Err(Denied::Unknown)),
        (&some, Some(right.clone()), Err(Denied::NotAllowed)),
        (&some, None, Err(Denied::Unknown)),
        (&named, Some(right), Ok(caller)),
    ] {
        let admitted = access.admit(&keys(), "ml", shown.as_deref()).map_err(|(denied, _)| denied);
        assert_eq!(admitted, expected, "{access:?} {shown:?}");
    }
}

#[test]
fn keys_that_were_not_read_are_not_called_wrong() {
    let closed = Access::default();
    let admit = |shown: &str| closed.admit(&keys(), "elsewhere", Some(shown)).map_err(|(denied, _)| denied);
    assert_eq!(admit(&key("team-a", SECRET)), Err(Denied::Unread));
    assert_eq!(admit("sk-of-a-provider"), Err(Denied::Unknown));
    assert!(keys().knows("ml") && !keys().knows("elsewhere"));
}

#[test]
fn nothing_kept_is_shown() {
    let shown = format!("{:?}", keys());
    assert!(!shown.contains("0001") && !shown.contains("salt"), "{shown}");
}
