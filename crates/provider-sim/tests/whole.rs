//! The stand-ins over real sockets, as a client meets them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a check fails it")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use provider_sim::serve::serve;
use provider_sim::settings::Settings;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);
const BEARER: &str = "authorization: Bearer sim-key\r\n";
const ANTHROPIC: &str = "x-api-key: sim-key\r\nanthropic-version: 2023-06-01\r\n";
const CHAT: &str = "/v1/chat/completions";

struct Sim {
    at: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sim {
    fn start(settings: Settings) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(listener, settings, now(), async { drop(stopped.await) }).await.unwrap();
            });
        });
        Self { at, stop: Some(stop), thread: Some(thread) }
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        stream
    }

    /// All that comes, and how it ends.
    fn all(&self, method: &str, path: &str, headers: &str, body: &str) -> (Vec<u8>, Option<ErrorKind>) {
        let mut stream = self.send(method, path, headers, body);
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
        (bytes, end)
    }

    /// Status, head in small letters, and body.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let (bytes, end) = self.all(method, path, headers, body);
        assert_eq!(end, None, "{path}");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    fn post(&self, path: &str, headers: &str, body: &Value) -> (u16, String, Value) {
        let (status, head, body) = self.ask("POST", path, headers, &body.to_string());
        let body = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}"));
        (status, head, body)
    }

    fn faults(&self, faults: &str) {
        let (status, _, body) = self.ask("POST", "/sim/faults", "", faults);
        assert_eq!(status, 200, "{body}");
    }

    fn bill(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/sim/bill", "", "").2).unwrap()
    }

    /// The bill's first line, once nothing runs any more.
    fn line(&self) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let bill = self.bill();
            if bill["running"] == 0 && !bill["lines"][0].is_null() {
                return bill["lines"][0].clone();
            }
            assert!(Instant::now() < until, "requests still run: {bill}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge, where the wall clock enters")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn sim() -> Sim {
    Sim::start(Settings::default())
}

fn chat() -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Repeat: one two three"}]})
}

fn streamed() -> String {
    let mut body = chat();
    body["stream"] = json!(true);
    body.to_string()
}

