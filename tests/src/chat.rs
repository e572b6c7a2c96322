//! Requests to the router, as an application sends them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{SYSTEM, kubectl, routed};

/// Most connections that are kept for the next request: as many as any scenario has clients.
const KEPT: usize = 32;

/// A connection to the router of the cluster.
pub struct Chat {
    agent: ureq::Agent,
    /// Base URL of the router.
    pub url: String,
    forward: Option<Child>,
}

impl Streamed {
    /// Whether an event of the stream says that it broke off.
    #[must_use]
    pub fn told_error(&self) -> bool {
        self.events.iter().any(|event| event.get("error").is_some())
    }
}

/// An answer that was read as a whole.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The Retry-After header, if any.
    pub retry_after: Option<String>,
    /// The Allow header, if any.
    pub allow: Option<String>,
    /// The target that the answer names, as it does where rules decided.
    pub target: Option<String>,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

/// An answer that was read as it came.
#[derive(Debug)]
pub struct Streamed {
    /// When each event came, counted from the request.
    pub at: Vec<Duration>,
    /// The events' data, without `[DONE]`.
    pub events: Vec<Value>,
    /// Whether the stream ended with `[DONE]`.
    pub done: bool,
    /// The target that the answer names, as it does where rules decided.
    pub target: Option<String>,
}

impl Chat {
    /// Reaches the router: by its Service's address where that is routed to this machine, else by a port-forward.
    #[must_use]
    pub fn new() -> Self {
        Self::within(SYSTEM)
    }

    /// As [`Chat::new`], with the router of this namespace.
    #[must_use]
    pub fn within(namespace: &str) -> Self {
        let (url, forward) = if routed() { (service_url(namespace), None) } else { port_forward(namespace) };
        Self { agent: agent(KEPT), url, forward }
    }

    /// The same router, with a connection of its own for each request. It lasts no longer than this one where that goes
    /// through a port-forward.
    #[must_use]
    pub fn keeping_no_connection(&self) -> Self {
        Self { agent: agent(0), url: self.url.clone(), forward: None }
    }

    /// POSTs `body` to `path` and reads the whole answer.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Reply, String> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        reply(request.send(body))
    }

    /// GETs `path`.
    pub fn get(&self, path: &str) -> Result<Reply, String> {
        reply(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// As [`Chat::ask`] for two tokens, with this key or token.
    pub fn ask_as(&self, model: &str, credential: Option<&str>) -> Result<Reply, String> {
        let url = format!("{}/v1/chat/completions", self.url);
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        reply(request.send(question(model, 2, false).to_string()))
    }

    /// As [`Chat::get`], with this key or token.
    pub fn get_as(&self, path: &str, credential: Option<&str>) -> Result<Reply, String> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        reply(request.call())
    }

    /// Asks `model` a question and reads the whole answer.
    pub fn ask(&self, model: &str, tokens: u32) -> Result<Reply, String> {
        self.post("/v1/chat/completions", question(model, tokens, false).to_string().as_bytes())
    }

    /// Asks `model` a question and reads the answer as it streams.
    pub fn stream(&self, model: &str, tokens: u32) -> Result<Streamed, String> {
        let start = Instant::now();
        let url = format!("{}/v1/chat/completions", self.url);
        let request = self.agent.post(url).header("content-type", "application/json");
        let answer = request.send(question(model, tokens, true).to_string()).map_err(|e| e.to_string())?;
        if answer.status() != 200 {
            return Err(format!("status {}: {:?}", answer.status(), answer.into_body().read_to_string()));
        }
        let mut streamed = Streamed { at: Vec::new(), events: Vec::new(), done: false, target: target(&answer) };
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.map_err(|e| e.to_string())?;
            match line.strip_prefix("data: ") {
                Some("[DONE]") => streamed.done = true,
                Some(data) => {
                    streamed.at.push(start.elapsed());
                    streamed.events.push(serde_json::from_str(data).map_err(|e| format!("{e}: {data}"))?);
                }
                None => {}
            }
        }
        Ok(streamed)
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        if let Some(forward) = &mut self.forward {
            // It ends with us either way.
            let _ = forward.kill();
            let _ = forward.wait();
        }
    }
}

/// POSTs this text to a page, and gives its answer's.
pub fn post_page(url: &str, text: &str) -> Result<String, String> {
    read_page(agent(0).post(url).send(text))
}

/// The text of a page. The error is its status, or why there is none.
pub fn page(url: &str) -> Result<String, String> {
    read_page(agent(0).get(url).call())
}

fn read_page(answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<String, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.into_body().read_to_string().map_err(|error| error.to_string())?;
    if status == 200 { Ok(text) } else { Err(format!("{status}: {text}")) }
}

fn agent(kept: usize) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .max_idle_connections(kept)
        .max_idle_connections_per_host(kept);
    config.build().into()
}

fn question(model: &str, tokens: u32, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hello"}]})
}

fn reply(answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (status, retry_after, allow) = (answer.status().as_u16(), header("retry-after"), header("allow"));
    let target = target(&answer);
    let text = answer.into_body().read_to_string().map_err(|error| error.to_string())?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Reply { status, retry_after, allow, target, body })
}

fn target(answer: &http::Response<ureq::Body>) -> Option<String> {
    let value = answer.headers().get("x-quartermaster-target")?;
    value.to_str().ok().map(str::to_owned)
}

fn service_url(namespace: &str) -> String {
    let words =
        format!("get service quartermaster-router --namespace {namespace} --output jsonpath={{.spec.clusterIP}}");
    format!("http://{}", kubectl(&words))
}

fn port_forward(namespace: &str) -> (String, Option<Child>) {
    let mut child = Command::new("kubectl")
        .args(["port-forward", "--namespace", namespace, "service/quartermaster-router", ":80"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut line = String::new();
    let said = child.stdout.take().expect("it has an output");
    BufReader::new(said).read_line(&mut line).expect("it says where it listens");
    let port = line.split([' ', ':']).find_map(|word| word.parse::<u16>().ok());
    let port = port.unwrap_or_else(|| panic!("kubectl port-forward said {line:?}"));
    (format!("http://127.0.0.1:{port}"), Some(child))
}
