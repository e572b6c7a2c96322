//! Reconciles against an API server that is played: it records every write, and answers by a rule.

use super::*;
use crate::backoff::Backoff;
use crate::error::Class;
use crate::metrics::Metrics;
use crate::overlay::Overlay;
use crate::scrape::Loads;
use crate::watch::{Heard, Stores};
use api::InferencePoolStatus;
use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{reflector, watcher};
use operator_core::metrics_api::MetricsApi;
use operator_core::pool::Site;
use prometheus::Registry;
use serde_json::{Value, json};
use std::sync::Mutex;

/// How the played server answers a write to this path, in place of carrying it out.
type Refusal = fn(path: &str) -> Option<(u16, Value)>;

/// The played server, and the writers of the stores that its watches would fill.
struct World {
    ctx: Arc<Context>,
    /// What the watch tells of just before the server answers the write of a Deployment.
    echo: Arc<Mutex<Option<Deployment>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Generation of the pool that the server has, if it has one.
    generation: Arc<Mutex<Option<i64>>>,
    /// Bodies of the writes to the pool's status.
    statuses: Arc<Mutex<Vec<InferencePoolStatus>>>,
    _others: Box<dyn std::any::Any>,
}

impl World {
    /// A server that finds `there` when it is asked for an object by name.
    fn new(there: Option<Value>, refuse: Refusal) -> Self {
        let (asked, statuses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (heard, told) = (Arc::clone(&asked), Arc::clone(&statuses));
        let (deployments, deployment_writer) = reflector::store();
        let (echo, writer) = (Arc::new(Mutex::new(None::<Deployment>)), Arc::new(Mutex::new(deployment_writer)));
        let (echoed, generation) = (Arc::clone(&echo), Arc::new(Mutex::new(Some(1))));
        let current = Arc::clone(&generation);
        let server = tower::service_fn(move |request: Request<Body>| {
            let (heard, told, there) = (Arc::clone(&heard), Arc::clone(&told), there.clone());
            let (echoed, writer, current) = (Arc::clone(&echoed), Arc::clone(&writer), Arc::clone(&current));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let path = head.uri.path().rsplit("/namespaces/").next().unwrap_or_default().to_owned();
                if head.method == Method::GET && path.ends_with("/inferencepools") {
                    let metadata = |generation| ObjectMeta { generation: Some(generation), ..pool(1).metadata };
                    let there = current.lock().unwrap().map(|it| json!({"metadata": metadata(it)}));
                    return Ok::<_, tower::BoxError>(answer(200, &json!({"metadata": {}, "items": there.as_slice()})));
                }
                if head.method == Method::GET {
                    return Ok::<_, tower::BoxError>(answer(200, &json!({"metadata": {}, "items": there.as_slice()})));
                }
                heard.lock().unwrap().push(format!("{} {path}?{}", head.method, head.uri.query().unwrap_or_default()));
                if path.ends_with("/status") {
                    let mut status = body["status"].clone();
                    // What a merge patch takes away.
                    status.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                    told.lock().unwrap().push(serde_json::from_value(status).unwrap());
                    return Ok(answer(200, &serde_json::to_value(pool(1)).unwrap()));
                }
                if let Some(echo) = echoed.lock().unwrap().take_if(|_| path.contains("deployments")) {
                    writer.lock().unwrap().apply_watcher_event(&watcher::Event::Apply(echo));
                }
                Ok(match refuse(&path) {
                    Some((code, reason)) => answer(code, &reason),
                    None => answer(200, &stored(body)),
                })
            }
        });
        let client = kube::Client::new(server, "default");
        let (services, s) = reflector::store();
        let (service_accounts, sa) = reflector::store();
        let (network_policies, n) = reflector::store();
        let (disruption_budgets, d) = reflector::store();
        let (autoscalers, a) = reflector::store();
        let (pods, p) = reflector::store();
        let (pools, q) = reflector::store();
        let (policies, r) = reflector::store();
        let (synced, known) = tokio::sync::watch::channel(true);
        let ctx = Arc::new(Context {
            events: Recorder::new(client.clone(), Reporter { controller: "test".to_owned(), instance: None }),
            client,
            site: Site::default(),
            started: Instant::now(),
            clock: || Time(Timestamp::UNIX_EPOCH),
            stores: Stores {
                service_accounts,
                network_policies,
                services,
                deployments,
                disruption_budgets,
                autoscalers,
                pods,
                pools,
                policies,
                namespaces: None,
                heard: Heard::default(),
            },
            known,
            loads: Arc::new(Loads::default()),
            metrics_api: tokio::sync::watch::channel(MetricsApi::Ours).1,
            metrics: Metrics::new(&Registry::new()).unwrap(),
            backoff: Backoff::default(),
            written: Overlay::default(),
            reported: Overlay::default(),
            last_report: Mutex::default(),
        });
        Self { ctx, echo, asked, generation, statuses, _others: Box::new((sa, n, d, s, a, p, q, r, synced)) }
    }

