//! Every state that a pool and a policy can be in, as the API server would have the object, and what tools for deployment
//! must say of it.
//!
//! The objects are files that the tests of `tests/gitops` feed to the libraries of Flux and Argo CD. After a wanted change,
//! `UPDATE_GOLDEN=1 cargo test -p operator-core verdicts` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use api::{RoutePolicy, RoutePolicyStatus};
use serde_json::Value;

use super::*;
use crate::route::{Access, SecretState, taken};
use crate::unreadable::{Written, conditions, fault};

/// What a tool must say. In the words of kstatus, which Flux uses, and of Argo CD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// `Current`; `Healthy`.
    Fine,
    /// `InProgress`; `Progressing`.
    Wait,
    /// `Failed`; `Degraded`.
    Broken,
    /// `Terminating`; `Progressing`.
    Leaving,
}

use Verdict::{Broken, Fine, Leaving, Wait};

impl Verdict {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Fine => ("Current", "Healthy"),
            Wait => ("InProgress", "Progressing"),
            Broken => ("Failed", "Degraded"),
            Leaving => ("Terminating", "Progressing"),
        }
    }
}

/// An object in a state that has a name.
struct State {
    name: &'static str,
    verdict: Verdict,
    object: Value,
}

fn status_of(seen: &Observed, desired: i32) -> InferencePoolStatus {
    plan(&now(), &Site::default(), seen, &validate(&pool(desired)).unwrap()).status
}

/// The status of a pool of two, of whose `ready` replicas and others these pods tell; rolling out when some are old.
fn told_by(pods: &[&str], ready: i32) -> InferencePoolStatus {
    let old = i32::try_from(pods.iter().filter(|pod| pod.starts_with("old ")).count()).unwrap();
    let all = i32::try_from(pods.len()).unwrap();
    let seen = with_pods(world(2, all, all - old, ready), pods);
    plan(&later(), &Site::default(), &seen, &validate(&pool(2)).unwrap()).status
}

/// As it is stored with a `field` of its spec that has no meaning, and as the operator marks it.
fn unreadable<K: Written>(mut object: Value, field: &str) -> Value {
    object["spec"][field] = json!(7);
    let fault = fault::<K>(&object).unwrap();
    let conditions = conditions::<K>(&now(), &object, &fault);
    object["status"] = json!({"observedGeneration": object["metadata"]["generation"], "conditions": conditions});
    object
}

fn refused_status() -> InferencePoolStatus {
    let fault = Invalid { path: "spec.model.source".to_owned(), problem: "must be hf://organisation/name".to_owned() };
    refused(&now(), &world(2, 2, 2, 2), &pool(2), &[fault])
}

fn with_status(mut object: Value, status: &impl serde::Serialize) -> Value {
    object["status"] = serde_json::to_value(status).unwrap();
    object
}

/// As the API server shows an object that nobody has looked at: with the default of the CRD for its status.
fn untouched(mut object: Value) -> Value {
    let kind = object["kind"].clone();
    let crd = api::all_crds().into_iter().find(|crd| kind == crd.spec.names.kind.as_str()).unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let status = &schema.properties.unwrap()["status"];
    object["status"] = status.default.clone().map_or(Value::Null, |default| default.0);
    object
}

fn changed_since(mut object: Value) -> Value {
    let generation = object["metadata"]["generation"].as_i64().unwrap();
    object["metadata"]["generation"] = json!(generation + 1);
    object
}

fn leaving(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    object
}

