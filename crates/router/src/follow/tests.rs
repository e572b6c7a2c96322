use super::*;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);
const KINDS: [&str; 5] = ["routepolicies", "inferencepools", "endpointslices", "secrets", "namespaces"];

/// An API server that answers lists from what it is given, and watches with what it is told.
#[derive(Default)]
struct Cluster {
    lists: Mutex<HashMap<&'static str, Vec<Value>>>,
    /// The latest watch of each kind.
    watches: Mutex<HashMap<&'static str, UnboundedSender<Bytes>>>,
    away: AtomicBool,
    /// How often something was not answered.
    refused: Mutex<HashMap<&'static str, usize>>,
}

impl Cluster {
    fn client(self: &Arc<Self>) -> Client {
        let cluster = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let answer = cluster.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<kube::client::Body>) -> Response<BoxBody<Bytes, Infallible>> {
        let uri = request.uri().to_string();
        let kind = KINDS.into_iter().find(|kind| uri.contains(kind)).unwrap();
        let here = !self.away.load(Ordering::SeqCst);
        if here && uri.contains("watch=true") {
            let (sender, lines) = unbounded();
            self.watches.lock().unwrap().insert(kind, sender);
            return Response::new(BodyExt::boxed(StreamBody::new(lines.map(|line| Ok(Frame::data(line))))));
        }
        if let ("secrets", true) = (kind, here) {
            // It is asked for by its name.
            let secrets = self.lists.lock().unwrap().get(kind).cloned().unwrap_or_default();
            let named = |secret: &Value| secret["metadata"]["name"].as_str().is_some_and(|name| uri.ends_with(name));
            let missing =
                json!({"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound", "message": ""});
            let found = secrets.into_iter().find(named);
            let status = if found.is_some() { http::StatusCode::OK } else { http::StatusCode::NOT_FOUND };
            let mut answer = Response::new(Full::from(found.unwrap_or(missing).to_string()).boxed());
            *answer.status_mut() = status;
            return answer;
        }
        if let Some(items) = self.lists.lock().unwrap().get(kind).filter(|_| here) {
            let list =
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
            return Response::new(Full::from(list.to_string()).boxed());
        }
        *self.refused.lock().unwrap().entry(kind).or_default() += 1;
        let mut unwell = Response::new(Full::from("{}").boxed());
        *unwell.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        unwell
    }

    fn refused(&self, kind: &str) -> usize {
        self.refused.lock().unwrap().get(kind).copied().unwrap_or(0)
    }

    fn give(&self, kind: &'static str, items: Vec<Value>) {
        self.lists.lock().unwrap().insert(kind, items);
    }

    async fn tell(&self, kind: &'static str, type_: &str, object: &Value) {
        until(&format!("{kind} are watched"), || self.watches.lock().unwrap().contains_key(kind)).await;
        let line = json!({"type": type_, "object": object}).to_string() + "\n";
        self.watches.lock().unwrap()[kind].unbounded_send(line.into()).unwrap();
    }

    /// Ends the watches, and until it is back answers nothing.
    fn go_away(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.watches.lock().unwrap().clear();
    }

    fn come_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }
}

/// Waits until `holds` does; reaching the end of the patience fails the test.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn metadata(name: &str, version: &str) -> Value {
    let labels = json!({"quartermaster.dev/pool": "p"});
    json!({"name": name, "namespace": "ml", "uid": name, "resourceVersion": version, "labels": labels})
}

fn policy(version: &str, models: &Value) -> Value {
    json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": metadata("r", version),
        "spec": {"models": models, "targets": [{"name": "t", "pool": {"name": "p"}}]},
    })
}

fn pool() -> Value {
    json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": metadata("p", "1"),
        "spec": {"model": {"source": "hf://a/b"}, "engine": {"image": "vllm:v1"}},
    })
}