    /// Reconciles, and returns what was written: `PATCH ml/deployments/llama?force…`.
    async fn reconcile(&self, pool: &InferencePool) -> (Result<Action, Error>, Vec<String>) {
        let done = reconcile(Arc::new(DeserializeGuard(Ok(pool.clone()))), Arc::clone(&self.ctx)).await;
        (done, std::mem::take(&mut *self.asked.lock().unwrap()))
    }

    /// Conditions of the status written last: `Ready=False:Reason`.
    fn conditions(&self) -> Vec<String> {
        let statuses = self.statuses.lock().unwrap();
        let conditions = statuses.last().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().map(|c| format!("{}={}:{}", c.type_, c.status, c.reason)).collect()
    }
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// An applied object as the server returns it.
fn stored(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("live");
    object["metadata"]["resourceVersion"] = json!("7");
    object["metadata"]["generation"] = json!(1);
    object
}

fn refusal(code: u16, reason: &str, cause: &str) -> (u16, Value) {
    let details = json!({"causes": [{"reason": cause, "message": "m", "field": ".spec.replicas"}]});
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no",
        "details": details,
    });
    (code, body)
}

fn pool(replicas: i32) -> InferencePool {
    serde_json::from_value(json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "ml", "uid": "u", "resourceVersion": "3", "generation": 1},
        "spec": {
            "model": {"source": "hf://org/name"}, "engine": {"image": "engine:v1"}, "replicas": replicas,
            "scaling": {"maxReplicas": 3, "target": {"inFlightPerReplica": 8}},
        },
    }))
    .unwrap()
}

const BY: &str = "&fieldManager=quartermaster-operator";

#[tokio::test]
async fn makes_what_is_missing_once_and_forces_nothing() {
    let world = World::new(None, |_| None);
    let (done, writes) = world.reconcile(&pool(1)).await;
    assert!(done.is_ok(), "{done:?}");
    let want = [
        "ml/serviceaccounts/llama-engine",
        "ml/networkpolicies/llama-engine",
        "ml/services/llama-engine",
        "ml/deployments/llama",
        "ml/poddisruptionbudgets/llama-engine",
        "ml/horizontalpodautoscalers/llama",
    ];
    let mut want: Vec<String> = want.iter().map(|path| format!("PATCH {path}?{BY}")).collect();
    want.push(format!("PATCH ml/inferencepools/llama/status?{BY}"));
    assert_eq!(writes, want);

    // No watch has told of any of it yet; what is still owed is that the Deployment now exists, in the status.
    let (done, writes) = world.reconcile(&pool(1)).await;
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(writes, [format!("PATCH ml/inferencepools/llama/status?{BY}")]);
    let (_, writes) = world.reconcile(&pool(1)).await;
    assert_eq!(writes, [""; 0]);
}

/// The watches of its children may tell that they are gone before the pool's own watch tells that it is; and after a
/// restart the first list may be of the past.
#[tokio::test]
async fn writes_nothing_for_a_pool_that_is_not_as_the_watch_told() {
    let check = async |there: Option<i64>| {
        let world = World::new(None, |_| None);
        *world.generation.lock().unwrap() = there;
        let (done, writes) = world.reconcile(&pool(1)).await;
        assert_eq!((done.unwrap_err().class(), writes), (Class::Conflict, vec![]), "{there:?}");
    };
    check(None).await;
    check(Some(2)).await;
}

#[tokio::test]
async fn believes_the_watch_as_soon_as_it_moves() {
    let world = World::new(None, |_| None);
    let made = stored(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "llama", "namespace": "ml", "ownerReferences": [
            {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "name": "llama", "uid": "u", "controller": true},
        ]},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
    }));
    let mut made: Deployment = serde_json::from_value(made).unwrap();
    made.metadata.resource_version = Some("9".to_owned());
    // The watch is faster than the answer, and the Deployment's own controller was faster than the watch.
    *world.echo.lock().unwrap() = Some(made);
    world.reconcile(&pool(1)).await.0.unwrap();
    let (_, writes) = world.reconcile(&pool(1)).await;
    // What the watch told of is less than what is wanted, so the rest is applied; what the answer held would do.
    assert!(writes.contains(&format!("PATCH ml/deployments/llama?{BY}")), "{writes:?}");
}

