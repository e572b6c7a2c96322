//! New values, new charts and the way back reach operator, router and kinds, and no request notices.

use e2e::{Chat, Namespace, PATIENCE, SYSTEM, kubectl, must_helm, routed, skip, under_load, unscaled, wait_for};
use serde_json::Value;

/// Clients that stream while the release changes.
const CLIENTS: usize = 8;

/// UID and restarts of each engine of a pool, without those that are leaving.
fn engines(ns: &Namespace, pool: &str) -> Vec<String> {
    let pods = ns.get(&format!("pods --selector quartermaster.dev/pool={pool}")).unwrap();
    let one = |pod: &Value| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        format!("{} restarts={restarts:?}", pod["metadata"]["uid"])
    };
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods["items"].as_array().unwrap().iter().filter(stays).map(one).collect()
}

fn revision() -> u64 {
    let status = must_helm(&format!("status quartermaster --namespace {SYSTEM} --output json"));
    serde_json::from_str::<Value>(&status).unwrap()["version"].as_u64().unwrap()
}

#[test]
fn an_upgrade_and_a_rollback_lose_no_request_and_restart_no_engine() {
    if !routed() {
        return skip("streams across an upgrade: a port-forward holds on to one router");
    }
    let ns = Namespace::new("upgrade");
    ns.pool("steady", "upgrade-model", unscaled);
    ns.wait_replicas("steady", 1);
    ns.kubectl("scale inferencepools.quartermaster.dev/steady --replicas=2");
    ns.wait_replicas("steady", 2);
    let (before, began) = (engines(&ns, "steady"), revision());
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream("upgrade-model", 2).map(|_| ()));

    let drain =
        "get deployment/quartermaster-router --output jsonpath={.spec.template.spec.terminationGracePeriodSeconds}";
    let grace = || kubectl(&format!("{drain} --namespace {SYSTEM}"));
    under_load(&chat, "upgrade-model", CLIENTS, || {
        must_helm(&format!("upgrade quartermaster-crds charts/quartermaster-crds --namespace {SYSTEM}"));
        let values =
            "--reset-then-reuse-values --set router.drain.timeoutSeconds=61 --set-string podAnnotations.step=new";
        must_helm(&format!(
            "upgrade quartermaster charts/quartermaster --namespace {SYSTEM} --wait --timeout 3m {values}"
        ));
        assert_eq!(grace(), "76", "the new values are in use: 5 s of notice, 61 s to drain, 10 s to leave");
    });
    assert_eq!(engines(&ns, "steady"), before, "an upgrade of operator and router restarts no engine");

    under_load(&chat, "upgrade-model", CLIENTS, || {
        must_helm(&format!("rollback quartermaster {began} --namespace {SYSTEM} --wait --timeout 3m"));
        assert_eq!(grace(), "135", "the old values are back");
    });
    assert_eq!(engines(&ns, "steady"), before, "neither does a rollback");
    // The operator that came back works.
    ns.kubectl("scale inferencepools.quartermaster.dev/steady --replicas=1");
    ns.wait_replicas("steady", 1);
}

/// From an earlier version of everything to this one, and back. It needs a cluster of its own with the images of both, which
/// tests/upgrade/from.sh prepares.
#[test]
fn pools_serve_through_an_upgrade_from_an_earlier_version_and_back() {
    let Ok(earlier) = std::env::var("E2E_EARLIER_CHARTS") else {
        return skip("the upgrade from an earlier version: run tests/upgrade/from.sh COMMIT");
    };
    let install = format!("--namespace {SYSTEM} --create-namespace --wait --timeout 3m");
    let values = "--set image.registry=localhost/quartermaster,router.drain.delaySeconds=5";
    must_helm(&format!("install quartermaster-crds {earlier}/quartermaster-crds {install}"));
    must_helm(&format!("install quartermaster {earlier}/quartermaster {install} {values},image.tag=earlier"));
    let ns = Namespace::new("earlier");
    ns.must_apply(EARLIER_POOL);
    ns.wait_replicas("old", 2);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream("old-model", 2).map(|_| ()));

    under_load_of("upgrade", &chat, &ns, || {
        must_helm(&format!("upgrade quartermaster-crds charts/quartermaster-crds {install}"));
        // Earlier routers let everybody in where a policy said nothing; this version does so only where it is told.
        let open = r#"{"spec":{"access":{"anonymous":true}}}"#;
        ns.kubectl(&format!("patch routepolicies.quartermaster.dev/old --type=merge --patch={open}"));
        must_helm(&format!("upgrade quartermaster charts/quartermaster {install} {values},image.tag=dev"));
    });
    under_load_of("rollback", &chat, &ns, || {
        must_helm(&format!("rollback quartermaster 1 --namespace {SYSTEM} --wait --timeout 3m"));
    });
}

