//! Who may call by a token: of a ServiceAccount, which the API server knows, and of an issuer that the policy names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use router::issuers::{self, Issuers};
use router::live::Live;
use router::outbound::Outbound;
use router::reviews::Reviews;
use router::settings::Settings;
use router_core::{Access, Keys, Oidc, Reach, Table};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::bed::{Bed, Engine, Wire, calm, guarded, header, plain, post, soon, status};

const AUDIENCE: &str = "quartermaster";
const ASK: &str = r#"{"model":"m","max_tokens":1,"messages":[]}"#;
const CHAT: &str = "/v1/chat/completions";
const NAME: &str = "system:serviceaccount:ml:web";

fn encode(text: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn in_seconds(seconds: i64) -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

/// A token as a cluster makes it. The stand-in for the API server goes by what it says; nobody else looks at its signature.
fn token(name: &str, audience: &str, seconds: i64) -> String {
    let claims = json!({"iss": "https://kubernetes.default.svc", "sub": name, "aud": [audience],
                        "exp": in_seconds(seconds), "jti": rand::random::<u64>()});
    format!("{}.{}.AAAA", encode(br#"{"alg":"RS256"}"#), encode(claims.to_string().as_bytes()))
}

/// How the stand-in for the API server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Knows,
    Denies,
    /// It knows, but of no audience: an authenticator that sees to none.
    Unaware,
    Away,
}

struct ApiServer {
    engine: Engine,
    asked: Arc<AtomicUsize>,
    mood: Arc<std::sync::Mutex<Mood>>,
    /// Permits let reviews be answered.
    gate: Arc<Semaphore>,
}

impl ApiServer {
    async fn new() -> Self {
        let (asked, mood) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Mood::Knows)));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (count, says, open) = (Arc::clone(&asked), Arc::clone(&mood), Arc::clone(&gate));
        let engine =
            Engine::new(move |_, wire| Self::serve(wire, Arc::clone(&count), Arc::clone(&says), Arc::clone(&open)))
                .await;
        Self { engine, asked, mood, gate }
    }

    async fn serve(mut wire: Wire, asked: Arc<AtomicUsize>, mood: Arc<std::sync::Mutex<Mood>>, gate: Arc<Semaphore>) {
        while let Some((head, body)) = wire.next_message().await {
            assert!(head.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews"), "{head}");
            asked.fetch_add(1, Ordering::SeqCst);
            let _permit = gate.acquire().await.unwrap();
            let review: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(review["spec"]["audiences"], json!([AUDIENCE]));
            let claims = review["spec"]["token"].as_str().unwrap().split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            let mood = *mood.lock().unwrap();
            let status = match mood {
                Mood::Away => {
                    wire.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
                    continue;
                }
                Mood::Denies => json!({"authenticated": false, "error": "not valid"}),
                Mood::Unaware => json!({"authenticated": true, "user": {"username": claims["sub"]}}),
                Mood::Knows => {
                    json!({"authenticated": true, "user": {"username": claims["sub"]}, "audiences": [AUDIENCE]})
                }
            };
            let answer =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}, "status": status});
            wire.send(plain(&answer.to_string()).replacen("200 OK", "201 Created", 1)).await;
        }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A client that waits for no second try.
    fn client(&self) -> kube::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = kube::Config::new(format!("http://{}", self.engine.address).parse().unwrap());
        config.default_retry = false;
        config.try_into().unwrap()
    }
}

/// A router that asks this API server.
struct Asking {
    bed: Bed,
    task: JoinHandle<()>,
}

impl Asking {
    async fn new(server: &ApiServer, access: &Access) -> (Self, Engine) {
        let engine = Engine::answering(plain("{}")).await;
        let (reviews, questions) = Reviews::new(AUDIENCE);
        let task = tokio::spawn(reviews.clone().answer(server.client(), questions));
        let settings = Settings { reviews: Some(reviews), ..calm() };
        let bed = Bed::with(&settings, &[engine.address]);
        let table = guarded(&[engine.address], access, &Table::default());
        let mut keys = Keys::default();
        keys.set("ml", []);
        bed.live.store(Arc::new(Live::new(table, &bed.metrics).with_callers(Arc::new(keys))));
        (Self { bed, task }, engine)
    }

