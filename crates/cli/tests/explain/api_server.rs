//! As much of an API server as the command asks for: lists of a few objects, and refusals.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

#[derive(Default)]
struct State {
    policies: Vec<Value>,
    ready: bool,
    refused: BTreeSet<&'static str>,
    asked: Vec<String>,
}

/// One that answers until the test ends.
pub(crate) struct ApiServer {
    address: String,
    state: Arc<Mutex<State>>,
}

impl ApiServer {
    /// With the policies of this file, a pool and its replica, which is not ready.
    pub(crate) fn new(policies: &Path) -> Self {
        let text = std::fs::read_to_string(policies).unwrap();
        let policies = schema::documents(&text).unwrap().into_iter().map(|document| document.value).collect();
        let state = Arc::new(Mutex::new(State { policies, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&answering);
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    /// The path of a kubeconfig for it.
    pub(crate) fn kubeconfig(&self, name: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = std::env::temp_dir().join(format!("{name}-{}.json", std::process::id()));
        std::fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// From now on the replica is ready.
    pub(crate) fn ready(&self) {
        self.state.lock().unwrap().ready = true;
    }

    /// From now on this kind may not be listed.
    pub(crate) fn refuse(&self, kind: &'static str) {
        self.state.lock().unwrap().refused.insert(kind);
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(line) = lines.next() {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        // The head ends with an empty line; there is no body.
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        let (status, body) = answer(&path, &mut state.lock().unwrap());
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut writer = stream;
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(path: &str, state: &mut State) -> (&'static str, String) {
    state.asked.push(path.to_owned());
    let kinds = ["routepolicies", "inferencepools", "endpointslices", "namespaces"];
    // The last one is part of the path of the others.
    let kind = kinds.into_iter().find(|kind| path.split('?').next().unwrap_or_default().ends_with(kind)).unwrap_or("");
    if state.refused.contains(kind) {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "code": 403, "reason": "Forbidden", "message": "you may not"});
        return ("403 Forbidden", status.to_string());
    }
    let metadata = json!({"name": "llama-8b", "namespace": "ml", "labels": {"quartermaster.dev/pool": "llama-8b"}});
    let items = match kind {
        "routepolicies" => state.policies.clone(),
        "inferencepools" => vec![json!({
            "metadata": metadata, "spec": {"model": {"source": "hf://a/b"}, "engine": {"image": "vllm:v1"}},
        })],
        "endpointslices" => vec![json!({
            "metadata": metadata, "addressType": "IPv4", "ports": [{"port": 8000}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": state.ready}}],
        })],
        _ => vec![json!({"metadata": {"name": "ml"}})],
    };
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
    ("200 OK", list.to_string())
}
