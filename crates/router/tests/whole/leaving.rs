//! Clients that leave: whatever was begun for them ends at once, on every surface, before every kind of target, and in every
//! phase of a request. The stand-ins see their connections close; no test waits for a time.

use std::net::SocketAddr;
use std::time::Duration;

use router::volume::Volumes;
use router_core::{Api, Aws, RemoteInput};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::bed::{ASK, Bed, Engine, STREAM, Wire, calm, chat, plain, post, soon, until};
use crate::remote::{World, answer, far, page};
use crate::rules::{Bed as Ruled, ask, spec};
use crate::wrong::ways;

/// What a target has said when its client leaves: nothing, a head and half of a plain body, the head of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    HalfBody,
    Head,
}

const HALF_BODY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{\"id\":";

impl Phase {
    fn said(self) -> &'static str {
        match self {
            Self::Asked => "",
            Self::HalfBody => HALF_BODY,
            Self::Head => STREAM,
        }
    }
}

/// A target that reads a request, says this, and tells of both, and of the end of the connection.
async fn watching(said: String) -> (Engine, UnboundedReceiver<&'static str>) {
    let (tell, told) = unbounded_channel();
    let engine = Engine::new(move |_, mut wire: Wire| {
        let (tell, said) = (tell.clone(), said.clone());
        async move {
            wire.message().await;
            wire.send(&said).await;
            let _ = tell.send("asked");
            wire.read_all().await;
            let _ = tell.send("closed");
        }
    });
    (engine.await, told)
}

/// Nothing is under way at any target.
async fn at_rest(bed: &Bed) {
    until("nothing under way", || {
        let busy = |line: &&str| {
            let of = |name: &str| line.starts_with(&format!("quartermaster_router_{name}{{"));
            (of("in_flight") || of("target_in_flight")) && !line.ends_with(" 0")
        };
        !page(bed).lines().any(|line| busy(&line))
    })
    .await;
}

async fn leave(bed: &Bed, request: String, told: &mut UnboundedReceiver<&'static str>, what: &str) {
    let mut client = bed.client().await;
    client.send(request).await;
    assert_eq!(soon(told.recv()).await, Some("asked"), "{what}");
    drop(client);
    assert_eq!(soon(told.recv()).await, Some("closed"), "{what}");
    at_rest(bed).await;
}

/// The conversations: every surface before every kind of target, with what `wrong::who_leaves_is_not_worked_for` leaves out.
#[tokio::test]
async fn a_client_that_leaves_an_answer_that_has_begun() {
    for way in ways() {
        let opening = format!("{STREAM}{}", crate::bed::chunk(&(": wait\n\n".to_owned() + &way.target.opening())));
        for (stream, said) in [(false, HALF_BODY.to_owned()), (true, STREAM.to_owned()), (true, opening)] {
            let (target, mut told) = watching(said).await;
            let bed = way.world(&target, None).bed();
            let what = format!("{way:?} {stream}");
            leave(&bed, way.request(stream), &mut told, &what).await;
        }
    }
}

fn bedrock(at: SocketAddr, model: &str) -> RemoteInput {
    RemoteInput {
        path: String::new(),
        model: Some(model.to_owned()),
        secret: None,
        aws: Some(Aws { region: "eu-central-1".to_owned(), signs: false }),
        ..far(Api::Bedrock, at)
    }
}

/// Bedrock, by its own surfaces and by others.
#[tokio::test]
async fn a_client_that_leaves_bedrock() {
    let turns = json!([{"role": "user", "content": "Hello"}]);
    let chat = |stream: bool| json!({"model": "m", "stream": stream, "messages": turns}).to_string();
    let messages =
        |stream: bool| json!({"model": "m", "max_tokens": 5, "stream": stream, "messages": turns}).to_string();
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).to_string();
    let invoke = json!({"anthropic_version": "x", "max_tokens": 5, "messages": turns}).to_string();
    let (claude, nova) = ("anthropic.claude-haiku-4-5-v1:0", "amazon.nova-lite-v1:0");
    let cases = [
        (nova, "/v1/chat/completions", chat(false), false),
        (nova, "/v1/chat/completions", chat(true), true),
        (claude, "/v1/messages", messages(false), false),
        (claude, "/v1/messages", messages(true), true),
        (nova, "/v1/messages", messages(true), true),
        (nova, "/model/m/converse", converse.clone(), false),
        (nova, "/model/m/converse-stream", converse, true),
        (claude, "/model/m/invoke", invoke.clone(), false),
        (claude, "/model/m/invoke-with-response-stream", invoke, true),
    ];
    let frames =
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n";
    for (model, path, body, stream) in cases {
        for said in ["", if stream { frames } else { HALF_BODY }] {
            let (target, mut told) = watching(said.to_owned()).await;
            let bed = World::of(vec![bedrock(target.address, model)]).bed();
            leave(&bed, post(path, "", &body), &mut told, &format!("{model} {path} {said:?}")).await;
        }
    }
}

