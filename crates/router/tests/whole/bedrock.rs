//! Bedrock as a target, over real sockets in front of its stand-in, which checks every signature from AWS's description: each
//! surface, plain and streamed, and what clients see when Bedrock fails.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use provider_sim::serve::serve;
use provider_sim::settings::Settings as SimSettings;
use router::live::Live;
use router::secrets::{Held, Key, KeyFault, Secrets};
use router_core::{Api, Aws, RemoteInput, SecretKey, Table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bed::{Bed, Engine, STREAM, calm, chunk, plain, soon, until};
use crate::remote::{World, far};

pub(crate) const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const PROFILE: &str = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2";
/// What no log, answer or metric may hold.
pub(crate) const SECRET: &str = "sim-secret";

/// Bedrock's stand-in, whose access key is `sim-key` with the secret `sim-secret`; `sim-key` is an API key too.
pub(crate) struct Sim {
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
}

impl Sim {
    pub(crate) async fn start() -> Self {
        Self::started(Duration::ZERO).await
    }

    /// One whose clock is late.
    #[expect(clippy::disallowed_methods, reason = "the edge, where the wall clock enters")]
    async fn started(late: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let now = SystemTime::now() - late;
        let task = tokio::spawn(async move {
            serve(listener, SimSettings::default(), now, std::future::pending()).await.unwrap();
        });
        Self { at, task }
    }

    async fn faults(&self, faults: &str) {
        let got = call(self.at, "POST", "/sim/faults", "", faults).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }

    /// The last request that it got.
    async fn last(&self) -> Value {
        let got = call(self.at, "GET", "/sim/requests", "", "").await;
        got.json()["requests"].as_array().unwrap().last().unwrap().clone()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer, read to its end.
pub(crate) struct Got {
    pub(crate) status: u16,
    head: String,
    body: Vec<u8>,
    /// Its framing said that it is whole.
    whole: bool,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

pub(crate) async fn call(at: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Got {
    let mut stream = soon(TcpStream::connect(at)).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: r1\r\n{headers}content-length: {length}\r\n\r\n"
    );
    soon(stream.write_all((head + body).as_bytes())).await.unwrap();
    let mut all = Vec::new();
    while matches!(soon(stream.read_buf(&mut all)).await, Ok(1..)) {}
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head"));
    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_ascii_lowercase();
    let raw = &all[end + 4..];
    let (body, whole) = if head.contains("transfer-encoding: chunked") { unchunked(raw) } else { (raw.to_vec(), true) };
    Got { status: head[9..12].parse().unwrap(), head, body, whole }
}

fn unchunked(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(data) = raw.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(data);
        raw = &raw[(line + 4 + size).min(raw.len())..];
    }
    (body, false)
}

fn at(key: &str) -> SecretKey {
    SecretKey { namespace: "ml".to_owned(), name: "aws".to_owned(), key: key.to_owned() }
}

fn held(key: &str) -> Result<Held, KeyFault> {
    Ok(Held { key: Key::new(key.as_bytes()).unwrap(), hosts: Vec::new(), version: 1 })
}

/// An access key with this secret; beside it, the API key.
pub(crate) fn keys(secret: &str) -> Secrets {
    Secrets::new([
        (at("AWS_ACCESS_KEY_ID"), held("sim-key")),
        (at("AWS_SECRET_ACCESS_KEY"), held(secret)),
        (at("AWS_SESSION_TOKEN"), Err(KeyFault::NoKey)),
        (at("api-key"), held("sim-key")),
    ])
}

pub(crate) fn bedrock(sim: SocketAddr, model: &str, signs: bool) -> RemoteInput {
    RemoteInput {
        path: String::new(),
        model: Some(model.to_owned()),
        secret: Some(at(if signs { "AWS_ACCESS_KEY_ID" } else { "api-key" })),
        aws: Some(Aws { region: "eu-central-1".to_owned(), signs }),
        ..far(Api::Bedrock, sim)
    }
}

fn bed(sim: &Sim, model: &str) -> Bed {
    bed_of(vec![bedrock(sim.at, model, true)])
}

fn bed_of(remotes: Vec<RemoteInput>) -> Bed {
    World::of(remotes).bed_with(calm(), &keys(SECRET))
}

/// Long enough that a stream can be cut after its first token and before its end.
const WORDS: &str =
    "Gr\u{fc}\u{df}e from far away, with more words than one would need for that, so that much is left when it is cut";

fn ask(surface: &str, stream: bool) -> (&'static str, String) {
    let text = format!("Repeat: {WORDS}");
    let (path, mut body) = match surface {
        "chat" => ("/v1/chat/completions", json!({"model": "m", "messages": [{"role": "user", "content": text}]})),
        "responses" => ("/v1/responses", json!({"model": "m", "input": text})),
        "messages" => {
            ("/v1/messages", json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}))
        }
        "converse" => (
            if stream { "/model/m/converse-stream" } else { "/model/m/converse" },
            json!({"messages": [{"role": "user", "content": [{"text": text}]}]}),
        ),
        _ => (
            if stream { "/model/m/invoke-with-response-stream" } else { "/model/m/invoke" },
            json!({"anthropic_version": "2026-10-21", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}),
        ),
    };
    if stream && path.starts_with("/v1") {
        body["stream"] = json!(true);
    }
    (path, body.to_string())
}

async fn asked(bed: &Bed, surface: &str, stream: bool) -> Got {
    let (path, body) = ask(surface, stream);
    call(bed.workers.address(), "POST", path, "content-type: application/json\r\n", &body).await
}

/// The text of a stream of server-sent events, put together.
fn said(got: &Got) -> String {
    let mut said = String::new();
    for data in got.text().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        for at in ["/choices/0/delta/content", "/delta/text", "/delta"] {
            said.push_str(event.pointer(at).and_then(Value::as_str).unwrap_or_default());
        }
    }
    said
}