fn message() -> Value {
    json!({"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]})
}

#[test]
fn every_route_answers() {
    let sim = sim();
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
    let invoke = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": message()["messages"]});
    let input = json!({"model": "gpt-4o", "input": "hi"});
    let embed = json!({"model": "text-embedding-3-small", "input": "hi"});
    let old = json!({"model": "gpt-3.5-turbo-instruct", "prompt": "hi"});
    let azure = "api-key: sim-key\r\n";
    for (path, headers, body, field) in [
        (CHAT, BEARER, &chat(), "/choices/0/message/content"),
        ("/v1/completions", BEARER, &old, "/choices/0/text"),
        ("/v1/responses", BEARER, &input, "/output/0/content/0/text"),
        ("/v1/embeddings", BEARER, &embed, "/data/0/embedding/0"),
        ("/v1/messages", ANTHROPIC, &message(), "/content/0/text"),
        ("/v1/messages/count_tokens", ANTHROPIC, &message(), "/input_tokens"),
        (
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
            azure,
            &chat(),
            "/choices/0/message/content",
        ),
        ("/openai/v1/chat/completions", azure, &chat(), "/choices/0/message/content"),
        (
            "/compatible/v1/chat/completions",
            "",
            &json!({"model": "llama3.1:8b", "messages": chat()["messages"]}),
            "/choices/0/message/content",
        ),
        ("/model/anthropic.claude-x-v1%3A0/converse", BEARER, &converse, "/output/message/content/0/text"),
        ("/model/anthropic.claude-x-v1%3A0/invoke", BEARER, &invoke, "/content/0/text"),
    ] {
        let (status, _, body) = sim.post(path, headers, body);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.pointer(field).is_some(), "{path}: {body}");
    }
    for (path, headers) in [("/v1/models", BEARER), ("/v1/models/gpt-4o", BEARER), ("/v1/models", ANTHROPIC)] {
        assert_eq!(sim.ask("GET", path, headers, "").0, 200, "{path}");
    }
}

#[test]
fn what_is_wrong_is_refused_in_the_shape_of_the_api() {
    let sim = sim();
    let wrong = "authorization: Bearer wrong\r\n";
    let none = json!({});
    let missing = json!({"model": "gpt-4o"});
    let unknown = json!({"model": "nobody-1", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]});
    for (path, headers, body, status, field, value) in [
        (CHAT, wrong, &chat(), 401, "/error/code", "invalid_api_key"),
        (CHAT, "", &chat(), 401, "/error/code", "invalid_api_key"),
        (CHAT, BEARER, &missing, 400, "/error/param", "messages"),
        (CHAT, BEARER, &unknown, 404, "/error/code", "model_not_found"),
        (
            "/v1/messages",
            "x-api-key: wrong\r\nanthropic-version: 2023-06-01\r\n",
            &message(),
            401,
            "/error/type",
            "authentication_error",
        ),
        (
            "/v1/messages",
            "x-api-key: sim-key\r\n",
            &message(),
            400,
            "/error/message",
            "anthropic-version: header is required",
        ),
        ("/v1/messages", ANTHROPIC, &unknown, 404, "/error/type", "not_found_error"),
        ("/v1/messages", ANTHROPIC, &none, 400, "/error/message", "model: Field required"),
        (
            "/model/nobody/converse",
            BEARER,
            &none,
            400,
            "/message",
            "1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be null",
        ),
        (
            "/openai/deployments/mine/chat/completions",
            "api-key: sim-key\r\n",
            &chat(),
            404,
            "/error/message",
            "Resource not found",
        ),
        ("/nowhere", BEARER, &none, 404, "/error/type", "invalid_request_error"),
    ] {
        let (found, _, body) = sim.post(path, headers, body);
        assert_eq!(found, status, "{path}: {body}");
        assert_eq!(body.pointer(field).and_then(Value::as_str), Some(value), "{path}: {body}");
    }
    let (status, head, _) = sim.post("/v1/messages", ANTHROPIC, &none);
    assert!(
        status == 400 && head.contains("request-id: req_") && head.contains("anthropic-ratelimit-requests-limit: 4000"),
        "{head}"
    );
    assert_eq!(sim.ask("POST", CHAT, BEARER, "{").0, 400);
}

