//! What the charts install.

use e2e::{PATIENCE, SYSTEM, kubectl, try_kubectl, wait_for};

#[test]
fn operator_and_router_are_available() {
    for name in ["quartermaster-operator", "quartermaster-router"] {
        kubectl(&format!("wait --for=condition=Available --timeout=90s --namespace {SYSTEM} deployment/{name}"));
    }
}

#[test]
fn kinds_are_established() {
    for plural in ["inferencepools", "routepolicies"] {
        kubectl(&format!("wait --for=condition=Established --timeout=30s crd/{plural}.quartermaster.dev"));
    }
}

#[test]
fn load_figures_are_served() {
    for version in ["v1beta1", "v1beta2"] {
        kubectl(&format!("wait --for=condition=Available --timeout=60s apiservice/{version}.custom.metrics.k8s.io"));
        let listed = kubectl(&format!("get --raw /apis/custom.metrics.k8s.io/{version}"));
        assert!(listed.contains("inferencepools.quartermaster.dev/vllm_inflight_requests"), "{listed}");
    }
}

/// Everything we install passes the strictest Pod Security level: labelling the namespace would warn about pods that do not.
#[test]
fn our_pods_pass_the_restricted_level() {
    let label = format!(
        "label --overwrite --dry-run=server namespace {SYSTEM} pod-security.kubernetes.io/enforce=restricted \
         --warnings-as-errors"
    );
    wait_for("no pod violates restricted", PATIENCE, || try_kubectl(&label, ""));
}