/// What tells a client that a stream is whole.
fn end(surface: &str) -> &'static str {
    match surface {
        "chat" => "data: [DONE]",
        "responses" => "event: response.completed",
        _ => "event: message_stop",
    }
}

#[tokio::test]
async fn every_surface_is_answered_signed_or_with_an_api_key() {
    let sim = Sim::start().await;
    for (model, signs) in [(CLAUDE, true), (NOVA, true), (PROFILE, true), (CLAUDE, false), (NOVA, false)] {
        let bed = bed_of(vec![bedrock(sim.at, model, signs)]);
        for surface in ["chat", "responses", "messages"] {
            let got = asked(&bed, surface, false).await;
            assert_eq!(got.status, 200, "{model} {surface}: {}", got.text());
            assert!(got.text().contains(WORDS), "{model} {surface}: {}", got.text());
            let got = asked(&bed, surface, true).await;
            assert_eq!((got.status, said(&got).as_str()), (200, WORDS), "{model} {surface}: {}", got.text());
            assert!(got.head.contains("content-type: text/event-stream"), "{}", got.head);
            assert!(got.text().contains(end(surface)) && got.whole, "{model} {surface}: {}", got.text());
            assert!(!got.head.contains("x-amzn"), "{}", got.head);
        }
        let figure = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="far-0"}"#;
        assert!(bed.figure(figure) > 5.0, "{model}: what was used is counted");
    }
}

#[tokio::test]
async fn ids_of_models_are_one_step_of_the_path_and_nothing_else_is_sent() {
    let sim = Sim::start().await;
    for (model, surface, want) in [
        (CLAUDE, "messages", "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream"),
        (CLAUDE, "chat", "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"),
        (
            PROFILE,
            "messages",
            "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2/converse-stream",
        ),
    ] {
        let bed = bed(&sim, model);
        let (path, body) = ask(surface, true);
        let headers = "authorization: Bearer theirs\r\nx-amzn-bedrock-trace: ENABLED\r\ncookie: theirs\r\n";
        assert_eq!(call(bed.workers.address(), "POST", path, headers, &body).await.status, 200);
        let seen = sim.last().await.to_string();
        assert!(seen.contains(want), "{seen}");
        assert!(!seen.contains("theirs") && !seen.contains("x-amzn-bedrock-trace") && !seen.contains(SECRET), "{seen}");
    }
}

