//! A RoutePolicy: whether it is well-formed, and whether what it names exists.

use std::collections::BTreeSet;

use api::conditions::{ACCEPTED, READY, RECONCILING, RESOLVED_REFS, STALLED, condition, reason, remove, set};
use api::{RoutePolicy, RoutePolicySpec, RoutePolicyStatus, Target};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Whether a pool that a policy names can be used by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can.
    Granted,
    /// There is no such pool.
    Missing,
    /// There may be such a pool, but it does not admit the policy's namespace. Whether it exists is not told to those whom it
    /// does not admit.
    Refused,
}

/// The status of a policy, where `access` tells of a pool, by namespace and name, whether the policy may use it.
pub fn status(now: &Time, policy: &RoutePolicy, access: impl Fn(&str, &str) -> Access) -> RoutePolicyStatus {
    let generation = policy.metadata.generation;
    let faults = faults(&policy.spec);
    let missing = unresolved(policy, access);
    let mut conditions = policy.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let mut put = |type_: &str, is: bool, reason: &str, message: &str| {
        set(&mut conditions, condition(type_, is, reason, message, generation, now));
    };

    match &faults {
        None => put(ACCEPTED, true, reason::VALID, "the policy is well-formed"),
        Some(faults) => put(ACCEPTED, false, reason::INVALID_SPEC, faults),
    }
    match &missing {
        None => put(RESOLVED_REFS, true, reason::RESOLVED, "every pool that the policy names is there for it"),
        Some((reason, message)) => put(RESOLVED_REFS, false, reason, message),
    }
    match (&faults, &missing) {
        (Some(faults), _) => {
            put(READY, false, reason::INVALID_SPEC, faults);
            put(STALLED, true, reason::INVALID_SPEC, faults);
            remove(&mut conditions, RECONCILING);
        }
        (None, Some((reason, message))) => {
            put(READY, false, reason, message);
            put(RECONCILING, true, reason, message);
            remove(&mut conditions, STALLED);
        }
        (None, None) => {
            put(READY, true, reason::RESOLVED, "the policy is in effect");
            remove(&mut conditions, RECONCILING);
            remove(&mut conditions, STALLED);
        }
    }
    RoutePolicyStatus { observed_generation: generation, conditions }
}

/// The pools that the policy sends requests to, by namespace and name, each once, in order.
#[must_use]
pub fn pools(policy: &RoutePolicy) -> Vec<(String, String)> {
    let own = policy.metadata.namespace.as_deref().unwrap_or_default();
    let pool = |target: &Target| (target.pool.namespace_in(own).to_owned(), target.pool.name.clone());
    let all: BTreeSet<_> = policy.spec.targets.iter().map(pool).collect();
    all.into_iter().collect()
}

