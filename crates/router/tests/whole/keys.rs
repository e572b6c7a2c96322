//! Who may call: API keys, and what a caller without one is told.

use std::sync::Arc;

use router::live::Live;
use router_core::{Access, KeptKey, Keys, Moment, PolicyInput, Resilience, Table};

use crate::bed::{Bed, Engine, chunk, guarded, header, plain, post, status};

/// What is kept of the key of [`SECRET`], made with
/// `printf %s SECRET | openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT`.
const KEPT: &str =
    "v1:00112233445566778899aabbccddeeff:c6d1aef2613d2098736aa2c1d9564dec6a5c1f70b8e2725d6141c8733b65b218";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ASK: &str = r#"{"model":"m","max_tokens":1,"messages":[]}"#;

/// A router whose policy has this rule, and that has read what is kept of the keys of two callers.
fn bed(engine: &Engine, access: &Access, read: bool) -> Bed {
    let bed = Bed::new(&[engine.address]);
    let mut keys = Keys::default();
    if read {
        let kept = |caller: &str| (caller.to_owned(), KeptKey::parse(KEPT).unwrap());
        keys.set("ml", [kept("team-a"), kept("team_b")]);
    }
    let table = guarded(&[engine.address], access, &Table::default());
    bed.live.store(Arc::new(Live::new(table, &bed.metrics).with_callers(Arc::new(keys))));
    bed
}

fn closed(allow: &[&str]) -> Access {
    Access { allow: allow.iter().map(|name| (*name).to_owned()).collect(), ..Access::default() }
}

fn bearer(caller: &str, secret: &str) -> String {
    format!("authorization: Bearer qm_{caller}_{secret}\r\n")
}

async fn ask(bed: &Bed, path: &str, headers: &str) -> (String, String) {
    let mut client = bed.client().await;
    client.send(post(path, headers, ASK)).await;
    client.message().await
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_key_opens_what_the_policy_says() {
    let engine = Engine::answering(plain("{}")).await;
    let wrong = SECRET.replace('0', "1");
    for (access, headers, expected) in [
        (Access::anyone(), String::new(), 200),
        (Access::anyone(), bearer("nobody", SECRET), 401),
        (Access::anyone(), bearer("team-a", SECRET), 200),
        (closed(&[]), bearer("team-a", SECRET), 200),
        (closed(&[]), bearer("team_b", SECRET), 200),
        (closed(&[]), format!("x-api-key: qm_team-a_{SECRET}\r\n"), 200),
        (closed(&[]), String::new(), 401),
        (closed(&[]), bearer("team-a", &wrong), 401),
        (closed(&[]), bearer("nobody", SECRET), 401),
        (closed(&[]), "authorization: Bearer sk-of-another\r\n".to_owned(), 401),
        (closed(&["team-*"]), bearer("team-a", SECRET), 200),
        (closed(&["team-*"]), bearer("team_b", SECRET), 403),
        (Access::anyone(), "authorization: Bearer sk-of-another\r\n".to_owned(), 200),
        (Access::anyone(), bearer("team-a", &wrong), 401),
    ] {
        let bed = bed(&engine, &access, true);
        let (head, body) = ask(&bed, CHAT, &headers).await;
        assert_eq!(status(&head), expected, "{access:?} {headers}: {body}");
    }
}

#[tokio::test]
async fn no_key_a_wrong_one_and_an_unknown_name_are_told_the_same() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = bed(&engine, &closed(&[]), true);
    let id = "x-request-id: same\r\n";
    for (path, class) in [(CHAT, r#""code":"invalid_api_key""#), ("/v1/messages", r#""type":"authentication_error""#)] {
        let mut told = Vec::new();
        for headers in [String::new(), bearer("team-a", &SECRET.replace('a', "b")), bearer("nobody", SECRET)] {
            let (head, body) = ask(&bed, path, &format!("{id}{headers}")).await;
            assert_eq!((status(&head), header(&head, "www-authenticate")), (401, Some("Bearer")), "{head}");
            assert!(body.contains(class), "{path}: {body}");
            told.push(body);
        }
        assert!(told.iter().all(|body| *body == told[0]), "{told:?}");
    }
    assert_eq!(engine.connections(), 0, "nothing of it reached an engine");
}

/// The memory for bodies is one for all, so nobody holds much of it who may use nothing.
#[tokio::test]
async fn a_stranger_is_turned_away_before_a_long_body_is_read() {
    let engine = Engine::answering(plain("{}")).await;
    let long = format!(r#"{{"model":"m","max_tokens":1,"messages":[],"pad":"{}"}}"#, "x".repeat(100_000));
    for (access, headers, expected) in [
        (closed(&[]), String::new(), 401),
        (closed(&[]), bearer("nobody", SECRET), 401),
        (closed(&[]), bearer("team-a", SECRET), 200),
        (Access::anyone(), String::new(), 200),
    ] {
        let bed = bed(&engine, &access, true);
        for framing in [format!("content-length: {}\r\n", long.len()), "transfer-encoding: chunked\r\n".to_owned()] {
            let mut client = bed.client().await;
            client.send(format!("POST {CHAT} HTTP/1.1\r\nhost: r\r\n{headers}{framing}\r\n")).await;
            if expected == 200 {
                client.send(if framing.starts_with('c') { long.clone() } else { chunk(&long) + "0\r\n\r\n" }).await;
            }
            let (head, body) = client.message().await;
            assert_eq!(status(&head), expected, "{access:?} {headers} {framing}: {body}");
        }
    }
}

#[tokio::test]
async fn keys_that_were_not_read_yet_are_a_matter_of_waiting() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = bed(&engine, &closed(&[]), false);
    let (head, body) = ask(&bed, CHAT, &bearer("team-a", SECRET)).await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("5")), "{body}");
}