/// Deleted and made anew under its name before the watch told of what was written for the first.
#[tokio::test]
async fn a_namesake_does_not_inherit_what_was_written() {
    let world = World::new(None, |_| None);
    world.reconcile(&pool(1)).await.0.unwrap();
    assert!(!observe(&world.ctx, &pool(1)).children.is_empty());
    let mut namesake = pool(1);
    namesake.metadata.uid = Some("v".to_owned());
    assert_eq!(observe(&world.ctx, &namesake).children, []);
}

async fn check(there: Option<Value>, refuse: Refusal, class: Option<Class>, writes: &[&str], condition: &str) {
    let world = World::new(there, refuse);
    let (done, asked) = world.reconcile(&pool(1)).await;
    assert_eq!(done.as_ref().err().map(Error::class), class, "{done:?}");
    let asked: Vec<&str> = asked.iter().filter_map(|write| write.split(['?', ' ']).nth(1)).collect();
    assert_eq!(asked, writes);
    assert!(condition.is_empty() || world.conditions().iter().any(|c| c == condition), "{:?}", world.conditions());
}

#[tokio::test]
async fn says_what_stands_in_the_way() {
    const ACCOUNT: &str = "ml/serviceaccounts/llama-engine";
    const STATUS: &str = "ml/inferencepools/llama/status";
    const EVENTS: &str = "ml/events";
    let theirs = json!({"metadata": {"name": "llama-engine", "namespace": "ml", "uid": "theirs"}});
    check(Some(theirs), |_| None, Some(Class::Waiting), &[STATUS, EVENTS], "Stalled=True:Blocked").await;
    let forbidden: Refusal = |path| path.contains("serviceaccounts").then(|| refusal(403, "Forbidden", ""));
    check(None, forbidden, Some(Class::Bug), &[ACCOUNT, STATUS, EVENTS], "Stalled=True:Refused").await;
    let foreign: Refusal =
        |path| path.contains("serviceaccounts").then(|| refusal(409, "Conflict", "FieldManagerConflict"));
    check(None, foreign, Some(Class::Conflict), &[ACCOUNT, STATUS, EVENTS], "Stalled=True:Blocked").await;
    // What passes by itself is not for people: nothing is said until it is done.
    let busy: Refusal = |path| path.contains("serviceaccounts").then(|| refusal(503, "ServiceUnavailable", ""));
    check(None, busy, Some(Class::Transient), &[ACCOUNT], "").await;
}

#[tokio::test]
async fn says_what_fails_again_and_again() {
    let full: Refusal = |path| path.contains("services/").then(|| refusal(500, "InternalError", ""));
    let world = World::new(None, full);
    for (time, told) in [(1, false), (2, false), (3, true), (4, true)] {
        let error = world.reconcile(&pool(1)).await.0.unwrap_err();
        assert_eq!(error.class(), Class::Transient);
        error_policy(Arc::new(DeserializeGuard(Ok(pool(1)))), &error, Arc::clone(&world.ctx));
        let says = world.conditions();
        let retrying = ["Reconciling=True:Retrying".to_owned(), "Ready=False:Retrying".to_owned()];
        assert_eq!(retrying.iter().all(|one| says.contains(one)), told, "time {time}: {says:?}");
    }
}

#[tokio::test]
async fn a_mistake_in_the_spec_is_told_and_nothing_is_made() {
    let world = World::new(None, |_| None);
    let mut wrong = pool(1);
    wrong.spec.engine.image = Some("engine".to_owned());
    let (done, writes) = world.reconcile(&wrong).await;
    assert_eq!(done.unwrap_err().class(), Class::Invalid);
    assert!(
        writes[0].starts_with("PATCH ml/inferencepools/llama/status")
            && !writes.iter().any(|w| w.contains("deployments"))
    );
    assert!(world.conditions().contains(&"Stalled=True:InvalidSpec".to_owned()));
}

#[tokio::test]
async fn a_pool_on_its_way_out_is_left_alone() {
    let world = World::new(None, |_| None);
    let mut leaving = pool(1);
    leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let (done, writes) = world.reconcile(&leaving).await;
    assert_eq!((done.unwrap(), writes), (Action::await_change(), vec![]));
}