/// What Anthropic's models are asked in their own API reaches them at Bedrock, also what no version of ours knows.
#[tokio::test]
async fn messages_reach_claude_as_they_are() {
    let sim = Sim::start().await;
    let bed = bed(&sim, CLAUDE);
    let body = r#"{"model":"m","max_tokens":100,"stream":false,"future_field":{"a": [1]},"messages":[{"role":"user","content":"hi"}]}"#;
    let headers = "anthropic-beta: one,two\r\nanthropic-version: 2023-06-01\r\n";
    let got = call(bed.workers.address(), "POST", "/v1/messages?beta=true", headers, body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let answer = got.json();
    assert_eq!((&answer["type"], &answer["stop_reason"]), (&json!("message"), &json!("end_turn")));
    let seen = sim.last().await;
    let sent = seen.pointer("/body").map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned)).unwrap();
    assert!(sent.contains(r#""anthropic_version":"bedrock-2023-05-31","anthropic_beta":["one","two"]"#), "{sent}");
    assert!(sent.contains(r#""future_field":{"a": [1]}"#), "{sent}");
    assert!(!sent.contains("\"model\"") && !sent.contains("\"stream\""), "{sent}");
}

/// The same bytes in any pieces give the same events.
#[tokio::test]
async fn any_chunking_gives_the_same_events() {
    let sim = Sim::start().await;
    let bed = bed(&sim, CLAUDE);
    let plain = |got: Got| {
        let text = got.text();
        // Times and the stand-in's own ids differ between two answers.
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in &mut lines {
            let Some(mut event) = line.strip_prefix("data: ").and_then(|d| serde_json::from_str::<Value>(d).ok())
            else {
                continue;
            };
            for place in ["/created", "/response/created_at", "/response/completed_at", "/message/id"] {
                if let Some(value) = event.pointer_mut(place) {
                    *value = Value::Null;
                }
            }
            *line = event.to_string();
        }
        lines.join("\n")
    };
    for surface in ["chat", "responses", "messages"] {
        sim.faults("").await;
        let want = plain(asked(&bed, surface, true).await);
        assert!(want.contains("from"), "{want}");
        for size in [1, 3, 11, 64] {
            sim.faults(&format!("split={size}")).await;
            assert_eq!(plain(asked(&bed, surface, true).await), want, "{surface} in pieces of {size}");
        }
    }
    for size in [1, 5, 100] {
        sim.faults("").await;
        let want = asked(&bed, "converse", true).await.body;
        sim.faults(&format!("split={size}")).await;
        assert_eq!(asked(&bed, "converse", true).await.body, want, "frames in pieces of {size}");
    }
}

#[tokio::test]
async fn errors_have_the_status_of_their_kind() {
    let sim = Sim::start().await;
    // The fault; the status for chat, for messages of Claude, and for clients of Bedrock, with the class that these are told.
    for (fault, chat, messages, own, class) in [
        ("status=400", 400, 400, 400, "ValidationException"),
        ("status=403", 502, 502, 502, "InternalServerException"),
        ("status=404", 404, 404, 404, "ValidationException"),
        ("status=408", 504, 504, 408, "ModelTimeoutException"),
        ("status=424", 502, 502, 424, "ModelErrorException"),
        ("status=429", 429, 429, 429, "ThrottlingException"),
        ("status=429,cause=not-ready", 503, 503, 429, "ModelNotReadyException"),
        ("status=500", 500, 500, 500, "InternalServerException"),
        ("status=503", 503, 503, 503, "ServiceUnavailableException"),
    ] {
        sim.faults(fault).await;
        for stream in [false, true] {
            let (one, two, three) = (bed(&sim, CLAUDE), bed(&sim, CLAUDE), bed(&sim, CLAUDE));
            let got = asked(&one, "chat", stream).await;
            assert_eq!(got.status, chat, "{fault}: {}", got.text());
            assert!(got.json()["error"]["message"].is_string(), "{}", got.text());
            let got = asked(&two, "messages", stream).await;
            assert_eq!(got.status, messages, "{fault}: {}", got.text());
            assert_eq!(got.json()["type"], "error", "{}", got.text());
            let got = asked(&three, "converse", stream).await;
            assert_eq!(got.status, own, "{fault}: {}", got.text());
            let told = got.head.contains(&format!("x-amzn-errortype: {}", class.to_ascii_lowercase()))
                || got.json()["__type"] == class;
            assert!(told || fault == "status=404", "{fault}: {} {}", got.head, got.text());
            assert!(got.json()["message"].is_string(), "{}", got.text());
        }
    }
}

/// An exception in a stream, before its first token, is what it would have been without a stream, and leads to the next target.
#[tokio::test]
async fn an_exception_before_the_first_token_can_be_stood_in_for() {
    let sim = Sim::start().await;
    let token = chunk("data: {\"choices\":[{\"delta\":{\"content\":\"other\"}}]}\n\n");
    let other = Engine::answering(format!("{STREAM}{token}{}0\r\n\r\n", chunk("data: [DONE]\n\n"))).await;
    for (cause, chat) in [("pace", 429), ("unavailable", 503), ("server", 500)] {
        for after in [0, 1] {
            sim.faults(&format!("error-event={cause},after={after}")).await;
            for surface in ["chat", "messages", "converse"] {
                let got = asked(&bed(&sim, CLAUDE), surface, true).await;
                assert_eq!(got.status, chat, "{cause} {after} {surface}: {}", got.text());
                assert!(!got.head.contains("event"), "{}", got.head);
                assert!(got.json().is_object(), "{surface}: an answer, no frames: {}", got.text());
            }
            let remotes = vec![bedrock(sim.at, CLAUDE, true), far(Api::OpenAi, other.address)];
            let secrets = keys(SECRET);
            let mut world = World::of(remotes);
            world.remotes[1].secret = None;
            let got = asked(&world.bed_with(calm(), &secrets), "chat", true).await;
            assert_eq!((got.status, said(&got).as_str()), (200, "other"), "{cause} {after}");
        }
    }
}

/// After the first token a failure ends the stream with an error of the client's shape, and nothing that looks like an end.
#[tokio::test]
async fn what_fails_after_the_first_token_ends_in_an_error_event() {
    let sim = Sim::start().await;
    for fault in ["error-event=pace,after=4", "truncate,after=4", "garbage=binary", "reset=1500", "close=1500"] {
        sim.faults(fault).await;
        for (surface, error) in
            [("chat", "data: {\"error\":"), ("responses", "event: error"), ("messages", "event: error")]
        {
            let got = asked(&bed(&sim, CLAUDE), surface, true).await;
            assert_eq!(got.status, 200, "{fault} {surface}: {}", got.text());
            let text = got.text();
            assert!(!said(&got).is_empty(), "{fault} {surface}: {text}");
            assert_eq!(text.matches(error).count(), 1, "{fault} {surface}: {text}");
            assert!(
                !text.contains(end(surface)) && !text.contains("finish_reason\":\"stop"),
                "{fault} {surface}: {text}"
            );
        }
        let bed = bed(&sim, CLAUDE);
        let got = asked(&bed, "converse", true).await;
        let text = got.text();
        assert_eq!(got.status, 200, "{fault}: {text}");
        let reason = if fault.starts_with("error-event") { "upstream_failed" } else { "upstream_cut" };
        let figure = format!(
            r#"quartermaster_router_refusals_total{{policy="ml/route",pool="far-0",reason="{reason}",surface="converse"}}"#
        );
        until("the failure is counted", || bed.figure(&figure) > 0.5).await;
        assert_eq!(text.matches("exception-type").count(), 1, "{fault}: {text}");
        assert!(!text.contains("metadata"), "{fault}: {text}");
    }
}

#[tokio::test]
async fn a_stream_that_stalls_is_ended() {
    let sim = Sim::start().await;
    sim.faults("stall=forever,after=4").await;
    for surface in ["chat", "messages", "converse"] {
        let mut world = World::of(vec![bedrock(sim.at, CLAUDE, true)]);
        world.resilience.idle = Some(Duration::from_millis(100));
        let bed = world.bed_with(calm(), &keys(SECRET));
        let got = asked(&bed, surface, true).await;
        assert!(got.status == 200 && got.text().contains("sent nothing for"), "{surface}: {}", got.text());
    }
}

/// A wrong secret, and a clock that is off, are the router's own trouble: nothing of the key is shown, and the client's request
/// is not called wrong.
#[tokio::test]
async fn what_is_signed_wrongly_is_a_trouble_with_credentials() {
    let (sim, late) = (Sim::start().await, Sim::started(Duration::from_secs(3600)).await);
    let wrong = World::of(vec![bedrock(sim.at, CLAUDE, true)]).bed_with(calm(), &keys("canary-wrong"));
    for bed in [wrong, bed(&late, CLAUDE)] {
        for surface in ["chat", "messages", "converse"] {
            let got = asked(&bed, surface, false).await;
            assert_eq!(got.status, 502, "{}", got.text());
            assert!(!got.text().contains("signature") && !got.text().contains("canary"), "{}", got.text());
        }
        let got = asked(&bed, "chat", true).await;
        assert_eq!(got.json()["error"]["code"], "upstream_credentials_refused");
    }
}

#[tokio::test]
async fn a_new_access_key_is_used_from_the_next_request_on() {
    let sim = Sim::start().await;
    let world = World::of(vec![bedrock(sim.at, NOVA, true)]);
    let bed = world.bed_with(calm(), &keys("old"));
    assert_eq!(asked(&bed, "chat", false).await.status, 502);
    let live = world.live(&Table::default(), &bed.metrics, &keys(SECRET));
    bed.live.store(std::sync::Arc::new(live));
    assert_eq!(asked(&bed, "chat", false).await.status, 200);
    let none = Secrets::new([(at("AWS_ACCESS_KEY_ID"), held("sim-key"))]);
    let live: Live = world.live(&Table::default(), &bed.metrics, &none);
    bed.live.store(std::sync::Arc::new(live));
    let got = asked(&bed, "chat", false).await;
    assert_eq!(got.json()["error"]["code"], "upstream_credentials_missing", "half a key is none");
}

/// Clients of Bedrock get its own bytes.
#[tokio::test]
async fn what_bedrock_s_own_clients_ask_passes_as_it_is() {
    let sim = Sim::start().await;
    let bed = bed(&sim, NOVA);
    let direct = |path: &'static str, body: String| {
        let path = path.replace("/m/", "/amazon.nova-lite-v1%3A0/");
        let at = sim.at;
        async move { call(at, "POST", &path, "authorization: Bearer sim-key\r\n", &body).await }
    };
    for stream in [false, true] {
        let (path, body) = ask("converse", stream);
        let (got, want) = (asked(&bed, "converse", stream).await, direct(path, body).await);
        assert_eq!((got.status, want.status), (200, 200), "{}", got.text());
        assert!(got.whole && got.body == want.body, "{} {}", got.text(), want.text());
        let kind = if stream { "application/vnd.amazon.eventstream" } else { "application/json" };
        assert!(got.head.contains(&format!("content-type: {kind}")), "{}", got.head);
    }
    let figure = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="far-0"}"#;
    assert!(bed.figure(figure) > 5.0);
    for model in [CLAUDE, PROFILE] {
        let bed = bed_of(vec![bedrock(sim.at, model, true)]);
        let got = asked(&bed, "invoke", false).await;
        assert!(got.status == 200 && got.text().contains(WORDS), "{}", got.text());
        let got = asked(&bed, "invoke", true).await;
        assert!(got.status == 200 && got.whole, "{}", got.text());
        assert!(got.text().contains("chunk"), "{}", got.text());
    }
}

#[tokio::test]
async fn other_targets_say_that_they_do_not_speak_it() {
    let other = Engine::answering(plain("other")).await;
    let world = World { pool: true, engines: vec![other.address], ..World::of(vec![far(Api::OpenAi, other.address)]) };
    let bed = world.bed();
    for surface in ["converse", "invoke"] {
        let got = asked(&bed, surface, false).await;
        assert_eq!((got.status, &got.json()["__type"]), (400, &json!("ValidationException")), "{}", got.text());
        assert!(got.json()["message"].as_str().unwrap().contains("cannot answer"), "{}", got.text());
    }
    assert_eq!(other.connections(), 0);
    let got = call(bed.workers.address(), "POST", "/model/nobody/converse", "", "{}").await;
    assert_eq!((got.status, &got.json()["__type"]), (404, &json!("ResourceNotFoundException")), "{}", got.text());
    let got = call(bed.workers.address(), "POST", "/model/m/converse", "", "[").await;
    assert_eq!((got.status, &got.json()["__type"]), (400, &json!("ValidationException")), "{}", got.text());
}

/// A surface that Bedrock does not have is refused, with what it is.
#[tokio::test]
async fn embeddings_are_refused() {
    let sim = Sim::start().await;
    let body = r#"{"model":"m","input":"a"}"#;
    let got = call(bed(&sim, CLAUDE).workers.address(), "POST", "/v1/embeddings", "", body).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (400, &json!("unsupported_by_target")), "{}", got.text());
}