fn pools() -> Vec<State> {
    let object = |desired: i32| serde_json::to_value(pool(desired)).unwrap();
    let state = |name, verdict, desired: i32, status: InferencePoolStatus| State {
        name,
        verdict,
        object: with_status(object(desired), &status),
    };
    let seen = |name, verdict, desired: i32, seen: &Observed| state(name, verdict, desired, status_of(seen, desired));
    let late = with_condition(world(2, 3, 1, 2), "Progressing", "False", "ProgressDeadlineExceeded");
    let quota = with_condition(world(2, 1, 1, 1), "ReplicaFailure", "True", "FailedCreate");
    let settled = status_of(&world(2, 2, 2, 2), 2);
    let after =
        |before: &InferencePoolStatus, then: Observed| status_of(&Observed { status: before.clone(), ..then }, 2);
    let told = |reason| stalled(&now(), settled.clone(), reason, "the cause".to_owned());
    vec![
        State { name: "pool-untouched", verdict: Wait, object: untouched(object(2)) },
        seen("pool-new", Wait, 2, &Observed::default()),
        seen("pool-new-at-zero", Wait, 0, &Observed::default()),
        seen("pool-starting", Wait, 2, &world(2, 2, 2, 0)),
        seen("pool-half-started", Wait, 2, &world(2, 2, 2, 1)),
        seen("pool-ready", Fine, 2, &world(2, 2, 2, 2)),
        seen("pool-ready-busy", Fine, 2, &Observed { in_flight: Some(7), ..world(2, 2, 2, 2) }),
        seen("pool-at-rest-at-zero", Fine, 0, &world(0, 0, 0, 0)),
        seen("pool-told-to-grow", Wait, 3, &world(1, 1, 1, 1)),
        seen("pool-growing", Wait, 3, &world(3, 3, 3, 1)),
        seen("pool-told-to-shrink", Wait, 1, &world(3, 3, 3, 3)),
        seen("pool-shrinking", Wait, 1, &world(1, 3, 3, 3)),
        seen("pool-going-to-zero", Wait, 0, &world(0, 1, 1, 1)),
        seen("pool-rolling-out", Wait, 2, &world(2, 3, 1, 2)),
        seen("pool-rolled-out-but-for-an-old-pod", Wait, 2, &world(2, 3, 2, 3)),
        state("pool-lost-a-replica", Wait, 2, after(&settled, world(2, 2, 2, 1))),
        state("pool-refused-spec", Broken, 2, refused_status()),
        seen("pool-rollout-late", Broken, 2, &late),
        seen("pool-over-quota", Broken, 2, &quota),
        state("pool-loading", Wait, 2, told_by(&["ready", "loading"], 1)),
        state("pool-crash-looping", Broken, 2, told_by(&["ready", "crash"], 1)),
        state("pool-without-its-image", Broken, 2, told_by(&["pull", "pull"], 0)),
        state("pool-without-a-secret", Broken, 2, told_by(&["missing-secret", "missing-secret"], 0)),
        state("pool-without-a-node", Wait, 2, told_by(&["ready", "no-such-node"], 1)),
        state("pool-on-a-lost-node", Wait, 2, told_by(&["ready", "lost"], 1)),
        state("pool-rollout-crash-looping", Broken, 2, told_by(&["old ready", "old ready", "crash"], 2)),
        state("pool-rollout-cures-a-crash-loop", Wait, 2, told_by(&["old crash", "old ready", "loading"], 1)),
        state("pool-replacing-one-by-one", Wait, 2, told_by(&["old ready", "old ready", "full-node"], 2)),
        State { name: "pool-unreadable", verdict: Broken, object: unreadable::<InferencePool>(object(2), "model") },
        state("pool-blocked", Broken, 2, told(reason::BLOCKED)),
        state("pool-forbidden", Broken, 2, told(reason::REFUSED)),
        state("pool-recovering", Wait, 2, after(&status_of(&late, 2), world(2, 3, 2, 2))),
        state("pool-recovered", Fine, 2, after(&status_of(&late, 2), world(2, 2, 2, 2))),
        State {
            name: "pool-ready-then-changed",
            verdict: Wait,
            object: changed_since(with_status(object(2), &settled)),
        },
        State {
            name: "pool-refused-then-corrected",
            verdict: Wait,
            object: changed_since(with_status(object(2), &refused_status())),
        },
        State { name: "pool-ready-then-deleted", verdict: Leaving, object: leaving(with_status(object(2), &settled)) },
        State {
            name: "pool-refused-then-deleted",
            verdict: Leaving,
            object: leaving(with_status(object(2), &refused_status())),
        },
    ]
}

