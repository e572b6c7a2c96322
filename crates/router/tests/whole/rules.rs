//! Rules: which target a request gets, and what the client is told of it.

use prometheus::TextEncoder;
use router::live::{Live, Shared};
use router::metrics::Metrics;
use router::settings::Settings;
use router::volume::Volumes;
use router::workers::Workers;
use router_core::{EndpointInput, Moment, PoolInput, Table};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::bed::{Engine, Wire, calm, header, plain, post, soon, status};

/// Pools `a`, `b` and `c`, whose engines answer with their names, and this policy for the model `m`. `c` has no replica.
pub(crate) struct Bed {
    workers: Option<Workers>,
    _live: Shared,
    pub(crate) metrics: Metrics,
    _engines: Vec<Engine>,
}

impl Bed {
    async fn new(spec: &Value, settings: &Settings) -> Self {
        let (a, b) = (Engine::answering(plain("\"a\"")).await, Engine::answering(plain("\"b\"")).await);
        Self::with(spec, settings, vec![("a", a), ("b", b)], &Volumes::default())
    }

    /// With these engines in the pools of these names.
    pub(crate) fn with(spec: &Value, settings: &Settings, engines: Vec<(&str, Engine)>, volumes: &Volumes) -> Self {
        let policy = json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "route", "namespace": "ml"}, "spec": spec,
        });
        let policy = router_core::read::policy(&serde_json::from_value(policy).unwrap());
        policy.check().unwrap();
        let endpoint = |(pool, engine): &(&str, Engine)| EndpointInput {
            namespace: "ml".to_owned(),
            pool: (*pool).to_owned(),
            address: engine.address,
            ready: true,
        };
        let endpoints = engines.iter().map(endpoint).collect();
        let pool =
            |name: &str| PoolInput { namespace: "ml".to_owned(), name: name.to_owned(), served_model: "m".to_owned() };
        let pools = ["a", "b", "c"].map(pool).to_vec();
        let metrics = Metrics::new().unwrap();
        let table = Table::build(vec![policy], pools, endpoints, &Table::default(), Moment(0));
        let live = Live::new(table, &metrics).counting(volumes).shared();
        metrics.observe(&live).unwrap();
        let patience = std::time::Duration::from_secs(20);
        let workers = Workers::start("127.0.0.1:0".parse().unwrap(), 1, settings, &live, &metrics, patience).unwrap();
        let engines = engines.into_iter().map(|(_, engine)| engine).collect();
        Self { workers: Some(workers), _live: live, metrics, _engines: engines }
    }

    pub(crate) async fn ask(&self, headers: &str, body: &str) -> (String, String) {
        let mut client = Wire::new(soon(TcpStream::connect(self.address())).await.unwrap());
        client.send(post("/v1/chat/completions", headers, body)).await;
        client.message().await
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.workers.as_ref().unwrap().address()
    }

    /// Ends the router, which writes its last lines by that.
    pub(crate) async fn ended(mut self) {
        let workers = self.workers.take().unwrap();
        workers.close();
        tokio::task::spawn_blocking(move || workers.join()).await.unwrap();
    }

    /// The line of this metric, without the router's prefix, if it was counted.
    pub(crate) fn metric(&self, start: &str) -> Option<String> {
        let text = TextEncoder::new().encode_to_string(&self.metrics.registry.gather()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("quartermaster_router_")?.strip_prefix(start));
        line.map(|rest| rest.trim().to_owned())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(workers) = &self.workers {
            workers.close();
        }
    }
}

pub(crate) fn spec(rules: &Value) -> Value {
    let target = |name: &str| json!({"name": name, "pool": {"name": name}});
    json!({"models": ["m"], "targets": [target("a"), target("b"), target("c")], "rules": rules,
           "access": {"anonymous": true}})
}

pub(crate) fn ask(text: &str) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string()
}