/// Changes the version under load, and waits until the operator that is there then has done its work.
#[expect(clippy::print_stdout, reason = "whoever runs this asks what an upgrade costs")]
fn under_load_of(what: &str, chat: &Chat, ns: &Namespace, change: impl FnOnce()) {
    let before = engines(ns, "old");
    let answers = under_load(chat, "old-model", CLIENTS, || {
        change();
        for count in [3, 2] {
            ns.kubectl(&format!("scale inferencepools.quartermaster.dev/old --replicas={count}"));
            ns.wait_replicas("old", count);
        }
        wait_for("every engine runs the settings of its operator", PATIENCE, || {
            let status = ns.get("deployments --selector quartermaster.dev/pool=old")?["items"][0]["status"].clone();
            let figures = ["replicas", "updatedReplicas", "readyReplicas"].map(|name| status[name].as_i64());
            if figures == [Some(2); 3] { Ok(()) } else { Err(status.to_string()) }
        });
    });
    let after = engines(ns, "old");
    assert!(after.iter().all(|engine| engine.ends_with("restarts=Some(0)")), "{what}: {after:?}");
    let kept = after.iter().filter(|engine| before.contains(engine)).count();
    println!("{what}: {answers} answers, none failed; {kept} of {} engines were kept", after.len());
}

/// In words that every version understands.
const EARLIER_POOL: &str = "
apiVersion: quartermaster.dev/v1alpha1
kind: InferencePool
metadata: {name: old}
spec:
  model: {source: file:///models/tiny, servedNames: [old-model]}
  engine:
    image: localhost/quartermaster/vllm-sim:dev
    maxNumSeqs: 8
    env: [{name: VLLM_SIM_TOKENS_PER_SECOND, value: '20'}, {name: VLLM_SIM_START_DELAY, value: '3'}]
  resources: {cpu: 50m, memory: 64Mi}
  replicas: 2
  drain: {timeout: 30s}
---
apiVersion: quartermaster.dev/v1alpha1
kind: RoutePolicy
metadata: {name: old}
spec: {models: [old-model], targets: [{name: local, pool: {name: old}}]}
";

/// `helm uninstall` of the kinds' chart must not delete the pools of a whole cluster, and installing it again takes the
/// kinds over.
#[test]
fn kinds_and_pools_outlive_the_release_that_brought_them() {
    let ns = Namespace::new("keep");
    ns.pool("kept", "keep-model", unscaled);
    ns.wait_replicas("kept", 1);
    let before = engines(&ns, "kept");

    let said = must_helm(&format!("uninstall quartermaster-crds --namespace {SYSTEM} --wait"));
    assert!(said.contains("inferencepools.quartermaster.dev"), "it says what it keeps: {said}");
    for plural in ["inferencepools", "routepolicies"] {
        kubectl(&format!("get customresourcedefinition {plural}.quartermaster.dev"));
    }
    assert_eq!(engines(&ns, "kept"), before);

    must_helm(&format!("install quartermaster-crds charts/quartermaster-crds --namespace {SYSTEM}"));
    ns.kubectl("scale inferencepools.quartermaster.dev/kept --replicas=2");
    ns.wait_replicas("kept", 2);
}