#[tokio::test]
async fn a_key_goes_no_further_than_the_router() {
    let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let seen = seen.clone();
        async move {
            let (head, body) = wire.message().await;
            seen.send(head + &body).unwrap();
            wire.send(plain("{}")).await;
        }
    })
    .await;
    let bed = bed(&engine, &closed(&[]), true);
    let (head, _) = ask(&bed, CHAT, &bearer("team-a", SECRET)).await;
    assert_eq!(status(&head), 200);
    let sent = heads.recv().await.unwrap();
    assert!(!sent.contains(SECRET) && !sent.to_ascii_lowercase().contains("authorization"), "{sent}");
}

/// A policy of this namespace for this one model.
fn policy(namespace: &str, model: &str, access: Access) -> PolicyInput {
    PolicyInput {
        namespace: namespace.to_owned(),
        name: model.to_owned(),
        created: 1,
        models: vec![model.to_owned()],
        targets: Vec::new(),
        session_header: None,
        access,
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    }
}

#[tokio::test]
async fn models_are_there_for_who_may_use_them() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = bed(&engine, &closed(&[]), true);
    let keys = Arc::clone(&bed.live.load().callers);
    let put = |policies: Vec<PolicyInput>| {
        let table = Table::build(policies, Vec::new(), Vec::new(), &Table::default(), Moment(0));
        bed.live.store(Arc::new(Live::new(table, &bed.metrics).with_callers(Arc::clone(&keys))));
    };
    let closed_ones = || vec![policy("ml", "own", closed(&["team-a"])), policy("apps", "theirs", Access::default())];
    put([closed_ones(), vec![policy("ml", "free", Access::anyone())]].concat());
    let (mine, not_listed) = (bearer("team-a", SECRET), bearer("team_b", SECRET));
    let (wrong, nothing) = (bearer("nobody", SECRET), String::new());
    let get = async |path: &str, headers: &str| {
        let mut client = bed.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: router\r\n{headers}\r\n")).await;
        client.message().await
    };
    for (headers, expected) in [(&mine, &["free", "own"][..]), (&not_listed, &["free"]), (&nothing, &["free"])] {
        let (head, body) = get("/v1/models", headers).await;
        let ids = body.split("\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>();
        assert_eq!((status(&head), &ids[..]), (200, expected), "{headers}");
    }
    for (path, headers, expected) in [
        ("/v1/models", &wrong, 401),
        ("/v1/models/free", &nothing, 200),
        ("/v1/models/own", &mine, 200),
        ("/v1/models/own", &not_listed, 404),
        ("/v1/models/own", &nothing, 401),
        ("/v1/models/theirs", &nothing, 401),
        ("/v1/models/not-there", &mine, 404),
        ("/v1/models/not-there", &nothing, 401),
        ("/v1/models/not-there", &wrong, 401),
    ] {
        let (head, body) = get(path, headers).await;
        assert_eq!(status(&head), expected, "{path} {headers}: {body}");
    }
    // Who proves nothing does not find out names by asking.
    for (headers, expected) in [(&mine, 404), (&not_listed, 404), (&nothing, 401), (&wrong, 401)] {
        let mut client = bed.client().await;
        client.send(post(CHAT, headers, &ASK.replace("\"m\"", "\"not-there\""))).await;
        let (head, body) = client.message().await;
        assert_eq!(status(&head), expected, "{headers}: {body}");
    }
    put(closed_ones());
    assert_eq!(status(&get("/v1/models", &nothing).await.0), 401, "nothing is open to everybody");
}