/// The surfaces that are no conversations, before a pool, a Service with engines, and a provider.
#[tokio::test]
async fn a_client_that_leaves_something_else_than_a_conversation() {
    let json = |path: &str| {
        post(
            path,
            "content-type: application/json\r\n",
            r#"{"model":"m","input":"a","query":"q","documents":["d"],"prompt":"p"}"#,
        )
    };
    let form = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsound\r\n--x--\r\n";
    let audio = |path: &str| post(path, "content-type: multipart/form-data; boundary=x\r\n", form);
    let mut requests: Vec<(&str, String)> =
        ["/v1/embeddings", "/rerank", "/score", "/classify", "/pooling", "/tokenize", "/detokenize"]
            .map(|path| (path, json(path)))
            .into();
    requests
        .push(("/v1/messages/count_tokens", post("/v1/messages/count_tokens", "", r#"{"model":"m","messages":[]}"#)));
    requests.extend(["/v1/audio/transcriptions", "/v1/audio/translations"].map(|path| (path, audio(path))));
    for (path, request) in requests {
        let mut kinds = vec![None, Some(Api::Engine)];
        match path {
            "/v1/embeddings" => kinds.extend([Some(Api::OpenAi), Some(Api::OpenAiCompatible)]),
            "/v1/messages/count_tokens" => kinds.push(Some(Api::Anthropic)),
            _ if path.starts_with("/v1/audio") => kinds.push(Some(Api::OpenAi)),
            _ => {}
        }
        for kind in kinds {
            for phase in [Phase::Asked, Phase::HalfBody, Phase::Head] {
                let (target, mut told) = watching(phase.said().to_owned()).await;
                let bed = match kind {
                    None => Bed::new(&[target.address]),
                    Some(api) => World::of(vec![far(api, target.address)]).bed(),
                };
                leave(&bed, request.clone(), &mut told, &format!("{path} {kind:?} {phase:?}")).await;
            }
        }
    }
}

/// Requests of which nobody heard an answer.
fn unheard(bed: &Bed, pool: &str) -> f64 {
    let labels = format!("code=\"499\",policy=\"ml/route\",pool=\"{pool}\",surface=\"chat_completions\"");
    bed.figure(&format!("quartermaster_router_requests_total{{{labels}}}"))
}

#[tokio::test]
async fn a_client_that_leaves_before_a_request_is_sent_again() {
    // After the pause there would be a second request.
    let (tell, mut told) = unbounded_channel();
    let failing = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            while wire.asked().await {
                tell.send(()).unwrap();
                wire.send(answer("500 Error", "retry-after: 4\r\n", "{}")).await;
            }
        }
    })
    .await;
    let mut world = World::of(vec![far(Api::OpenAi, failing.address)]);
    world.resilience.attempts = 2;
    let bed = world.bed();
    let client = bed.asking(ASK).await;
    let retries = r#"quartermaster_router_retries_total{policy="ml/route",pool="far-0"}"#;
    until("the pause has begun", || (bed.figure(retries) - 1.0).abs() < 1e-9).await;
    drop(client);
    until("it is counted", || (unheard(&bed, "far-0") - 1.0).abs() < 1e-9).await;
    assert!(told.try_recv().is_ok() && told.try_recv().is_err(), "it was asked once");
    at_rest(&bed).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_a_classifier_is_asked() {
    let (classifier, mut told) = watching(String::new()).await;
    let mut spec = spec(&json!([
        {"name": "hard", "when": "request.complexity == 'complex'", "use": {"ordered": ["b"]}},
    ]));
    // As long as may be: the test would see this deadline counted.
    spec["complexity"] = json!({"pool": {"name": "c"}, "model": "small", "deadlineMilliseconds": 10_000});
    let (a, b) = (Engine::answering(plain("\"a\"")).await, Engine::answering(plain("\"b\"")).await);
    let bed = Ruled::with(&spec, &calm(), vec![("a", a), ("b", b), ("c", classifier)], &Volumes::default());
    let mut client = Wire::new(soon(TcpStream::connect(bed.address())).await.unwrap());
    client.send(chat(&ask("hi"))).await;
    assert_eq!(soon(told.recv()).await, Some("asked"));
    drop(client);
    assert_eq!(soon(told.recv()).await, Some("closed"));
    let left = r#"requests_total{code="499",policy="",pool="",surface="chat_completions"}"#;
    until("it is counted", || bed.metric(left).as_deref() == Some("1")).await;
    assert_eq!(bed.metric("classifications_total"), None, "no deadline was waited for");
}

/// A host that takes no connection: its queue is full, so that the kernel leaves whoever asks for one without a word.
pub(crate) struct Full {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
    pub(crate) address: SocketAddr,
}

impl Full {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        // A queue of one holds two.
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queue.push(stream);
        }
        assert!(queue.len() < 10, "the queue has no end");
        Self { _listener: listener, _queue: queue, address }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_there_is_a_connection() {
    let full = Full::new().await;
    let mut world = World::of(vec![far(Api::OpenAi, full.address)]);
    world.resilience.connect = Some(Duration::from_secs(60));
    let bed = world.bed();
    let client = bed.asking(ASK).await;
    let under_way = r#"quartermaster_router_target_in_flight{policy="ml/route",pool="far-0"}"#;
    until("it is being connected to", || (bed.figure(under_way) - 1.0).abs() < 1e-9).await;
    drop(client);
    until("it is counted", || (unheard(&bed, "far-0") - 1.0).abs() < 1e-9).await;
    at_rest(&bed).await;
}
