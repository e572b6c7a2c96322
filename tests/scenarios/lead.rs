//! Two operators are installed, and one of them runs the pools.

use std::time::Duration;

use e2e::{Namespace, PATIENCE, SYSTEM, kubectl, try_kubectl, unscaled, wait_for};

/// A lease of 15 s that nobody gave back, and room for a busy machine.
const TAKEN_OVER: Duration = Duration::from_secs(40);

/// The pod that leads, other than `before`.
fn leader(before: Option<&str>) -> Result<String, String> {
    let words =
        format!("get lease quartermaster-operator --namespace {SYSTEM} --output jsonpath={{.spec.holderIdentity}}");
    let holder = try_kubectl(&words, "")?;
    match holder.rsplit_once('_') {
        Some((pod, _)) if Some(pod) != before => Ok(pod.to_owned()),
        _ => Err(format!("the holder is {holder:?}")),
    }
}

#[test]
fn pools_are_run_by_the_other_operator_when_one_is_lost() {
    let ns = Namespace::new("leader");
    ns.pool("led", "led-model", unscaled);
    ns.wait_replicas("led", 1);
    let first = wait_for("an operator leads", PATIENCE, || leader(None));
    // Gone as with its node: it has no time to step down.
    kubectl(&format!("delete pod {first} --namespace {SYSTEM} --grace-period=0 --force"));
    wait_for("the other leads", TAKEN_OVER, || leader(Some(&first)));
    ns.kubectl("scale inferencepools.quartermaster.dev/led --replicas=2");
    ns.wait_replicas("led", 2);
}

#[test]
fn a_deleted_lease_is_made_anew() {
    wait_for("an operator leads", PATIENCE, || leader(None));
    kubectl(&format!("delete lease quartermaster-operator --namespace {SYSTEM}"));
    wait_for("an operator leads again", TAKEN_OVER, || leader(None));
}