    async fn ask(&self, token: &str) -> (String, String) {
        let mut client = self.bed.client().await;
        client.send(post(CHAT, &format!("authorization: Bearer {token}\r\n"), ASK)).await;
        client.message().await
    }

    async fn status(&self, token: &str) -> u16 {
        status(&self.ask(token).await.0)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn allowing(names: &[&str]) -> Access {
    Access { allow: names.iter().map(|name| (*name).to_owned()).collect(), ..Access::default() }
}

#[tokio::test]
async fn a_service_account_opens_what_the_policy_says() {
    let server = ApiServer::new().await;
    let other = "system:serviceaccount:apps:web";
    for (access, name, expected) in [
        (Access::default(), NAME, 200),
        (Access::default(), other, 403),
        (allowing(&["sa:web"]), NAME, 200),
        (allowing(&["sa:batch"]), NAME, 403),
        (allowing(&["sa:web"]), other, 403),
        (allowing(&["sa:apps:*"]), other, 200),
        (allowing(&["system:serviceaccount:apps:web"]), other, 200),
        (allowing(&["*"]), other, 403),
        (allowing(&["*"]), NAME, 403),
        (Access::anyone(), other, 200),
    ] {
        let (router, _engine) = Asking::new(&server, &access).await;
        let (head, body) = router.ask(&token(name, AUDIENCE, 600)).await;
        assert_eq!(status(&head), expected, "{access:?} {name}: {body}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_for_us_is_not_shown_to_the_api_server() {
    let server = ApiServer::new().await;
    let (router, _engine) = Asking::new(&server, &Access::default()).await;
    for wrong in [
        token(NAME, "https://kubernetes.default.svc", 600),
        token("ann", AUDIENCE, 600),
        token(NAME, AUDIENCE, -5),
        "sk-proj-of-another".to_owned(),
    ] {
        let (head, body) = router.ask(&wrong).await;
        assert_eq!((status(&head), header(&head, "www-authenticate")), (401, Some("Bearer")), "{body}");
        assert!(!body.contains(&wrong));
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn what_the_api_server_denies_is_denied_and_not_asked_again_at_once() {
    let server = ApiServer::new().await;
    let (router, engine) = Asking::new(&server, &Access::default()).await;
    for mood in [Mood::Denies, Mood::Unaware] {
        server.is(mood);
        let (token, before) = (token(NAME, AUDIENCE, 600), server.asked());
        for _ in 0..3 {
            assert_eq!(router.status(&token).await, 401, "{mood:?}");
        }
        assert_eq!(server.asked() - before, 1, "{mood:?}");
    }
    assert_eq!(engine.connections(), 0);
}

#[tokio::test]
async fn many_requests_with_one_token_make_one_review() {
    let server = ApiServer::new().await;
    server.gate.forget_permits(Semaphore::MAX_PERMITS);
    let (router, _engine) = Asking::new(&server, &Access::default()).await;
    let token = token(NAME, AUDIENCE, 600);
    let asking = futures::future::join_all((0..20).map(|_| router.status(&token)));
    let opening = async {
        crate::bed::until("the review is asked for", || server.asked() == 1).await;
        server.gate.add_permits(1);
    };
    assert_eq!(soon(async { tokio::join!(asking, opening) }).await.0, vec![200; 20]);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn without_the_api_server_known_tokens_go_on_and_others_wait() {
    let server = ApiServer::new().await;
    let (router, _engine) = Asking::new(&server, &Access::default()).await;
    let known = token(NAME, AUDIENCE, 600);
    assert_eq!(router.status(&known).await, 200);
    server.is(Mood::Away);
    assert_eq!(router.status(&known).await, 200);
    let (head, body) = router.ask(&token(NAME, AUDIENCE, 600)).await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("5")), "{body}");
}

/// A key of an issuer, and the tokens that it signs.
struct Issuer {
    id: &'static str,
    key: Ed25519KeyPair,
}

const ISSUER: &str = "https://login.example.com";

impl Issuer {
    fn new(id: &'static str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id, key: Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap() }
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.id});
        let mut all = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": in_seconds(300)});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(all.to_string().as_bytes()));
        format!("{signed}.{}", encode(self.key.sign(signed.as_bytes()).as_ref()))
    }

    fn listed(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": encode(self.key.public_key().as_ref())})
    }
}

/// A server of an issuer's documents, which can be away, and a router that reads them.
struct Trusting {
    bed: Bed,
    keys: Arc<std::sync::Mutex<Option<Vec<Value>>>>,
    read: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
    _engines: [Engine; 2],
}

impl Trusting {
    /// `discovered`: the keys are found by the issuer's description.
    async fn new(first: &Issuer, discovered: bool, allow: &[&str]) -> Self {
        let keys = Arc::new(std::sync::Mutex::new(Some(vec![first.listed()])));
        let read = Arc::new(AtomicUsize::new(0));
        let (listed, count) = (Arc::clone(&keys), Arc::clone(&read));
        let server = Engine::new(move |_, wire| documents(wire, Arc::clone(&listed), Arc::clone(&count))).await;
        let address = server.address;
        let engine = Engine::answering(plain("{}")).await;
        let bed = Bed::new(&[engine.address]);
        let issuer = if discovered { format!("http://{address}") } else { ISSUER.to_owned() };
        let jwks = (!discovered).then(|| format!("http://{address}/keys"));
        let oidc = Oidc { issuer, audiences: vec![AUDIENCE.to_owned()], jwks, claim: "sub".to_owned() };
        let access = Access { oidc: Some(oidc.clone()), ..allowing(allow) };
        let outbound = Outbound::new(Reach::new(vec!["127.0.0.1".parse().unwrap()]), Vec::new()).unwrap();
        let (again, asked) = mpsc::channel(4);
        let (known, mut changes) = watch::channel(Arc::new(Issuers::asking(again)));
        let (wanted, wants) = watch::channel([oidc.source()].into());
        let reading = tokio::spawn(async move {
            issuers::keep(outbound, wants, asked, known).await;
            drop(wanted);
        });
        let (live, metrics, pool) = (Arc::clone(&bed.live), bed.metrics.clone(), engine.address);
        let put = move |issuers: Arc<Issuers>| {
            let table = guarded(&[pool], &access, &Table::default());
            live.store(Arc::new(Live::new(table, &metrics).with_issuers(issuers)));
        };
        put(Arc::default());
        let following = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                put(Arc::clone(&changes.borrow_and_update()));
            }
        });
        Self { bed, keys, read, tasks: [reading, following], _engines: [engine, server] }
    }

