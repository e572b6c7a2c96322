//! Targets that are no pools: what a provider sees, with which key, and what the client gets when all is well (S20 to S23, S30, S33,
//! S35).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use router::live::{Live, Shared};
use router::metrics::Metrics;
use router::outbound::Outbound;
use router::secrets::{Held, Key, KeyFault, Secrets};
use router::settings::Settings;
use router::workers::Workers;
use router_core::{
    Access, Api, EndpointInput, Moment, PolicyInput, PoolInput, Reach, RemoteInput, Resilience, SecretKey, Table,
    TargetInput,
};

use crate::bed::{ANSWER, ASK, Bed, Engine, STREAM, Wire, calm, chat, chunk, header, plain, post, soon, status, until};

/// What no log, answer or metric may hold.
pub(crate) const KEY: &str = "sk-canary-0123456789";
pub(crate) const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
pub(crate) const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";
pub(crate) const ASK_STREAM: &str =
    r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;

fn secret() -> SecretKey {
    SecretKey { namespace: "ml".to_owned(), name: "openai".to_owned(), key: "api-key".to_owned() }
}

/// A target at a listener of the test.
pub(crate) fn far(api: Api, address: SocketAddr) -> RemoteInput {
    RemoteInput {
        api,
        secure: false,
        host: address.ip().to_string(),
        port: address.port(),
        authority: address.to_string(),
        path: if api == Api::Anthropic { String::new() } else { "/v1".to_owned() },
        model: Some("gpt-4o-mini".to_owned()),
        secret: Some(secret()),
        aws: None,
        host_is_chosen: false,
        api_version: None,
        organization: None,
        project: None,
        key_version: 1,
    }
}

/// A policy for the model `m`: the pool `ml/p` with these engines, then these remotes, `far-0` first.
pub(crate) struct World {
    pub(crate) engines: Vec<SocketAddr>,
    pub(crate) pool: bool,
    pub(crate) remotes: Vec<RemoteInput>,
    pub(crate) resilience: Resilience,
}

impl World {
    /// Without any pool.
    pub(crate) fn of(remotes: Vec<RemoteInput>) -> Self {
        // A test that is to see one attempt sees one.
        let resilience = Resilience { attempts: 0, ..Resilience::default() };
        Self { engines: Vec::new(), pool: false, remotes, resilience }
    }

    fn table(&self, before: &Table) -> Table {
        let pool = self.pool.then(|| TargetInput::new("local", "ml", "p"));
        let remotes = self.remotes.iter().cloned().enumerate();
        let remotes = remotes.map(|(at, remote)| TargetInput::remote(format!("far-{at}"), remote));
        let policy = PolicyInput {
            namespace: "ml".to_owned(),
            name: "route".to_owned(),
            created: 1,
            models: vec!["m".to_owned()],
            targets: pool.into_iter().chain(remotes).collect(),
            session_header: None,
            access: Access::anyone(),
            resilience: self.resilience.clone(),
            rules: Vec::new(),
            allows_target_header: false,
            classifier: None,
        };
        let pool = PoolInput { namespace: "ml".to_owned(), name: "p".to_owned(), served_model: "m".to_owned() };
        let endpoint = |address: &SocketAddr| EndpointInput {
            namespace: "ml".to_owned(),
            pool: "p".to_owned(),
            address: *address,
            ready: true,
        };
        Table::build(vec![policy], vec![pool], self.engines.iter().map(endpoint).collect(), before, Moment(0))
    }

    pub(crate) fn live(&self, before: &Table, metrics: &Metrics, secrets: &Secrets) -> Live {
        Live::new(self.table(before), metrics).with(secrets)
    }

    pub(crate) fn bed(&self) -> Bed {
        self.bed_with(calm(), &keys(KEY))
    }

    /// A router that may reach this machine.
    pub(crate) fn bed_with(&self, settings: Settings, secrets: &Secrets) -> Bed {
        let reach = Reach::new(vec!["127.0.0.1".parse().unwrap()]);
        self.bed_as(&Settings { outbound: Outbound::new(reach, Vec::new()).unwrap(), ..settings }, secrets)
    }

