//! New values, new charts and the way back reach operator, router and kinds, and no request notices.

use e2e::{Chat, Namespace, PATIENCE, SYSTEM, kubectl, must_helm, routed, skip, under_load, unscaled, wait_for};
use serde_json::Value;

/// Clients that stream while the release changes.
const CLIENTS: usize = 8;

/// UID and restarts of each engine of a pool.
fn engines(ns: &Namespace, pool: &str) -> Vec<String> {
    let pods = ns.get(&format!("pods --selector quartermaster.dev/pool={pool}")).unwrap();
    let one = |pod: &Value| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        format!("{} restarts={restarts:?}", pod["metadata"]["uid"])
    };
    pods["items"].as_array().unwrap().iter().map(one).collect()
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