#[test]
fn keys_change_while_it_runs() {
    let sim = sim();
    assert_eq!(sim.ask("POST", "/sim/keys", "", "one\ntwo\n").2, r#"{"keys":2}"#);
    assert_eq!(sim.post(CHAT, BEARER, &chat()).0, 401);
    assert_eq!(sim.post(CHAT, "authorization: Bearer two\r\n", &chat()).0, 200);
}

#[test]
fn what_was_sold_is_on_the_bill() {
    let sim = sim();
    let usage = sim.post(CHAT, BEARER, &chat()).2["usage"].clone();
    sim.ask("POST", CHAT, BEARER, &streamed());
    assert_eq!(sim.post(CHAT, "authorization: Bearer wrong\r\n", &chat()).0, 401);
    let line = sim.line();
    assert_eq!(line["key"], "sim-key");
    assert_eq!((&line["requests"], &line["cancelled"]), (&json!(2), &json!(0)));
    assert_eq!(line["input_tokens"].as_u64(), usage["prompt_tokens"].as_u64().map(|n| n * 2));
    assert_eq!(line["output_tokens"].as_u64(), usage["completion_tokens"].as_u64().map(|n| n * 2));
    let (_, _, cleared) = sim.ask("DELETE", "/sim/bill", "", "");
    assert_eq!(cleared, r#"{"running":0,"lines":[]}"#);
}

/// Sends a request whose answer would take minutes, leaves, and gives the bill.
fn left(fault: &str, body: &str) -> (u64, u64) {
    let sim = sim();
    let mut stream = sim.send("POST", CHAT, &format!("{BEARER}x-sim-fault: {fault}\r\n"), body);
    let until = Instant::now() + DEADLINE;
    while sim.bill()["running"] == 0 {
        assert!(Instant::now() < until, "it does not run");
    }
    if body.contains("stream") {
        // The head and the first event come before the first token.
        assert!(stream.read(&mut [0; 64]).unwrap() > 0);
    }
    drop(stream);
    let line = sim.line();
    (line["cancelled"].as_u64().unwrap(), line["output_tokens"].as_u64().unwrap())
}

#[test]
fn who_leaves_pays_for_what_was_made() {
    assert_eq!(left("pace=60s", &streamed()), (1, 0));
    assert_eq!(left("pace=60s", &chat().to_string()), (1, 0));
    let all = 4;
    assert_eq!(left("pace=60s;ignore-cancel", &streamed()), (1, all), "and for all, where the provider goes on");
}

#[test]
fn connections_break_where_they_are_told_to() {
    let sim = sim();
    let whole = sim.ask("POST", CHAT, BEARER, &streamed()).2;
    for at in [1, 40, 200] {
        sim.faults(&format!("reset={at},count=1\n"));
        let (bytes, end) = sim.all("POST", CHAT, BEARER, &streamed());
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "after {at}: {}", String::from_utf8_lossy(&bytes));
    }
    sim.faults("reset=0,count=1");
    assert_eq!(sim.all("POST", CHAT, BEARER, &streamed()), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    sim.faults("close=0,count=1");
    assert_eq!(sim.all("POST", CHAT, BEARER, &chat().to_string()), (Vec::new(), None));
    sim.faults("close=10,count=1");
    let (status, head, body) = sim.ask("POST", CHAT, BEARER, &chat().to_string());
    assert_eq!((status, body.len()), (200, 10));
    let told: usize = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
    assert!(told > 100, "{head}");
    sim.faults("truncate,after=2,count=1");
    let (_, _, cut) = sim.ask("POST", CHAT, BEARER, &streamed());
    assert!(cut.contains("one") && !cut.contains("[DONE]") && cut.ends_with("0\r\n\r\n"), "{cut}");
    assert!(whole.contains("[DONE]"));
}

#[test]
fn errors_come_with_their_headers() {
    let sim = sim();
    for (path, headers, body, fault, status, wanted) in [
        (CHAT, BEARER, &chat(), "status=429", 429, &["retry-after: 1", "x-ratelimit-remaining-requests: 0"][..]),
        (CHAT, BEARER, &chat(), "status=429,cause=quota", 429, &["x-should-retry: false"]),
        (CHAT, BEARER, &chat(), "status=503,retry-after=86400", 503, &["retry-after: 86400"]),
        ("/v1/messages", ANTHROPIC, &message(), "status=529", 529, &["x-should-retry: true", "request-id: "]),
        ("/model/amazon.x/converse", BEARER, &json!({}), "status=429", 429, &["x-amzn-errortype: throttlingexception"]),
        (CHAT, BEARER, &chat(), "redirect=http://127.0.0.1:9/,status=302", 302, &["location: http://127.0.0.1:9/"]),
    ] {
        let (found, head, _) = sim.ask("POST", path, &format!("{headers}x-sim-fault: {fault}\r\n"), &body.to_string());
        assert_eq!(found, status, "{fault}: {head}");
        assert!(wanted.iter().all(|line| head.contains(line)), "{fault}: {head}");
    }
    let (status, _, body) = sim.ask("POST", CHAT, &format!("{BEARER}x-sim-fault: explode\r\n"), &chat().to_string());
    assert!(status == 400 && body.contains("is no fault"), "{body}");
}

#[test]
fn streams_carry_what_no_client_expects() {
    let sim = sim();
    let with = |fault: &str| sim.ask("POST", CHAT, &format!("{BEARER}x-sim-fault: {fault}\r\n"), &streamed()).2;
    assert!(with("error-event").contains(r#"data: {"error":{"message":"Overloaded""#));
    assert!(with("noise").contains(": noise\n\n"));
    assert!(with("lines=crlf").contains("}\r\n\r\n\r\n"), "with that of the chunk");
    assert!(with("garbage=event").contains("event: novelty"));
    assert_eq!(with("twice").matches("[DONE]").count(), 2);
    assert!(with("garbage=html").starts_with("<!DOCTYPE html>"));
    assert!(with("garbage=huge").len() > 10 * 1024 * 1024);
    // One byte a chunk, each with its own length.
    assert!(with("split=1").matches("1\r\n").count() > 200);
}

#[test]
fn answers_come_in_wrong_frames() {
    let sim = sim();
    let raw = |fault: &str| {
        let (bytes, _) = sim.all("POST", CHAT, &format!("{BEARER}x-sim-fault: {fault}\r\n"), &chat().to_string());
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let told = |text: &str| {
        text.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse::<usize>().unwrap()
    };
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.len();
    for (fault, difference) in [("length=+5", 5), ("length=-5", -5)] {
        let text = raw(fault);
        assert_eq!(i64::try_from(told(&text)).unwrap() - i64::try_from(body(&text)).unwrap(), difference, "{fault}");
    }
    let both = raw("framing=both");
    assert!(both.contains("transfer-encoding: chunked") && both.contains("content-length: "), "{both}");
    assert!(raw("framing=trailers").contains("x-trailer: kept"));
    assert_eq!(raw("framing=informational").matches("103 Early Hints").count(), 1000);
    assert!(raw("framing=head").len() > 1024 * 1024);
    assert!(!raw("garbage").starts_with("HTTP"));
}

#[test]
fn what_stalls_does_so_where_it_is_told_to() {
    let sim = sim();
    let mut before = sim.send("POST", CHAT, &format!("{BEARER}x-sim-fault: stall=forever\r\n"), &streamed());
    before.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(before.read(&mut [0; 9]).is_err(), "not even a head");
    let mut within = sim.send("POST", CHAT, &format!("{BEARER}x-sim-fault: stall=forever,after=2\r\n"), &streamed());
    within.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut text = Vec::new();
    assert!(within.read_to_end(&mut text).is_err());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("data: ").count(), 2, "{text}");
    let mut endless = sim.send("POST", CHAT, &format!("{BEARER}x-sim-fault: endless=1ms\r\n"), &streamed());
    let mut seen = 0;
    while seen < 100_000 {
        let read = endless.read(&mut [0; 4096]).unwrap();
        assert!(read > 0, "it ended");
        seen += read;
    }
}

#[test]
fn a_response_can_be_asked_for_again() {
    let sim = sim();
    let (_, _, first) = sim.post("/v1/responses", BEARER, &json!({"model": "gpt-4o", "input": "hi"}));
    let id = first["id"].as_str().unwrap();
    let again: Value = serde_json::from_str(&sim.ask("GET", &format!("/v1/responses/{id}"), BEARER, "").2).unwrap();
    assert_eq!(first, again);
    let next = |id: &str| {
        sim.post("/v1/responses", BEARER, &json!({"model": "gpt-4o", "input": "hi", "previous_response_id": id}))
    };
    assert_eq!(next(id).0, 200);
    let (status, _, refused) = next("resp_other");
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("previous_response_not_found")));
}

#[test]
fn what_came_can_be_looked_at() {
    let sim = sim();
    sim.post(CHAT, &format!("{BEARER}x-caller: me\r\n"), &chat());
    let seen: Value = serde_json::from_str(&sim.ask("GET", "/sim/requests", "", "").2).unwrap();
    let request = &seen["requests"][0];
    assert_eq!((&request["method"], &request["path"]), (&json!("POST"), &json!(CHAT)));
    assert!(request["headers"].as_array().unwrap().contains(&json!(["x-caller", "me"])));
    assert_eq!(serde_json::from_str::<Value>(request["body"].as_str().unwrap()).unwrap(), chat());
}
