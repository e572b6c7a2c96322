//! Targets that are no pools: what a provider sees and what the client gets, when all is well and when the provider
//! misbehaves (RU-04 to RU-07, RU-12; S20 to S23, S30, S33, S35).

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
    Access, Api, EndpointInput, Moment, PolicyInput, PoolInput, Reach, Reason, RemoteInput, Resilience, SecretKey,
    Table, TargetInput,
};

use crate::bed::{ASK, Bed, Engine, STREAM, Wire, chat, chunk, header, plain, post, soon, status, until};
use crate::retry::Nobody;

/// What no log, answer or metric may hold.
const KEY: &str = "sk-canary-0123456789";
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const ASK_STREAM: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;

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

    fn live(&self, before: &Table, metrics: &Metrics, secrets: &Secrets) -> Live {
        Live::new(self.table(before), metrics).with(secrets)
    }

    pub(crate) fn bed(&self) -> Bed {
        self.bed_with(Settings::default(), &keys(KEY))
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

fn stream_of(events: &[&str]) -> String {
    let chunks: String = events.iter().map(|event| chunk(event)).collect();
    format!("{STREAM}{chunks}0\r\n\r\n")
}

fn answer(code: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {code}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn ask(bed: &Bed, body: &str) -> (String, String) {
    bed.asking(body).await.message().await
}

/// One that gives this answer once, and shows what it was asked with.
async fn showing(answer: impl Into<Vec<u8>>) -> (Engine, tokio::sync::mpsc::UnboundedReceiver<(String, String)>) {
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
        let (engine, mut asked) = showing(plain("{}")).await;
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

/// The next target is asked for the reasons that the policy lists, and for no other; a client's own fault is never one.
#[tokio::test]
async fn the_reasons_that_are_listed_lead_to_the_next_target() {
    let quota = r#"{"error":{"message":"You exceeded","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let cases: Vec<(String, Option<Reason>, u16)> = vec![
        (answer("400 Bad Request", "", r#"{"error":{"message":"their words"}}"#), None, 400),
        (answer("413 Too Large", "", "{}"), None, 413),
        (answer("422 Unprocessable", "", "{}"), None, 422),
        (answer("401 Unauthorized", "", "{}"), Some(Reason::ServerError), 502),
        (answer("403 Forbidden", "", "{}"), Some(Reason::ServerError), 502),
        (answer("404 Not Found", "", "{}"), Some(Reason::ServerError), 404),
        (answer("408 Timeout", "", "{}"), Some(Reason::Timeout), 408),
        (answer("429 Too Many", "retry-after: 7\r\n", "{}"), Some(Reason::RateLimited), 429),
        (answer("429 Too Many", "", quota), Some(Reason::RateLimited), 429),
        (answer("500 Error", "", "{}"), Some(Reason::ServerError), 500),
        (answer("503 Busy", "", "{}"), Some(Reason::Overloaded), 503),
        (answer("529 Overloaded", "", "{}"), Some(Reason::Overloaded), 503),
        (answer("307 Elsewhere", "location: http://127.0.0.1:1/\r\n", ""), Some(Reason::ServerError), 502),
        (stream_of(&["data: {\"error\":{\"message\":\"no\"}}\n\n"]), Some(Reason::ServerError), 500),
        (stream_of(&[ROLE, overloaded]), Some(Reason::Overloaded), 503),
        (stream_of(&[ROLE]), Some(Reason::ServerError), 502),
        (format!("{STREAM}{}", chunk(ROLE)), Some(Reason::ServerError), 502),
        ("HTTP/1.1 200 OK\r\n".to_owned(), Some(Reason::ServerError), 502),
        ("not HTTP at all\r\n\r\n".to_owned(), Some(Reason::ServerError), 502),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            Some(Reason::ServerError),
            502,
        ),
    ];
    for (text, reason, alone) in cases {
        // Each answers once and closes.
        let failing = || {
            let text = text.clone();
            Engine::new(move |_, mut wire: Wire| {
                let text = text.clone();
                async move {
                    wire.asked().await;
                    wire.send(text).await;
                }
            })
        };
        let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
        let all = Resilience::default().fallback_on;
        let others: Vec<Reason> = all.iter().copied().filter(|other| Some(*other) != reason).collect();
        for (listed, falls_back) in [(all, reason.is_some()), (others, false)] {
            let bad = failing().await;
            let mut world = World::of(vec![far(Api::OpenAi, bad.address), far(Api::OpenAiCompatible, good.address)]);
            world.resilience.fallback_on = listed;
            let (code, _, body) = crate::wrong::answer(&mut world.bed().asking(ASK_STREAM).await).await;
            if falls_back {
                assert!(code == 200 && body.contains("Hi") && body.contains("[DONE]"), "{text:?}: {code} {body}");
            } else {
                assert_eq!(code, alone, "{text:?}: {body}");
            }
            assert_eq!(bad.connections(), 1, "{text:?}");
        }
        let bad = failing().await;
        let (head, body) = ask(&World::of(vec![far(Api::OpenAi, bad.address)]).bed(), ASK_STREAM).await;
        assert_eq!(status(&head), alone, "{text:?}: {body}");
        match alone {
            400 => assert!(body.contains("their words"), "{body}"),
            429 if text.contains("retry-after") => assert_eq!(header(&head, "retry-after"), Some("7")),
            429 => assert!(body.contains("insufficient_quota"), "{body}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn messages_keep_529() {
    let busy = answer("529 Overloaded", "", r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#);
    let engine = Engine::answering(busy).await;
    let bed = World::of(vec![far(Api::Anthropic, engine.address)]).bed();
    let mut client = bed.client().await;
    client.send(post("/v1/messages", "", r#"{"model":"m","max_tokens":1,"messages":[]}"#)).await;
    assert_eq!(status(&client.message().await.0), 529);
}

/// The engines of a pool cannot be reached, or fail: the provider answers, and the client does not notice.
#[tokio::test]
async fn a_pool_that_fails_is_stood_in_for() {
    let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
    let dead = Nobody::new();
    let dying = Engine::new(|_, mut wire| async move {
        wire.message().await;
    });
    let failing = Engine::answering(answer("500 Error", "", "{}")).await;
    let full = Engine::answering(answer("503 Full", "", "{}")).await;
    for address in [dead.address(), dying.await.address, failing.address, full.address] {
        let world = World { pool: true, engines: vec![address], ..World::of(vec![far(Api::OpenAi, good.address)]) };
        let bed = world.bed();
        for _ in 0..3 {
            let mut client = bed.asking(ASK_STREAM).await;
            assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
            assert!(client.read_to("0\r\n\r\n").await.contains("[DONE]"));
        }
        assert!(bed.figure(r#"quartermaster_router_fallbacks_total{policy="ml/route",pool="ml/p""#) < 1e-9);
        let page = page(&bed);
        assert!(page.contains(r#"fallbacks_total{policy="ml/route",pool="ml/p",reason=""#), "{page}");
        assert!(!page.contains("canary"));
    }
}

fn page(bed: &Bed) -> String {
    prometheus::TextEncoder::new().encode_to_string(&bed.metrics.registry.gather()).unwrap()
}

#[tokio::test]
async fn a_stream_that_is_cut_after_its_first_token_ends_in_an_error_and_nothing_else() {
    let good = Engine::answering(plain("good")).await;
    let whole = stream_of(&[ROLE, TOKEN]);
    let half = format!("{STREAM}{}{}", chunk(ROLE), chunk(TOKEN));
    for text in [whole, half] {
        let cut = Engine::new(move |_, mut wire: Wire| {
            let text = text.clone();
            async move {
                wire.asked().await;
                wire.send(text).await;
            }
        })
        .await;
        let bed = World::of(vec![far(Api::OpenAi, cut.address), far(Api::OpenAi, good.address)]).bed();
        let mut client = bed.asking(ASK_STREAM).await;
        let head = client.read_to("\r\n\r\n").await;
        assert_eq!(status(&head), 200);
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("Hi") && body.contains("upstream_cut"), "{body}");
        assert!(!body.contains("[DONE]") && !body.contains("finish_reason") && !body.contains("good"), "{body}");
    }
}

#[tokio::test]
async fn each_timeout_has_its_figure_and_leads_on_while_that_is_possible() {
    let mute = || {
        Engine::new(|_, mut wire: Wire| async move {
            wire.asked().await;
            std::future::pending::<()>().await;
        })
    };
    let stalling = || {
        Engine::new(|_, mut wire: Wire| async move {
            wire.asked().await;
            wire.send(format!("{STREAM}{}", chunk(ROLE))).await;
            std::future::pending::<()>().await;
        })
    };
    let good = Engine::answering(stream_of(&[ROLE, TOKEN, DONE])).await;
    let short = Some(Duration::from_millis(100));
    for slow in [mute().await, stalling().await] {
        let mut world = World::of(vec![far(Api::OpenAi, slow.address), far(Api::OpenAi, good.address)]);
        world.resilience.first_token = short;
        let bed = world.bed();
        let mut client = bed.asking(ASK_STREAM).await;
        assert_eq!(status(&client.read_to("\r\n\r\n").await), 200);
        assert!(client.read_to("0\r\n\r\n").await.contains("[DONE]"));
        let missed = r#"quartermaster_router_timeouts_total{policy="ml/route",pool="far-0",timeout="first_token"}"#;
        assert!((bed.figure(missed) - 1.0).abs() < 1e-9);
    }
    let pausing = Engine::new(|_, mut wire: Wire| async move {
        wire.asked().await;
        wire.send(format!("{STREAM}{}", chunk(TOKEN))).await;
        std::future::pending::<()>().await;
    })
    .await;
    for (timeout, code) in [("idle", "upstream_timeout"), ("total", "upstream_total_timeout")] {
        let mut world = World::of(vec![far(Api::OpenAi, pausing.address)]);
        if timeout == "idle" {
            world.resilience.idle = short;
        } else {
            world.resilience.total = short;
        }
        let bed = world.bed();
        let mut client = bed.asking(ASK_STREAM).await;
        client.read_to("\r\n\r\n").await;
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("Hi") && body.contains(code), "{body}");
        let missed =
            format!(r#"quartermaster_router_timeouts_total{{policy="ml/route",pool="far-0",timeout="{timeout}"}}"#);
        assert!((bed.figure(&missed) - 1.0).abs() < 1e-9, "{timeout}");
    }
}

#[tokio::test]
async fn a_key_that_was_used_too_often_rests_as_long_as_it_was_told_to() {
    let limited = Engine::answering(answer("429 Too Many", "retry-after-ms: 300\r\n", "{}")).await;
    let good = Engine::answering(plain("good")).await;
    let other = RemoteInput { model: Some("other".to_owned()), ..far(Api::OpenAi, limited.address) };
    let stranger = RemoteInput { secret: None, ..far(Api::OpenAiCompatible, good.address) };
    let bed = World::of(vec![far(Api::OpenAi, limited.address), other, stranger]).bed();
    let asked = tokio::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(ask(&bed, ASK).await.1, "good");
    }
    if asked.elapsed() < Duration::from_millis(300) {
        assert_eq!(limited.connections(), 1, "neither target with this key was asked again");
    }
    let connections = || async {
        let _ = ask(&bed, ASK).await;
        bed.figure(r#"quartermaster_router_fallbacks_total{policy="ml/route",pool="far-0",reason="RateLimited"}"#)
    };
    let before = connections().await;
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert!(connections().await > before);

    // Nobody else is left: the client is told when to come again, and is not sent to the provider meanwhile.
    let limited = Engine::answering(answer("429 Too Many", "retry-after: 60\r\n", "{}")).await;
    let bed = World::of(vec![far(Api::OpenAi, limited.address)]).bed();
    assert_eq!(header(&ask(&bed, ASK).await.0, "retry-after"), Some("60"));
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!(status(&head), 429, "{body}");
    assert!(["59", "60"].contains(&header(&head, "retry-after").unwrap()), "{head}");
    assert_eq!(limited.connections(), 1);
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_alone_and_found_again() {
    let flaky = Engine::new(|_, mut wire: Wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            let code = if body.contains("please") { plain("well") } else { answer("500 Error", "", "{}") };
            wire.send(code).await;
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, flaky.address)]);
    world.resilience.breaker_failures = 3;
    world.resilience.ejection = Duration::from_millis(200);
    let bed = world.bed();
    for _ in 0..3 {
        assert_eq!(status(&ask(&bed, ASK).await.0), 500);
    }
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("1")), "{body}");
    assert!(body.contains("upstream_resting"), "{body}");
    let usable = r#"quartermaster_router_target_usable{policy="ml/route",pool="far-0"}"#;
    assert!(bed.figure(usable) < 0.5);
    let polite = r#"{"model":"m","messages":["please"]}"#;
    let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
    while status(&ask(&bed, polite).await.0) != 200 {
        assert!(tokio::time::Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bed.figure(usable) > 0.5);
}

#[tokio::test]
async fn the_last_target_is_asked_again_after_a_pause() {
    let flaky = Engine::new(|number, mut wire: Wire| async move {
        while wire.asked().await {
            wire.send(if number < 2 { answer("500 Error", "connection: close\r\n", "{}") } else { plain("well") })
                .await;
            if number < 2 {
                return;
            }
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, flaky.address)]);
    world.resilience.attempts = 2;
    assert_eq!(ask(&world.bed(), ASK).await.1, "well");
    assert_eq!(flaky.connections(), 3);
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
    let engine = Engine::answering(plain("{}")).await;
    let none = Secrets::new([(secret(), Err(KeyFault::Missing))]);
    for secrets in [none, Secrets::default()] {
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed_with(Settings::default(), &secrets);
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
    assert_eq!(status(&ask(&world.bed_with(Settings::default(), &named), ASK).await.0), 200);
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
    let engine = Engine::answering(plain("{}")).await;
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
            let workers =
                Workers::start(listen, 1, &Settings::default(), &live, &metrics, Duration::from_secs(20)).unwrap();
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
            wire.send(plain("{}")).await;
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

/// A client of one shape is answered by a target of another: plain, streamed, refused, cut.
#[tokio::test]
async fn a_target_of_another_shape_answers_in_the_client_s() {
    let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let (engine, mut asked) = showing(plain(message)).await;
    let claude = RemoteInput { model: Some("claude".to_owned()), ..far(Api::Anthropic, engine.address) };
    let bed = World::of(vec![claude.clone()]).bed();
    let question =
        r#"{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hello"}]}"#;
    let mut client = bed.client().await;
    client.send(post("/v1/chat/completions?x=y", "anthropic-beta: theirs\r\n", question)).await;
    let (head, body) = client.message().await;
    assert_eq!((status(&head), header(&head, "content-type")), (200, Some("application/json")), "{body}");
    assert!(
        body.contains(r#""chat.completion""#) && body.contains("Hi") && body.contains(r#""prompt_tokens":3"#),
        "{body}"
    );
    let (head, body) = asked.recv().await.unwrap();
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n") && !head.contains("theirs"), "{head}");
    assert_eq!(header(&head, "x-api-key"), Some(KEY));
    assert!(body.contains(r#""model":"claude""#) && body.contains("Be kind.") && body.contains("max_tokens"), "{body}");
    let tokens = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="far-0"}"#;
    assert!((bed.figure(tokens) - 2.0).abs() < 1e-9);

    // What the target cannot do is refused with the field, and asked of another target if there is one.
    let more = question.replace("\"messages\"", "\"logprobs\":true,\"messages\"");
    let (head, body) = ask(&bed, &more).await;
    assert_eq!(status(&head), 400);
    assert!(body.contains("unsupported_by_target") && body.contains("logprobs"), "{body}");
    let same = Engine::answering(plain("same")).await;
    let bed = World::of(vec![claude, far(Api::OpenAi, same.address)]).bed();
    assert_eq!(ask(&bed, &more).await.1, "same");
}

#[tokio::test]
async fn a_stream_of_another_shape_passes_event_for_event_and_says_when_it_was_cut() {
    let delta = |text: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let stop = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";
    let question = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hello"}]}"#;
    let whole = stream_of(&[&delta("Hel"), &delta("lo"), stop, usage, DONE]);
    let cut = format!("{STREAM}{}{}", chunk(&delta("Hel")), chunk(&delta("lo")));
    let silent_end = stream_of(&[&delta("Hel"), &delta("lo")]);
    for (text, ends_well) in [(whole, true), (cut, false), (silent_end, false)] {
        let engine = Engine::new(move |_, mut wire: Wire| {
            let text = text.clone();
            async move {
                wire.asked().await;
                wire.send(text).await;
            }
        })
        .await;
        let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
        let mut client = bed.client().await;
        client.send(post("/v1/messages", "", question)).await;
        let head = client.read_to("\r\n\r\n").await;
        assert_eq!((status(&head), header(&head, "content-type")), (200, Some("text/event-stream; charset=utf-8")));
        let body = client.read_to("0\r\n\r\n").await;
        assert!(body.contains("event: message_start") && body.contains("Hel") && body.contains("\"lo\""), "{body}");
        assert_eq!(body.contains("event: message_stop"), ends_well, "{body}");
        assert_eq!(body.contains("event: error"), !ends_well, "{body}");
        assert!(!body.contains("[DONE]"), "{body}");
        let cut = r#"quartermaster_router_cut_answers_total{policy="ml/route",pool="far-0"}"#;
        until("it is counted", || (bed.figure(cut) < 0.5) == ends_well).await;
    }
}

#[tokio::test]
async fn errors_of_another_shape_keep_their_class() {
    let anthropic =
        |kind: &str, words: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{words}"}}}}"#);
    let cases = [
        ("400 Bad", anthropic("invalid_request_error", "their words"), 400, "their words"),
        ("429 Slow", anthropic("rate_limit_error", "slow down"), 429, "rate_limit"),
        ("529 Busy", anthropic("overloaded_error", "Overloaded"), 503, "Overloaded"),
        ("401 Who", anthropic("authentication_error", "bad key"), 502, "upstream_credentials_refused"),
        ("500 Oh", anthropic("api_error", "oh"), 500, "oh"),
    ];
    for (line, body, want, words) in cases {
        let engine = Engine::answering(answer(line, "retry-after: 7\r\n", &body)).await;
        let bed = World::of(vec![far(Api::Anthropic, engine.address)]).bed();
        let (head, body) = ask(&bed, r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).await;
        assert_eq!(status(&head), want, "{line}: {body}");
        assert!(body.starts_with("{\"error\":{") && body.contains(words), "{line}: {body}");
        if want == 429 {
            assert_eq!(header(&head, "retry-after"), Some("7"));
        }
    }
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    let page = "<html>please wait</html>";
    let length = page.len();
    let text =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{page}");
    let engine = Engine::answering(text).await;
    let bed = World::of(vec![far(Api::OpenAi, engine.address)]).bed();
    let (head, body) = ask(&bed, ASK).await;
    assert_eq!(status(&head), 502, "{body}");
    assert!(body.contains("upstream_strange") && !body.contains("please wait"), "{body}");
}
