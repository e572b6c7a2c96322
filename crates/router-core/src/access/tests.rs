//! Keys and who they let in.

use ring::hmac;

use super::*;

const SALT: &str = "000102030405060708090a0b0c0d0e0f";
const SECRET: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";

/// What is kept of a key, as `openssl dgst -sha256 -mac HMAC` writes it.
fn line(secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &(0..16).collect::<Vec<u8>>());
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

/// Who is let in by a policy of `namespace` with what is shown, where no token is taken.
fn admit(access: &Access, namespace: &str, shown: Option<&str>) -> Result<Caller, Denied> {
    match access.shown(shown, None) {
        Shown::Key(key) => access.holder(&keys(), namespace, key),
        _ => access.admit(namespace, Caller::Anonymous),
    }
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
        (&some, Some(right.clone()), Err(Denied::NotAllowed(caller.clone()))),
        (&some, None, Err(Denied::Unknown)),
        (&named, Some(right), Ok(caller)),
    ] {
        assert_eq!(admit(access, "ml", shown.as_deref()), expected, "{access:?} {shown:?}");
    }
}

#[test]
fn keys_that_were_not_read_are_not_called_wrong() {
    let closed = Access::default();
    assert_eq!(admit(&closed, "elsewhere", Some(&key("team-a", SECRET))), Err(Denied::Unread));
    assert_eq!(admit(&closed, "elsewhere", Some("sk-of-a-provider")), Err(Denied::Unknown));
    assert!(keys().knows("ml") && !keys().knows("elsewhere"));
}

#[test]
fn nothing_kept_is_shown() {
    let shown = format!("{:?}", keys());
    assert!(!shown.contains("0001") && !shown.contains("salt"), "{shown}");
}

#[test]
fn entries_of_a_list_stand_for_callers_of_their_kind_only() {
    let key = |name: &str| Caller::Key(name.to_owned());
    let account = |name: &str| Caller::Account(format!("{ACCOUNT}{name}"));
    let issued = |name: &str| Caller::Issued(format!("oidc:{name}"));
    for (entry, in_it, not_in_it) in [
        ("", vec![key("a"), account("ml:web"), issued("ann")], vec![account("apps:web"), Caller::Anonymous]),
        ("web", vec![key("web")], vec![account("ml:web"), issued("web"), key("web2"), Caller::Anonymous]),
        ("*", vec![key("web"), key("a.b")], vec![account("ml:web"), issued("ann"), Caller::Anonymous]),
        ("s*", vec![key("sa")], vec![account("ml:web")]),
        ("sa:web", vec![account("ml:web")], vec![account("apps:web"), account("ml:web2"), key("web"), key("sa")]),
        ("sa:*", vec![account("ml:web"), account("ml:x")], vec![account("apps:web"), account("ml2:web")]),
        ("sa:apps:web", vec![account("apps:web")], vec![account("ml:web"), account("apps2:web")]),
        ("sa:apps:*", vec![account("apps:web"), account("apps:x")], vec![account("apps2:web"), account("ml:web")]),
        ("system:serviceaccount:apps:web", vec![account("apps:web")], vec![account("ml:web"), issued("ann")]),
        ("system:serviceaccount:apps:w*", vec![account("apps:web")], vec![account("apps:x")]),
        ("oidc:ann", vec![issued("ann")], vec![key("ann"), issued("anna")]),
        ("oidc:*", vec![issued("ann"), issued("sa:ml:web")], vec![key("ann"), account("ml:web")]),
        ("o*", vec![key("o")], vec![issued("ann")]),
    ] {
        let allow = if entry.is_empty() { Vec::new() } else { vec![entry.to_owned()] };
        let access = Access { allow, ..Access::default() };
        for caller in in_it {
            assert_eq!(access.admit("ml", caller.clone()), Ok(caller.clone()), "{entry} {caller:?}");
        }
        for caller in not_in_it {
            let expected =
                if caller == Caller::Anonymous { Denied::Unknown } else { Denied::NotAllowed(caller.clone()) };
            assert_eq!(access.admit("ml", caller.clone()), Err(expected), "{entry} {caller:?}");
        }
    }
}