    async fn ask(&self, token: &str) -> (String, String) {
        let mut client = self.bed.client().await;
        client.send(post(CHAT, &format!("authorization: Bearer {token}\r\n"), ASK)).await;
        client.message().await
    }

    async fn status(&self, token: &str) -> u16 {
        status(&self.ask(token).await.0)
    }

    /// Waits until the answer to this token is no longer that it cannot be judged.
    async fn judged(&self, token: &str) -> u16 {
        let asking = async {
            loop {
                match self.status(token).await {
                    503 => tokio::time::sleep(Duration::from_millis(10)).await,
                    status => return status,
                }
            }
        };
        soon(asking).await
    }
}

impl Drop for Trusting {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn documents(mut wire: Wire, keys: Arc<std::sync::Mutex<Option<Vec<Value>>>>, read: Arc<AtomicUsize>) {
    while let Some((head, _)) = wire.next_message().await {
        let keys = keys.lock().unwrap().clone();
        let (Some(keys), Some(host)) = (keys, header(&head, "host")) else {
            wire.send("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
            continue;
        };
        let document = match head.split(' ').nth(1) {
            // As Kubernetes has it.
            Some("/keys")
                if !header(&head, "accept").is_some_and(|types| types.contains("application/jwk-set+json")) =>
            {
                wire.send("HTTP/1.1 406 Not Acceptable\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            }
            Some("/keys") => {
                read.fetch_add(1, Ordering::SeqCst);
                json!({"keys": keys})
            }
            Some("/.well-known/openid-configuration") => {
                json!({"issuer": format!("http://{host}"), "jwks_uri": format!("http://{host}/keys")})
            }
            path => panic!("{path:?}"),
        };
        wire.send(plain(&document.to_string())).await;
    }
}

#[tokio::test]
async fn a_token_of_the_policy_s_issuer_opens_what_the_policy_says() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("a"));
    let router = Trusting::new(&issuer, false, &["oidc:ann"]).await;
    assert_eq!(router.judged(&issuer.token(&json!({}))).await, 200);
    let other = json!({"iss": "https://other.example"});
    for (token, expected) in [
        (issuer.token(&json!({"sub": "bob"})), 403),
        (issuer.token(&json!({"aud": "other"})), 401),
        (issuer.token(&json!({"exp": in_seconds(-61)})), 401),
        (issuer.token(&other), 401),
        (stranger.token(&json!({})), 401),
    ] {
        let (head, body) = router.ask(&token).await;
        assert_eq!(status(&head), expected, "{body}");
        assert!(!body.contains(&token));
    }
    assert_eq!(router.read.load(Ordering::SeqCst), 1, "the keys are not read for a request");
}

#[tokio::test]
async fn an_issuer_s_description_says_where_its_keys_are_and_they_outlive_it() {
    let (issuer, next) = (Issuer::new("a"), Issuer::new("b"));
    let router = Trusting::new(&issuer, true, &[]).await;
    let host = format!("http://{}", router._engines[1].address);
    let by = |issuer: &Issuer| issuer.token(&json!({"iss": host}));
    assert_eq!(router.judged(&by(&issuer)).await, 200);
    *router.keys.lock().unwrap() = None;
    assert_eq!(router.status(&by(&issuer)).await, 200, "the issuer is away");
    // A new key: not known at first, and taken as soon as it is.
    *router.keys.lock().unwrap() = Some(vec![next.listed()]);
    assert_ne!(router.status(&by(&next)).await, 200, "no request waits for the issuer");
    let later = async {
        while router.status(&by(&next)).await != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), later).await.expect("the new key is found");
    assert_eq!(router.status(&by(&issuer)).await, 401, "the old key was taken back");
}

/// Any policy can name an issuer that takes connections and says nothing.
#[tokio::test]
async fn a_dead_issuer_delays_no_other() {
    let hung_up = Arc::new(AtomicUsize::new(0));
    let gone = Arc::clone(&hung_up);
    let dead = Engine::new(move |_, mut wire: Wire| {
        let gone = Arc::clone(&gone);
        async move {
            wire.read_to("\r\n\r\n").await;
            wire.read_all().await;
            gone.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let well = Engine::answering(plain(&json!({"keys": [Issuer::new("a").listed()]}).to_string())).await;
    let source = |engine: &Engine| {
        let jwks = Some(format!("http://{}/keys", engine.address));
        let (issuer, audiences) = (ISSUER.to_owned(), vec![AUDIENCE.to_owned()]);
        Oidc { issuer, audiences, jwks, claim: "sub".to_owned() }.source()
    };
    let outbound = Outbound::new(Reach::new(vec!["127.0.0.1".parse().unwrap()]), Vec::new()).unwrap();
    let (again, asked) = mpsc::channel(4);
    let (known, mut changes) = watch::channel(Arc::new(Issuers::asking(again)));
    let (_wanted, wants) = watch::channel([source(&dead), source(&well)].into());
    let reading = tokio::spawn(issuers::keep(outbound, wants, asked, known));
    soon(changes.changed()).await.unwrap();
    assert_eq!(hung_up.load(Ordering::SeqCst), 0, "the dead one is still waited for");
    assert_eq!(dead.connections(), 1);
    reading.abort();
}
