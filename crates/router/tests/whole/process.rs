//! The program itself: `router` as it is started in a pod, with an API server that says what a test tells it to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::bed::{ASK, Engine, STREAM, Wire, chat, chunk, header, plain, soon, status};
use crate::volume::away_from_midnight;

/// How long a router that starts may take until it serves, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// What the API server has, and whom it tells of changes.
#[derive(Default)]
struct Cluster {
    lists: Mutex<HashMap<&'static str, Vec<Value>>>,
    watches: Mutex<HashMap<&'static str, UnboundedSender<String>>>,
}

const KINDS: [&str; 5] = ["routepolicies", "inferencepools", "endpointslices", "secrets", "namespaces"];

impl Cluster {
    async fn serve(self: &Arc<Self>) -> Engine {
        let cluster = Arc::clone(self);
        Engine::new(move |_, mut wire| {
            let cluster = Arc::clone(&cluster);
            async move {
                while let Some((head, _)) = wire.next_message().await {
                    let kind = KINDS.into_iter().find(|kind| head.contains(kind)).unwrap();
                    if !head.contains("watch=true") {
                        let items = cluster.lists.lock().unwrap().get(kind).cloned().unwrap_or_default();
                        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
                        wire.send(plain(&list.to_string())).await;
                        continue;
                    }
                    let (sender, mut lines) = unbounded_channel();
                    cluster.watches.lock().unwrap().insert(kind, sender);
                    wire.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await;
                    while let Some(line) = lines.recv().await {
                        if wire.stream.write_all(chunk(&line).as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
        .await
    }

    async fn tell(&self, kind: &'static str, object: &Value) {
        let line = json!({"type": "MODIFIED", "object": object}).to_string() + "\n";
        crate::bed::until("it is watched", || self.watches.lock().unwrap().contains_key(kind)).await;
        self.watches.lock().unwrap()[kind].send(line).unwrap();
    }
}

fn metadata(name: &str, version: usize, pool: &str) -> Value {
    let labels = json!({"quartermaster.dev/pool": pool});
    json!({"name": name, "namespace": "ml", "uid": name, "resourceVersion": version.to_string(), "labels": labels})
}

/// A policy that sends the model `m` to this pool, or one that cannot be read.
fn policy(version: usize, pool: Option<&str>) -> Value {
    let targets = match pool {
        Some(pool) => json!([{"name": pool, "pool": {"name": pool}}]),
        None => json!("none"),
    };
    json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": metadata("r", version, ""),
        "spec": {"models": ["m"], "targets": targets, "access": {"anonymous": true}},
    })
}

/// A pool whose one replica is this engine, which knows the model by the pool's own name.
fn pool(name: &str, engine: SocketAddr) -> [Value; 2] {
    let pool = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": metadata(name, 1, name),
        "spec": {"model": {"source": "hf://a/b"}, "engine": {"image": "vllm:v1"}},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata(name, 1, name),
        "addressType": "IPv4", "ports": [{"port": engine.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [engine.ip().to_string()], "conditions": {"ready": true}}],
    });
    [pool, slice]
}

/// A router that runs, killed when dropped.
pub(crate) struct Router {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    debug: SocketAddr,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
    /// What it has logged.
    log: Arc<Mutex<Vec<String>>>,
}

/// A new folder for the process of this name.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("router-process-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Router {
    /// One that follows this cluster, and serves already.
    async fn start(name: &str, api: SocketAddr, more: &[&str]) -> Self {
        let folder = folder(name);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{api}")}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(folder.join("config"), config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quartermaster-router"));
        command.env("KUBECONFIG", folder.join("config")).arg("--log-requests=false").args(more);
        Self::run(folder, command).await
    }

    /// One that serves the model `m` already.
    pub(crate) async fn run(folder: PathBuf, mut command: Command) -> Self {
        // Free a moment ago; the address for clients is told by the log.
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (admin, debug) = (free(), free());
        let mut child = command
            .args(["--listen=127.0.0.1:0", "--workers=1", "--max-lag-milliseconds=0"])
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--debug-listen={debug}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (told, serving) = tokio::sync::oneshot::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut told = Some(told);
            for line in lines.lines().map_while(Result::ok) {
                let listen = serde_json::from_str::<Value>(&line).ok();
                let listen = listen.and_then(|line| line.get("listen")?.as_str()?.parse().ok());
                kept.lock().unwrap().push(line);
                if let Some((listen, told)) = listen.and_then(|listen: SocketAddr| Some((listen, told.take()?))) {
                    let _ = told.send(listen);
                }
            }
        });
        let address = tokio::time::timeout(START, serving).await.unwrap().unwrap();
        let router = Self { child, address, admin, debug, folder, log };
        let give_up = Instant::now() + START;
        // Its own page is asked: clients are not told of a model that they may not use.
        while !router.debug("/debug/config").await["models"].to_string().contains("\"m\"") {
            assert!(Instant::now() < give_up, "it serves no model");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        router
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// What it tells of its table.
    pub(crate) async fn debug(&self, path: &str) -> Value {
        let mut client = Wire::new(soon(TcpStream::connect(self.debug)).await.unwrap());
        client.send(format!("GET {path} HTTP/1.1\r\nhost: router\r\n\r\n")).await;
        serde_json::from_str(&client.message().await.1).unwrap()
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire::new(soon(TcpStream::connect(self.address)).await.unwrap())
    }

    /// The figure of a metric, by how its line begins.
    pub(crate) async fn figure(&self, line: &str) -> f64 {
        let mut client = Wire::new(soon(TcpStream::connect(self.admin)).await.unwrap());
        client.send("GET /metrics HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n").await;
        let page = client.read_all().await;
        page.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
    }

    fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal, named as `kill` has it.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How it ended, and when.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Instant) {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, Instant::now());
            }
            assert!(Instant::now() < give_up, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn cluster(pools: &[[Value; 2]], policy: Value) -> (Arc<Cluster>, Engine) {
    let cluster = Arc::new(Cluster::default());
    let namespace = json!({"metadata": {"name": "ml", "uid": "ml", "resourceVersion": "1"}});
    *cluster.lists.lock().unwrap() = HashMap::from([
        ("namespaces", vec![namespace]),
        ("routepolicies", vec![policy]),
        ("inferencepools", pools.iter().map(|[pool, _]| pool.clone()).collect()),
        ("endpointslices", pools.iter().map(|[_, slice]| slice.clone()).collect()),
    ]);
    let api = cluster.serve().await;
    (cluster, api)
}

/// RC-10: ten changes a second, a third of which cannot be read, under clients that never rest. A request goes where one
/// whole configuration says, and what cannot be read changes nothing.
#[tokio::test]
async fn rc10_reloads_never_tear_a_request_and_the_last_good_one_stays() {
    let mut engines = Vec::new();
    for name in ["one", "two"] {
        // Each knows the model by the name of its own pool only.
        let engine = Engine::new(move |_, mut wire| async move {
            while let Some((_, body)) = wire.next_message().await {
                let fine = body.contains(&format!("\"model\":\"{name}\""));
                wire.send(plain(if fine { name } else { "torn" })).await;
            }
        });
        engines.push(engine.await);
    }
    let pools = [pool("one", engines[0].address), pool("two", engines[1].address)];
    let (cluster, api) = cluster(&pools, policy(1, Some("one"))).await;
    let router = Router::start("reload", api.address, &[]).await;
    let stop = std::cell::Cell::new(false);
    let changing = async {
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        for round in 0..60 {
            beat.tick().await;
            let new = match round % 3 {
                0 => Some("two"),
                1 => None,
                _ => Some("one"),
            };
            cluster.tell("routepolicies", &policy(10 + round, new)).await;
        }
        // The last two: one that sends to the second pool, and one that cannot be read.
        cluster.tell("routepolicies", &policy(100, Some("two"))).await;
        cluster.tell("routepolicies", &policy(101, None)).await;
        let broken = r#"quartermaster_router_broken_objects{kind="RoutePolicy"}"#;
        let give_up = Instant::now() + START;
        let mut client = router.client().await;
        // Rounds before had these figures, too, and the router may still be at one of those.
        let mut answered = String::new();
        while router.figure(broken).await < 0.5 || answered != "two" {
            assert!(Instant::now() < give_up, "it never says that one cannot be read, and keeps the last good one");
            client.send(chat(ASK)).await;
            answered = soon(client.message()).await.1;
        }
        stop.set(true);
    };
    let asking = futures::future::join_all((0..4).map(|_| async {
        let (mut client, mut seen) = (router.client().await, HashMap::<String, usize>::new());
        while !stop.get() {
            client.send(chat(ASK)).await;
            let (head, body) = soon(client.message()).await;
            assert_eq!(status(&head), 200, "{body}");
            *seen.entry(body).or_default() += 1;
        }
        seen
    }));
    let (all, ()) = tokio::join!(asking, changing);
    for seen in &all {
        assert!(!seen.contains_key("torn") && seen.len() == 2, "{seen:?}");
    }
    let mut client = router.client().await;
    client.send(chat(ASK)).await;
    assert_eq!(client.message().await.1, "two", "the last good one stays");
    let changes = router.figure("quartermaster_router_table_changes_total").await;
    assert!((20.0..=80.0).contains(&changes), "{changes} tables for 41 good changes, some of them together");
}

/// RC-08: SIGTERM while clients stream, have sent half a head, half a body, or nothing.
#[tokio::test]
async fn rc08_a_stop_under_load_loses_nothing_that_fits_and_ends_in_time() {
    const DELAY: Duration = Duration::from_secs(1);
    const DRAIN: Duration = Duration::from_secs(4);
    let engine = Engine::new(|_, mut wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            wire.send(format!("{STREAM}{}", chunk("data: a\n\n"))).await;
            if body.contains("endless") {
                wire.read_all().await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(2500)).await;
            wire.send(chunk("data: [DONE]\n\n") + "0\r\n\r\n").await;
        }
    })
    .await;
    let (_cluster, api) = cluster(&[pool("p", engine.address)], policy(1, Some("p"))).await;
    let (delay, drain) =
        (format!("--drain-delay={}s", DELAY.as_secs()), format!("--drain-timeout={}s", DRAIN.as_secs()));
    let mut router = Router::start("stop", api.address, &[&delay, &drain]).await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: router\r\ncontent-length: 100\r\n\r\n{\"model\"";
    let endless = chat(r#"{"model":"m","user":"endless"}"#);
    let (mut streams, mut others) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let mut client = router.client().await;
        client.send(chat(ASK)).await;
        streams.push(client);
        for said in [&head[..20], head, "", endless.as_str()] {
            let mut client = router.client().await;
            client.send(said).await;
            others.push(client);
        }
    }
    for client in &mut streams {
        client.read_to("data: a\n\n\r\n").await;
    }
    let mut resting = router.client().await;
    router.terminate();
    let begun = Instant::now();
    // Those who have not heard of it yet are served, and told.
    let told = async {
        loop {
            resting.send("GET /v1/models HTTP/1.1\r\nhost: router\r\n\r\n").await;
            let (head, _) = resting.message().await;
            assert_eq!(status(&head), 200);
            if header(&head, "connection") == Some("close") {
                break;
            }
        }
    };
    soon(told).await;
    let mut late = router.client().await;
    late.send(chat(ASK)).await;
    streams.push(late);
    let whole = async {
        let mut whole = 0;
        for client in &mut streams {
            whole += usize::from(client.read_all().await.ends_with(&(chunk("data: [DONE]\n\n") + "0\r\n\r\n")));
        }
        let mut looks_whole = 0;
        for client in &mut others {
            looks_whole += usize::from(client.read_all().await.ends_with("0\r\n\r\n"));
        }
        (whole, looks_whole)
    };
    let ((whole, looks_whole), (exit, ended)) = tokio::join!(whole, router.ended());
    let took = ended - begun;
    eprintln!("SEEN {whole} streams whole, ended after {took:?} with {exit}");
    assert_eq!((whole, looks_whole), (streams.len(), 0));
    assert!(exit.success(), "{exit}");
    assert!(took >= DELAY + DRAIN, "endless streams have all of the time: {took:?}");
    assert!(took <= DELAY + DRAIN + Duration::from_secs(1), "{took:?}");
    assert!(TcpStream::connect(router.address).await.is_err());
}