    /// A router with these settings.
    pub(crate) fn bed_as(&self, settings: &Settings, secrets: &Secrets) -> Bed {
        let metrics = Metrics::new().unwrap();
        let live: Shared = self.live(&Table::default(), &metrics, secrets).shared();
        metrics.observe(&live).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let workers = Workers::start(listen, 1, settings, &live, &metrics, Duration::from_secs(20)).unwrap();
        Bed { workers, live, metrics }
    }
}

pub(crate) fn keys(key: &str) -> Secrets {
    let held = Held { key: Key::new(key.as_bytes()).unwrap(), hosts: Vec::new(), version: 1 };
    Secrets::new([(secret(), Ok(held))])
}

pub(crate) fn stream_of(events: &[&str]) -> String {
    let chunks: String = events.iter().map(|event| chunk(event)).collect();
    format!("{STREAM}{chunks}0\r\n\r\n")
}

pub(crate) fn answer(code: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {code}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) async fn ask(bed: &Bed, body: &str) -> (String, String) {
    bed.asking(body).await.message().await
}

/// One that gives this answer once, and shows what it was asked with.
pub(crate) async fn showing(
    answer: impl Into<Vec<u8>>,
) -> (Engine, tokio::sync::mpsc::UnboundedReceiver<(String, String)>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let answer = answer.into();
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (tell, answer) = (tell.clone(), answer.clone());
        async move {
            while let Some(asked) = wire.next_message().await {
                let _ = tell.send(asked);
                wire.send(&answer).await;
            }
        }
    });
    (engine.await, told)
}