fn policies() -> Vec<State> {
    let to = |model: &str, pool: &str| {
        json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "chat", "namespace": "ml", "uid": "u", "generation": 3},
            "spec": {"models": [model], "targets": [{"name": "local", "pool": {"name": pool}}]},
        })
    };
    let looked = |object: Value| {
        let policy: RoutePolicy = serde_json::from_value(object.clone()).unwrap();
        let mut before: RoutePolicy = serde_json::from_value(to("taken", "llama")).unwrap();
        before.metadata.name = Some("before".to_owned());
        let status: RoutePolicyStatus = crate::route::status(
            &now(),
            &policy,
            &taken(&policy, [&before]),
            |_, name| match name {
                "llama" => Access::Granted,
                "theirs" => Access::Refused,
                _ => Access::Missing,
            },
            |_| SecretState::Missing,
        );
        with_status(object, &status)
    };
    let found = looked(to("chat", "llama"));
    vec![
        State { name: "policy-untouched", verdict: Wait, object: untouched(to("chat", "llama")) },
        State { name: "policy-in-effect", verdict: Fine, object: found.clone() },
        State { name: "policy-without-its-pool", verdict: Wait, object: looked(to("chat", "qwen")) },
        State { name: "policy-not-admitted-by-its-pool", verdict: Wait, object: looked(to("chat", "theirs")) },
        State { name: "policy-refused", verdict: Broken, object: looked(to("a*b", "llama")) },
        State { name: "policy-without-its-name", verdict: Broken, object: looked(to("taken", "llama")) },
        State {
            name: "policy-unreadable",
            verdict: Broken,
            object: unreadable::<RoutePolicy>(to("chat", "llama"), "models"),
        },
        State { name: "policy-changed", verdict: Wait, object: changed_since(found.clone()) },
        State { name: "policy-deleted", verdict: Leaving, object: leaving(found) },
    ]
}

/// Whether the conditions keep to the promise of kstatus: `Ready`, or else exactly one of `Reconciling` and `Stalled`, all of
/// them about the same generation.
fn keeps_the_promise(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().unwrap();
    let is = |type_: &str| conditions.iter().any(|c| c["type"] == type_ && c["status"] == "True");
    let dated = conditions.iter().all(|c| c["observedGeneration"] == status["observedGeneration"]);
    dated && [is(READY), is(RECONCILING), is(STALLED)].into_iter().filter(|is| *is).count() == 1
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/verdicts")
}

fn written() -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder()) else { return BTreeMap::new() };
    let file = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn the_files_for_the_tools_show_todays_statuses() {
    let mut made = BTreeMap::new();
    for State { name, verdict, object } in pools().into_iter().chain(policies()) {
        assert!(name.ends_with("untouched") || keeps_the_promise(&object["status"]), "{name}: {}", object["status"]);
        let (kstatus, argo) = verdict.words();
        let case = json!({"kstatus": kstatus, "argo": argo, "object": object});
        let text = serde_json::to_string_pretty(&case).unwrap() + "\n";
        assert!(made.insert(format!("{name}.json"), text).is_none(), "{name} is there twice");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        if folder().exists() {
            fs::remove_dir_all(folder()).unwrap();
        }
        fs::create_dir_all(folder()).unwrap();
        for (name, text) in &made {
            fs::write(folder().join(name), text).unwrap();
        }
    }
    let there = written();
    let stale: BTreeSet<&String> =
        made.keys().chain(there.keys()).filter(|name| made.get(*name) != there.get(*name)).collect();
    assert!(stale.is_empty(), "stale, UPDATE_GOLDEN=1 rewrites them: {stale:?}");
}