/// What policies had today is told at the admin port, read there by other routers, and kept in the folder for the next start.
#[tokio::test]
async fn routers_tell_each_other_what_policies_had_today() {
    away_from_midnight().await;
    let engine = Engine::answering(plain("{}")).await;
    let mut policy = policy(1, Some("p"));
    policy["spec"]["rules"] =
        json!([{"name": "few", "when": "request.requestsToday < 100", "use": {"ordered": ["p"]}}]);
    let (_cluster, api) = cluster(&[pool("p", engine.address)], policy).await;
    let ask = async |router: &Router| {
        let mut client = router.client().await;
        client.send(chat(ASK)).await;
        assert_eq!(status(&client.message().await.0), 200);
    };
    let knows = async |router: &Router, requests: f64| {
        let give_up = Instant::now() + START;
        let line = r#"quartermaster_router_policy_requests_today{policy="ml/r"}"#;
        while (router.figure(line).await - requests).abs() > 0.5 {
            assert!(Instant::now() < give_up, "it never knows of {requests}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let one = Router::start("peer-one", api.address, &[]).await;
    ask(&one).await;
    ask(&one).await;
    let (peers, kept) = (format!("--peers={}", one.admin), one.folder.join("kept"));
    std::fs::create_dir_all(&kept).unwrap();
    let kept = format!("--cache-dir={}", kept.display());
    let leaves = ["--drain-delay=0s", "--drain-timeout=1s"];
    let mut two = Router::start("peer-two", api.address, &[&peers, &kept, leaves[0], leaves[1]]).await;
    knows(&two, 2.0).await;
    ask(&two).await;
    knows(&two, 3.0).await;
    two.terminate();
    assert!(two.ended().await.0.success());
    let again = Router::start("peer-again", api.address, &[&kept]).await;
    knows(&again, 3.0).await;
}
