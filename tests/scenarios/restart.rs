//! Operator and router are restarted while they are needed.

use e2e::{Chat, Namespace, PATIENCE, SYSTEM, kubectl, routed, skip, under_load, unscaled, wait_for};

/// Clients that stream while the routers are replaced.
const CLIENTS: usize = 8;

fn replace(deployment: &str) {
    kubectl(&format!("rollout restart deployment/{deployment} --namespace {SYSTEM}"));
    kubectl(&format!("rollout status deployment/{deployment} --namespace {SYSTEM} --timeout=180s"));
}

#[test]
fn a_new_operator_takes_over() {
    let ns = Namespace::new("takeover");
    ns.pool("kept", "takeover-model", unscaled);
    ns.wait_replicas("kept", 1);
    let pods = || ns.kubectl("get pods --selector quartermaster.dev/pool=kept --output name");
    let before = pods();
    replace("quartermaster-operator");
    ns.kubectl("scale inferencepools.quartermaster.dev/kept --replicas=2");
    ns.wait_replicas("kept", 2);
    assert!(pods().contains(before.trim()), "the pod that ran before still does: {before} {}", pods());
    kubectl("wait --for=condition=Available --timeout=60s apiservice/v1beta2.custom.metrics.k8s.io");
}

#[test]
fn streams_outlive_the_routers_they_run_through() {
    if !routed() {
        return skip("streams across a rollout of the routers: a port-forward holds on to one router");
    }
    let ns = Namespace::new("drain");
    ns.pool("drained", "drain-model", unscaled);
    ns.wait_replicas("drained", 1);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream("drain-model", 2).map(|_| ()));
    under_load(&chat, "drain-model", CLIENTS, || replace("quartermaster-router"));
}