fn slice(version: &str, ready: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        ready.iter().map(|address| json!({"addresses": [address], "conditions": {"ready": true}})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata("s", version),
        "addressType": "IPv4", "ports": [{"port": 8000, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

fn how(cache_dir: Option<PathBuf>) -> Follow {
    Follow {
        namespace: None,
        cache_dir,
        cache_max_age: DAY,
        outbound: Outbound::default(),
        patience: Duration::from_millis(50),
        volumes: Volumes::default(),
        read_keys_every: Duration::from_millis(20),
    }
}

/// The models that the live table offers, and the endpoints of its first pool.
fn seen(live: &Shared) -> (Vec<String>, Vec<String>) {
    let live = live.load();
    let models = live.table.models().into_iter().map(|(name, _)| name.to_owned()).collect();
    let ready = live.table.pools().first().map(|pool| pool.ready.iter().map(|e| e.authority.to_string()).collect());
    (models, ready.unwrap_or_default())
}

#[tokio::test]
async fn the_table_follows_the_cluster_and_outlives_it() {
    let cluster = Arc::new(Cluster::default());
    let live = Live::unknown().shared();
    let (metrics, ready) = (Metrics::new().unwrap(), Readiness::default());
    let client = cluster.client();
    let (shared, counted, told) = (Arc::clone(&live), metrics.clone(), ready.clone());
    let following = tokio::spawn(async move { follow(client, &how(None), &shared, &counted, &told).await });
    let wait_for = async |models: &[&str], endpoints: &[&str]| {
        until(&format!("{models:?} {endpoints:?}"), || {
            let (m, e) = seen(&live);
            m == models && e == endpoints
        })
        .await;
    };

    cluster.give("namespaces", vec![json!({"metadata": {"name": "ml", "uid": "ml", "resourceVersion": "1"}})]);
    cluster.give("routepolicies", vec![policy("1", &json!(["m"]))]);
    cluster.give("inferencepools", vec![pool()]);
    until("the slices are asked for again", || cluster.refused("endpointslices") > 1).await;
    assert!(!ready.get() && !live.load().synced, "the slices are not known yet");
    cluster.give("endpointslices", vec![slice("1", &["10.0.0.1"])]);
    wait_for(&["m"], &["10.0.0.1:8000"]).await;
    assert!(ready.get() && live.load().synced);

    cluster.tell("endpointslices", "MODIFIED", &slice("2", &["10.0.0.1", "10.0.0.2"])).await;
    wait_for(&["m"], &["10.0.0.1:8000", "10.0.0.2:8000"]).await;
    let broken = metrics.broken_objects.with_label_values(&["RoutePolicy"]);
    cluster.tell("routepolicies", "MODIFIED", &policy("2", &json!("no list"))).await;
    cluster.tell("endpointslices", "MODIFIED", &slice("3", &["10.0.0.2"])).await;
    wait_for(&["m"], &["10.0.0.2:8000"]).await;
    assert_eq!(broken.get(), 1, "the last readable state stays in use");
    let page = || prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
    let named = r#"broken_object{kind="RoutePolicy",name="r",namespace="ml"} 1"#;
    assert!(page().contains(named));
    cluster.tell("routepolicies", "MODIFIED", &policy("3", &json!(["m", "n"]))).await;
    wait_for(&["m", "n"], &["10.0.0.2:8000"]).await;
    assert_eq!(broken.get(), 0);
    assert!(!page().contains(named));

    cluster.go_away();
    let errors = metrics.watch_errors.with_label_values(&["RoutePolicy"]);
    until("a watch fails", || errors.get() > 0).await;
    wait_for(&["m", "n"], &["10.0.0.2:8000"]).await;
    assert!(ready.get());
    cluster.come_back();
    cluster.tell("routepolicies", "MODIFIED", &policy("9", &json!(["back"]))).await;
    wait_for(&["back"], &["10.0.0.2:8000"]).await;
    following.abort();
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("router-follow-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A router of its own that follows a cluster.
struct Started {
    live: Shared,
    metrics: Metrics,
    ready: Readiness,
    following: tokio::task::JoinHandle<()>,
}

impl Started {
    fn new(cluster: &Arc<Cluster>, cache_dir: &std::path::Path) -> Self {
        let live = Live::unknown().shared();
        let (metrics, ready) = (Metrics::new().unwrap(), Readiness::default());
        let (client, how) = (cluster.client(), how(Some(cache_dir.to_owned())));
        let (shared, counted, told) = (Arc::clone(&live), metrics.clone(), ready.clone());
        let following = tokio::spawn(async move { follow(client, &how, &shared, &counted, &told).await });
        Self { live, metrics, ready, following }
    }

    async fn sees(&self, models: &[&str], endpoints: &[&str]) {
        until(&format!("{models:?} {endpoints:?}"), || {
            let (m, e) = seen(&self.live);
            m == models && e == endpoints
        })
        .await;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn full_cluster() -> Arc<Cluster> {
    let cluster = Arc::new(Cluster::default());
    cluster.give("namespaces", vec![json!({"metadata": {"name": "ml", "uid": "ml", "resourceVersion": "1"}})]);
    cluster.give("routepolicies", vec![policy("1", &json!(["m"]))]);
    cluster.give("inferencepools", vec![pool()]);
    cluster.give("endpointslices", vec![slice("1", &["10.0.0.1"])]);
    cluster
}

#[tokio::test]
async fn a_start_without_the_api_server_takes_the_table_from_before() {
    let folder = Folder::new("start");
    let file = folder.0.join("table.json");
    let cluster = full_cluster();
    let first = Started::new(&cluster, &folder.0);
    first.sees(&["m"], &["10.0.0.1:8000"]).await;
    assert_eq!(first.metrics.table_from_cache.get(), 0);
    until("the table is kept", || file.exists()).await;
    cluster.tell("endpointslices", "MODIFIED", &slice("2", &["10.0.0.2"])).await;
    until("the change is kept", || std::fs::read_to_string(&file).unwrap().contains("10.0.0.2")).await;
    drop(first);

    cluster.go_away();
    let second = Started::new(&cluster, &folder.0);
    second.sees(&["m"], &["10.0.0.2:8000"]).await;
    until("it is ready", || second.ready.get()).await;
    let now = i64::try_from(clock::since_1970().as_secs()).unwrap();
    assert!((now - 120..=now).contains(&second.metrics.table_kept.get()), "its age is told");
    assert_eq!(second.metrics.table_from_cache.get(), 1);

    // Back, with a policy that this router has never been able to read: what was kept of it stays.
    cluster.give("routepolicies", vec![policy("7", &json!("no list"))]);
    cluster.give("endpointslices", vec![slice("8", &["10.0.0.3"])]);
    cluster.come_back();
    second.sees(&["m"], &["10.0.0.3:8000"]).await;
    until("the table is a new one", || second.metrics.table_from_cache.get() == 0).await;
    // What is gone from the cluster goes.
    cluster.tell("routepolicies", "DELETED", &policy("9", &json!(["m"]))).await;
    second.sees(&[], &["10.0.0.3:8000"]).await;
}

#[tokio::test]
async fn a_table_that_was_kept_for_too_long_is_not_used() {
    let folder = Folder::new("old");
    let file = folder.0.join("table.json");
    let cluster = full_cluster();
    let first = Started::new(&cluster, &folder.0);
    first.sees(&["m"], &["10.0.0.1:8000"]).await;
    until("the table is kept", || file.exists()).await;
    drop(first);
    let text = std::fs::read_to_string(&file).unwrap();
    let written = text.split_once("\"written\":").unwrap().1.split(',').next().unwrap().to_owned();
    let before = written.parse::<u64>().unwrap() - DAY.as_secs() - 600;
    std::fs::write(&file, text.replacen(&written, &before.to_string(), 1)).unwrap();
    cluster.go_away();
    let second = Started::new(&cluster, &folder.0);
    let errors = second.metrics.watch_errors.with_label_values(&["RoutePolicy"]);
    until("it has waited longer than it would for a table to use", || errors.get() > 1).await;
    assert!(!second.ready.get() && !second.live.load().synced);
    cluster.come_back();
    second.sees(&["m"], &["10.0.0.1:8000"]).await;
    until("a new one takes its place", || !std::fs::read_to_string(&file).unwrap().contains(&before.to_string())).await;
}

#[tokio::test]
async fn a_start_with_the_api_server_does_not_wait_for_or_use_what_was_kept() {
    let folder = Folder::new("spoilt");
    let file = folder.0.join("table.json");
    let cluster = full_cluster();
    for text in ["", "{\"version\":0,\"namespace\":null,\"world\":{}}", "nonsense"] {
        std::fs::write(&file, text).unwrap();
        let started = Started::new(&cluster, &folder.0);
        started.sees(&["m"], &["10.0.0.1:8000"]).await;
        until("a good one takes its place", || std::fs::read_to_string(&file).unwrap().contains("10.0.0.1")).await;
        assert_eq!(started.metrics.table_from_cache.get(), 0);
    }
}

#[tokio::test]
async fn a_storm_of_changes_with_broken_ones_between_keeps_the_last_good() {
    let folder = Folder::new("storm");
    let cluster = full_cluster();
    let started = Started::new(&cluster, &folder.0);
    started.sees(&["m"], &["10.0.0.1:8000"]).await;
    let broken = started.metrics.broken_objects.with_label_values(&["RoutePolicy"]);
    for round in 0..60 {
        let model = format!("m{round}");
        cluster.tell("routepolicies", "MODIFIED", &policy(&format!("{round}0"), &json!([model]))).await;
        if round % 2 == 0 {
            cluster.tell("routepolicies", "MODIFIED", &policy(&format!("{round}5"), &json!({"not": "a list"}))).await;
        }
        if round % 10 == 0 {
            // Neither skipped nor overtaken by what cannot be read.
            started.sees(&[&model], &["10.0.0.1:8000"]).await;
            until("it is told", || broken.get() == 1).await;
        }
    }
    started.sees(&["m59"], &["10.0.0.1:8000"]).await;
    assert_eq!(broken.get(), 0);
}

#[tokio::test]
async fn keys_are_read_where_a_policy_asks_for_them() {
    let cluster = full_cluster();
    let folder = Folder::new("keys");
    let router = Started::new(&cluster, &folder.0);
    router.sees(&["m"], &["10.0.0.1:8000"]).await;
    let access = || router.live.load().table.policies()[0].access.clone();
    assert_eq!(access(), router_core::Access::default(), "a policy that says nothing asks for a key");
    until("there are none", || router.live.load().callers.knows("ml")).await;
    let line = format!("v1:{}:{}", "00".repeat(16), "11".repeat(32));
    let entries = json!({"a": k8s_openapi::ByteString(line.clone().into_bytes())});
    cluster.give("secrets", vec![json!({"metadata": {"name": "quartermaster-api-keys"}, "data": entries})]);
    let mut closed = policy("2", &json!(["m"]));
    closed["spec"]["access"] = json!({"allow": ["a"]});
    cluster.tell("routepolicies", "MODIFIED", &closed).await;
    let mut wanted = Keys::default();
    wanted.set("ml", [("a".to_owned(), router_core::KeptKey::parse(&line).unwrap())]);
    until("the keys are read", || *router.live.load().callers == wanted).await;
    assert_eq!(access(), router_core::Access { allow: vec!["a".to_owned()], ..router_core::Access::default() });
    let file = folder.0.join("table.json");
    until("the table is kept", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("allow"))).await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("1111"), "keys are not kept on the volume");
}

/// A policy that names a provider, from its object to a key that requests are sent with; then another key, and none.
#[tokio::test]
async fn keys_are_read_by_name_and_followed() {
    let cluster = full_cluster();
    let spec = json!({"models": ["m"], "timeouts": {"firstToken": "7s"}, "fallbackOn": ["Cold"], "targets": [
        {"name": "gpt", "provider": {
            "kind": "OpenAI", "model": "gpt-4o-mini", "credentialsSecretRef": {"name": "openai", "key": "api-key"},
        }},
        {"name": "theirs", "service": {"name": "other", "port": 8000}},
    ]});
    let policy = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": metadata("r", "1"), "spec": spec,
    });
    cluster.give("routepolicies", vec![policy]);
    let secret = |key: &str| json!({"metadata": {"name": "openai", "namespace": "ml"}, "data": {"api-key": key}});
    cluster.give("secrets", vec![secret("c2stMQ==")]);
    let folder = Folder::new("provider-keys");
    let router = Started::new(&cluster, &folder.0);
    let choice = |target: usize| router_core::Choice { policy: 0, target, pool: None };
    let sends = |word: &str| {
        let live = router.live.load();
        let key = live.keys.first().map(|_| live.key(choice(0)).map(|key| key?.key()?.header("")));
        matches!(key, Some(Ok(Some(header))) if header.as_bytes() == word.as_bytes())
    };
    until("the key is there", || sends("sk-1")).await;
    until("it is ready", || router.ready.get()).await;
    let live = router.live.load();
    let policy = &live.table.policies()[0];
    let (gpt, theirs) = (policy.targets[0].remote().unwrap(), policy.targets[1].remote().unwrap());
    assert_eq!(
        (gpt.input.authority.as_str(), gpt.input.path.as_str(), gpt.input.secure),
        ("api.openai.com", "/v1", true)
    );
    assert_eq!((theirs.input.authority.as_str(), theirs.input.secure), ("other.ml.svc:8000", false));
    assert!(live.key(choice(1)).unwrap().is_none());
    assert_eq!(policy.resilience.first_token, Some(Duration::from_secs(7)));
    assert_eq!(policy.resilience.fallback_on, [router_core::Reason::Cold]);
    let file = folder.0.join("table.json");
    until("the table is kept", || file.exists()).await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("sk-1"));

    cluster.give("secrets", vec![secret("c2stMg==")]);
    until("the new key is in use", || sends("sk-2")).await;
    cluster.give("secrets", vec![]);
    let gone = || router.live.load().key(choice(0)).is_err();
    until("a key that is gone is not used", gone).await;
}