#[tokio::test]
async fn the_first_rule_that_holds_chooses_the_target() {
    let rules = json!([
        {"name": "batch", "when": "request.headers['x-batch'] == 'true'", "use": {"ordered": ["b"]}},
        {"name": "hard", "when": "request.complexity == 'complex'", "use": {"ordered": ["c", "b", "a"]}},
        {"name": "eu", "when": "request.region == 'eu' && size(request.tools) > 0", "use": {"cheapest": ["b"]}},
        {"name": "none", "when": "request.hour > 23", "use": {"ordered": ["b"]}},
    ]);
    let settings = Settings { region: "eu".to_owned(), ..calm() };
    let bed = Bed::new(&spec(&rules), &settings).await;
    let tools = json!({"model": "m", "messages": [], "tools": [{"name": "x"}]}).to_string();
    let hard = ask("Design a distributed lock service and prove that it is correct under partitions.");
    let cases = [
        // The headers, the body; who answers, by which rule, how hard it is, if that was asked.
        ("x-batch: true\r\n", ask("hi"), "a batch that goes to b", "b", Some("batch"), None),
        ("", ask("hi"), "no rule holds, so it goes to the first", "a", None, Some("trivial; score=-2")),
        (
            "",
            hard,
            "the first target has no replica, so the second answers",
            "b",
            Some("hard"),
            Some("complex; score="),
        ),
        ("", tools, "with tools", "b", Some("eu"), Some("")),
    ];
    for (headers, body, what, target, rule, complexity) in cases {
        let (head, answer) = bed.ask(headers, &body).await;
        assert_eq!((status(&head), answer), (200, format!("\"{target}\"")), "{what}: {head}");
        assert_eq!(header(&head, "x-quartermaster-target"), Some(target), "{what}: {head}");
        assert_eq!(header(&head, "x-quartermaster-rule"), rule, "{what}: {head}");
        let told = header(&head, "x-quartermaster-complexity");
        assert_eq!(told.is_some(), complexity.is_some(), "{what}: {head}");
        assert!(told.unwrap_or_default().starts_with(complexity.unwrap_or_default()), "{what}: {head}");
    }
}

#[tokio::test]
async fn a_rule_s_targets_are_the_only_ones() {
    let rules = json!([{"name": "only-c", "use": {"ordered": ["c"]}}]);
    let bed = Bed::new(&spec(&rules), &calm()).await;
    let (head, answer) = bed.ask("", &ask("hi")).await;
    assert_eq!(status(&head), 503, "{answer}");
    assert!(answer.contains("ml/c") && !answer.contains("ml/a"), "{answer}");
    assert_eq!(header(&head, "x-quartermaster-rule"), Some("only-c"));
}

#[tokio::test]
async fn a_policy_without_rules_says_nothing_of_them() {
    let bed = Bed::new(&spec(&json!([])), &calm()).await;
    let (head, answer) = bed.ask("", &ask("hi")).await;
    assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
    assert!(!head.contains("x-quartermaster-"), "{head}");
}

#[tokio::test]
async fn sessions_stay_where_their_share_put_them() {
    let rules =
        json!([{"name": "test", "use": {"weighted": [{"target": "a", "weight": 1}, {"target": "b", "weight": 1}]}}]);
    let bed = Bed::new(&spec(&rules), &calm()).await;
    let mut seen = [0, 0];
    for session in 0..24 {
        let body = json!({"model": "m", "user": format!("user-{session}"), "messages": []}).to_string();
        let first = bed.ask("", &body).await.1;
        assert_eq!(first, bed.ask("", &body).await.1, "session {session}");
        seen[usize::from(first == "\"b\"")] += 1;
    }
    assert!(seen.iter().all(|sessions| *sessions > 0), "{seen:?}");
}

#[tokio::test]
async fn a_request_names_its_target_where_the_policy_lets_it() {
    let rules = json!([{"name": "all", "use": {"ordered": ["a"]}}]);
    let mut allowed = spec(&rules);
    allowed["allowTargetHeader"] = json!(true);
    let bed = Bed::new(&allowed, &calm()).await;
    let (head, answer) = bed.ask("x-quartermaster-target: b\r\n", &ask("hi")).await;
    assert_eq!((status(&head), answer.as_str(), header(&head, "x-quartermaster-rule")), (200, "\"b\"", None));
    assert_eq!(header(&head, "x-quartermaster-target"), Some("b"));
    let (head, answer) = bed.ask("x-quartermaster-target: d\r\n", &ask("hi")).await;
    assert_eq!(status(&head), 400);
    assert!(answer.contains("one of the policy's targets: a, b, c") && answer.contains("wrong_target"), "{answer}");

    let bed = Bed::new(&spec(&rules), &calm()).await;
    let (head, answer) = bed.ask("x-quartermaster-target: b\r\n", &ask("hi")).await;
    assert_eq!(status(&head), 400);
    assert!(answer.contains("allowTargetHeader"), "{answer}");
}