/// What the CRD's rules refuse too, but may have been stored before they did.
fn faults(spec: &RoutePolicySpec) -> Option<String> {
    let mut found = Vec::new();
    if spec.models.is_empty() {
        found.push("spec.models must list at least one name".to_owned());
    }
    for (i, model) in spec.models.iter().enumerate() {
        if model.find('*').is_some_and(|at| at + 1 != model.len()) {
            found.push(format!("spec.models[{i}] may hold '*' only as its last character"));
        }
    }
    if spec.targets.is_empty() {
        found.push("spec.targets must list at least one target".to_owned());
    }
    for (i, target) in spec.targets.iter().enumerate() {
        if spec.targets[..i].iter().any(|earlier| earlier.name == target.name) {
            found.push(format!("spec.targets[{i}].name {:?} is taken by an earlier target", target.name));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// The reason and the message about pools that the policy names and cannot use, if there are any.
fn unresolved(policy: &RoutePolicy, access: impl Fn(&str, &str) -> Access) -> Option<(&'static str, String)> {
    let own = policy.metadata.namespace.as_deref().unwrap_or_default();
    let (mut found, mut reason) = (Vec::new(), reason::POOL_NOT_FOUND);
    for (i, target) in policy.spec.targets.iter().enumerate() {
        let (namespace, name) = (target.pool.namespace_in(own), &target.pool.name);
        let place = if namespace == own { "this namespace".to_owned() } else { format!("namespace {namespace:?}") };
        match access(namespace, name) {
            Access::Granted => {}
            Access::Missing => {
                found.push(format!("spec.targets[{i}].pool.name: there is no InferencePool {name:?} in {place}"));
            }
            Access::Refused => {
                reason = reason::POOL_NOT_EXPOSED;
                found.push(format!(
                    "spec.targets[{i}].pool: {place} has no InferencePool {name:?} whose spec.exposure admits this one"
                ));
            }
        }
    }
    (!found.is_empty()).then(|| (reason, found.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    const POOLS: [&str; 2] = ["llama", "qwen"];

    fn check(spec: &Value, want: &[(&str, &str, &str)], message_holds: &str) {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "chat", "namespace": "ml", "generation": 3}, "spec": spec,
        }))
        .unwrap();
        let now = Time(Timestamp::UNIX_EPOCH);
        let access = |namespace: &str, name: &str| match (namespace, POOLS.contains(&name)) {
            ("ml", true) => Access::Granted,
            ("ml", false) => Access::Missing,
            _ => Access::Refused,
        };
        let status = status(&now, &policy, access);
        let got: Vec<_> =
            status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        assert_eq!(got, want, "{spec}");
        let ready = status.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert!(ready.message.contains(message_holds), "{status:?}");
        assert_eq!(status.observed_generation, Some(3));

        let mut again = policy;
        again.status = Some(status.clone());
        let later = Time(Timestamp::from_second(9).unwrap());
        assert_eq!(super::status(&later, &again, access), status, "a second look changes nothing");
    }

    #[test]
    fn says_what_is_wrong() {
        let to = |name: &str, pool: &str| json!({"name": name, "pool": {"name": pool}});
        check(
            &json!({"models": ["chat", "gpt-4o*"], "targets": [to("a", "llama"), to("b", "qwen")]}),
            &[("Accepted", "True", "Valid"), ("ResolvedRefs", "True", "Resolved"), ("Ready", "True", "Resolved")],
            "in effect",
        );
        check(
            &json!({"models": ["chat"], "targets": [to("a", "llama"), to("b", "gone")]}),
            &[
                ("Accepted", "True", "Valid"),
                ("ResolvedRefs", "False", "PoolNotFound"),
                ("Ready", "False", "PoolNotFound"),
                ("Reconciling", "True", "PoolNotFound"),
            ],
            "spec.targets[1].pool.name: there is no InferencePool \"gone\" in this namespace",
        );
        check(
            &json!({"models": ["a*b"], "targets": [to("a", "llama"), to("a", "qwen")]}),
            &[
                ("Accepted", "False", "InvalidSpec"),
                ("ResolvedRefs", "True", "Resolved"),
                ("Ready", "False", "InvalidSpec"),
                ("Stalled", "True", "InvalidSpec"),
            ],
            "spec.models[0] may hold '*' only as its last character; spec.targets[1].name \"a\" is taken",
        );
    }

    #[test]
    fn other_namespaces_need_an_invitation() {
        let target = json!({"name": "a", "pool": {"name": "shared", "namespace": "platform"}});
        check(
            &json!({"models": ["chat"], "targets": [target]}),
            &[
                ("Accepted", "True", "Valid"),
                ("ResolvedRefs", "False", "PoolNotExposed"),
                ("Ready", "False", "PoolNotExposed"),
                ("Reconciling", "True", "PoolNotExposed"),
            ],
            "namespace \"platform\" has no InferencePool \"shared\" whose spec.exposure admits",
        );
    }

    #[test]
    fn names_its_pools() {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "chat", "namespace": "ml"},
            "spec": {"models": ["m"], "targets": [
                {"name": "a", "pool": {"name": "llama"}},
                {"name": "b", "pool": {"name": "llama", "namespace": "ml"}},
                {"name": "c", "pool": {"name": "big", "namespace": "gpu"}},
            ]},
        }))
        .unwrap();
        let want = [("gpu", "big"), ("ml", "llama")].map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        assert_eq!(pools(&policy), want);
    }
}