#[tokio::test]
async fn a_provider_answers_where_the_pool_is_cold() {
    let (engine, mut asked) = showing(stream_of(&[ROLE, TOKEN, DONE])).await;
    let world = World { pool: true, ..World::of(vec![far(Api::OpenAi, engine.address)]) };
    let bed = world.bed();
    let mut client = bed.client().await;
    let headers = "authorization: Bearer of-the-client\r\ncookie: theirs\r\nx-stainless-lang: python\r\nopenai-organization: \
                   theirs\r\nopenai-beta: x=y\r\nx-request-id: abc\r\n";
    client.send(post("/v1/chat/completions", headers, ASK_STREAM)).await;
    let head = client.read_to("\r\n\r\n").await;
    assert_eq!((status(&head), header(&head, "x-request-id")), (200, Some("abc")));
    // What the engine wrote at once arrives at once.
    assert_eq!(client.read_to("0\r\n\r\n").await, chunk(&[ROLE, TOKEN, DONE].concat()) + "0\r\n\r\n");
    let (head, body) = asked.recv().await.unwrap();
    let want =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", engine.address, body.len());
    assert!(head.starts_with(&want), "{head}");
    assert_eq!(header(&head, "authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(header(&head, "openai-beta"), Some("x=y"));
    for secret in ["of-the-client", "theirs", "stainless", "abc"] {
        assert!(!head.contains(secret), "{secret}: {head}");
    }
    assert_eq!(body, ASK_STREAM.replace("\"m\"", "\"gpt-4o-mini\""));
}

#[tokio::test]
async fn each_api_is_asked_in_its_own_way() {
    /// Whose API, what is special about the target, path and body, the line that is seen there, and headers.
    type Case = (
        Api,
        fn(RemoteInput) -> RemoteInput,
        &'static str,
        &'static str,
        &'static str,
        &'static [(&'static str, Option<&'static str>)],
    );
    let messages = r#"{"model":"m","max_tokens":5,"messages":[]}"#;
    let azure = |remote: RemoteInput| RemoteInput {
        path: "/openai/deployments/d".to_owned(),
        api_version: Some("2024-10-21".to_owned()),
        ..remote
    };
    let org = |remote: RemoteInput| RemoteInput { organization: Some("org".to_owned()), ..remote };
    let open = |remote: RemoteInput| RemoteInput { secret: None, model: None, ..remote };
    let same = |remote: RemoteInput| remote;
    let cases: [Case; 5] = [
        (
            Api::Anthropic,
            same,
            "/v1/messages?beta=true",
            messages,
            "POST /v1/messages?beta=true HTTP/1.1",
            &[
                ("x-api-key", Some(KEY)),
                ("anthropic-version", Some("2023-06-01")),
                ("anthropic-beta", Some("files")),
                ("authorization", None),
            ],
        ),
        (Api::Anthropic, same, "/v1/messages/count_tokens", messages, "POST /v1/messages/count_tokens HTTP/1.1", &[]),
        (
            Api::OpenAi,
            azure,
            "/v1/embeddings",
            ASK,
            "POST /openai/deployments/d/embeddings?api-version=2024-10-21 HTTP/1.1",
            &[("api-key", Some(KEY)), ("authorization", None)],
        ),
        (
            Api::OpenAi,
            org,
            "/v1/responses",
            ASK,
            "POST /v1/responses HTTP/1.1",
            &[("openai-organization", Some("org"))],
        ),
        (
            Api::Engine,
            open,
            "/tokenize",
            ASK,
            "POST /tokenize HTTP/1.1",
            &[("authorization", None), ("x-api-key", None), ("x-mine", Some("1"))],
        ),
    ];
    for (api, change, path, body, line, want) in cases {
        // Something of each API's answers.
        let all = r#"{"content":[],"output":[],"data":[]}"#;
        let (engine, mut asked) = showing(plain(all)).await;
        let bed = World::of(vec![change(far(api, engine.address))]).bed();
        let mut client = bed.client().await;
        let headers = "x-api-key: theirs\r\nauthorization: Bearer theirs\r\nanthropic-beta: files\r\nx-mine: 1\r\n";
        client.send(post(path, headers, body)).await;
        let (head, text) = client.message().await;
        assert_eq!(status(&head), 200, "{path} {text}");
        let (head, _) = asked.recv().await.unwrap();
        assert!(head.starts_with(line), "{path}: {head}");
        for (name, value) in want {
            assert_eq!(header(&head, name), *value, "{path} {name}: {head}");
        }
        assert!(!head.contains("theirs"), "{head}");
    }
}

#[tokio::test]
async fn what_a_target_cannot_do_goes_to_one_that_can_or_is_refused() {
    let (one, other) = (Engine::answering(plain("one")).await, Engine::answering(plain("other")).await);
    let remotes = vec![far(Api::Anthropic, one.address), far(Api::OpenAi, other.address)];
    let bed = World::of(remotes).bed();
    let mut client = bed.client().await;
    client.send(post("/v1/embeddings", "", ASK)).await;
    assert_eq!(client.message().await.1, "other");
    client.send(post("/rerank", "", ASK)).await;
    let (head, body) = client.message().await;
    assert_eq!(status(&head), 400);
    assert!(body.contains("unsupported_by_target"), "{body}");
}

pub(crate) fn page(bed: &Bed) -> String {
    prometheus::TextEncoder::new().encode_to_string(&bed.metrics.registry.gather()).unwrap()
}

#[tokio::test]
async fn keys_are_never_shown() {
    let echo = format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}");
    for code in ["400 Bad", "401 Unauthorized", "404 Gone", "429 Too Many", "500 Error", "529 Busy"] {
        let engine =
            Engine::answering(answer(code, &format!("x-echo: {KEY}\r\nopenai-organization: acme\r\n"), &echo)).await;
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
        let (head, body) = ask(&bed, ASK).await;
        assert!(status(&head) >= 400 && !head.contains("canary") && !body.contains("canary"), "{code}: {head}{body}");
        assert!(!head.contains("acme"), "{head}");
        let debug = format!("{:?} {:?}", bed.live.load().table, keys(KEY));
        assert!(!debug.contains("canary") && !page(&bed).contains("canary"));
    }
}

#[tokio::test]
async fn nothing_is_sent_without_the_key() {
    let engine = Engine::answering(plain(ANSWER)).await;
    let none = Secrets::new([(secret(), Err(KeyFault::Missing))]);
    for secrets in [none, Secrets::default()] {
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed_with(calm(), &secrets);
        let (head, body) = ask(&bed, ASK).await;
        assert_eq!(status(&head), 502);
        assert!(body.contains("upstream_credentials_missing"), "{body}");
    }
    // A host that a policy chose gets no key whose Secret does not name it.
    let chosen = RemoteInput { host_is_chosen: true, ..far(Api::OpenAi, engine.address) };
    let world = World::of(vec![chosen]);
    assert_eq!(status(&ask(&world.bed(), ASK).await.0), 502);
    assert_eq!(engine.connections(), 0);
    let held = |host: &str| Held { key: Key::new(KEY.as_bytes()).unwrap(), hosts: vec![host.to_owned()], version: 1 };
    let named = Secrets::new([(secret(), Ok(held("127.0.0.1")))]);
    assert_eq!(status(&ask(&world.bed_with(calm(), &named), ASK).await.0), 200);
}

#[tokio::test]
async fn a_new_key_is_used_from_the_next_request_on() {
    let (engine, mut asked) = showing(answer("401 Unauthorized", "", "{}")).await;
    let mut world = World::of(vec![far(Api::OpenAi, engine.address)]);
    world.resilience.breaker_failures = 1;
    let bed = world.bed();
    ask(&bed, ASK).await;
    assert!(asked.recv().await.unwrap().0.contains(KEY));
    // It is left alone now; with a new key it has a new chance at once.
    ask(&bed, ASK).await;
    assert_eq!(engine.connections(), 1);
    world.remotes[0].key_version = 2;
    let live = world.live(&bed.live.load().table, &bed.metrics, &keys("sk-new"));
    bed.live.store(Arc::new(live));
    ask(&bed, ASK).await;
    let (head, _) = asked.recv().await.unwrap();
    assert_eq!(header(&head, "authorization"), Some("Bearer sk-new"));
}

/// S20 to S22: neither a policy nor a request makes the router speak to what only the router can reach.
#[tokio::test]
async fn hidden_addresses_are_not_connected_to() {
    let engine = Engine::answering(plain(ANSWER)).await;
    let at = |host: &str, api: Api| RemoteInput {
        host: host.to_owned(),
        authority: format!("{host}:{}", engine.address.port()),
        ..far(api, engine.address)
    };
    let metrics = Metrics::new().unwrap();
    let cases = [
        ("127.0.0.1", Api::OpenAi),
        ("localhost", Api::OpenAi),
        ("::ffff:127.0.0.1", Api::OpenAi),
        ("127.0.0.1", Api::Engine),
        ("localhost", Api::Engine),
    ];
    for (host, api) in cases {
        let world = World::of(vec![at(host, api)]);
        for secure in [false, true] {
            let mut world = World { resilience: world.resilience.clone(), ..World::of(world.remotes.clone()) };
            world.remotes[0].secure = secure;
            let live = world.live(&Table::default(), &metrics, &keys(KEY)).shared();
            let listen = "127.0.0.1:0".parse().unwrap();
            let workers = Workers::start(listen, 1, &calm(), &live, &metrics, Duration::from_secs(20)).unwrap();
            let bed = Bed { workers, live, metrics: metrics.clone() };
            let (head, body) = ask(&bed, ASK).await;
            assert_eq!(status(&head), 502, "{host}");
            assert!(body.contains("upstream_forbidden"), "{host}: {body}");
        }
    }
    assert_eq!(engine.connections(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_provider_s_work() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            let (_, body) = wire.message().await;
            if body.contains("stream") {
                wire.send(format!("{STREAM}{}", chunk(TOKEN))).await;
            }
            tell.send("asked").unwrap();
            wire.read_all().await;
            tell.send("closed").unwrap();
        }
    })
    .await;
    let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
    for body in [ASK, ASK_STREAM] {
        let client = bed.asking(body).await;
        assert_eq!(soon(told.recv()).await, Some("asked"));
        drop(client);
        assert_eq!(soon(told.recv()).await, Some("closed"), "{body}");
    }
    let in_flight = r#"quartermaster_router_target_in_flight{policy="ml/route",pool="far-0"}"#;
    until("nothing under way", || bed.figure(in_flight) < 0.5).await;
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_they_die() {
    let engine = Engine::new(|_, mut wire: Wire| async move {
        for _ in 0..3 {
            if !wire.asked().await {
                return;
            }
            wire.send(plain(ANSWER)).await;
        }
    })
    .await;
    let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
    let mut client = bed.client().await;
    for _ in 0..9 {
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    }
    assert_eq!(engine.connections(), 3);
}
