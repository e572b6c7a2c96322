//! A RoutePolicy: whether it is well-formed, and whether what it names exists.

use api::conditions::{ACCEPTED, READY, RECONCILING, RESOLVED_REFS, STALLED, condition, reason, remove, set};
use api::{RoutePolicy, RoutePolicySpec, RoutePolicyStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The status of a policy, where `pool_exists` tells whether there is a pool of that name in its namespace.
pub fn status(now: &Time, policy: &RoutePolicy, pool_exists: impl Fn(&str) -> bool) -> RoutePolicyStatus {
    let generation = policy.metadata.generation;
    let faults = faults(&policy.spec);
    let missing = missing(&policy.spec, pool_exists);
    let mut conditions = policy.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let mut put = |type_: &str, is: bool, reason: &str, message: &str| {
        set(&mut conditions, condition(type_, is, reason, message, generation, now));
    };

    match &faults {
        None => put(ACCEPTED, true, reason::VALID, "the policy is well-formed"),
        Some(faults) => put(ACCEPTED, false, reason::INVALID_SPEC, faults),
    }
    match &missing {
        None => put(RESOLVED_REFS, true, reason::RESOLVED, "every pool that the policy names exists"),
        Some(missing) => put(RESOLVED_REFS, false, reason::POOL_NOT_FOUND, missing),
    }
    match (&faults, &missing) {
        (Some(faults), _) => {
            put(READY, false, reason::INVALID_SPEC, faults);
            put(STALLED, true, reason::INVALID_SPEC, faults);
            remove(&mut conditions, RECONCILING);
        }
        (None, Some(missing)) => {
            put(READY, false, reason::POOL_NOT_FOUND, missing);
            put(RECONCILING, true, reason::POOL_NOT_FOUND, missing);
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

/// Whether the policy sends requests to the pool of this name in its own namespace.
#[must_use]
pub fn refers_to(policy: &RoutePolicy, pool: &str) -> bool {
    policy.spec.targets.iter().any(|target| target.pool.name == pool)
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

fn missing(spec: &RoutePolicySpec, pool_exists: impl Fn(&str) -> bool) -> Option<String> {
    let mut found = Vec::new();
    for (i, target) in spec.targets.iter().enumerate() {
        let name = &target.pool.name;
        if !pool_exists(name) {
            found.push(format!("spec.targets[{i}].pool.name: there is no InferencePool {name:?} in this namespace"));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
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
        let status = status(&now, &policy, |name| POOLS.contains(&name));
        let got: Vec<_> =
            status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        assert_eq!(got, want, "{spec}");
        let ready = status.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert!(ready.message.contains(message_holds), "{status:?}");
        assert_eq!(status.observed_generation, Some(3));

        let mut again = policy;
        again.status = Some(status.clone());
        let later = Time(Timestamp::from_second(9).unwrap());
        assert_eq!(
            super::status(&later, &again, |name| POOLS.contains(&name)),
            status,
            "a second look changes nothing"
        );
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
    fn refers() {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": {"name": "chat"},
            "spec": {"models": ["m"], "targets": [{"name": "a", "pool": {"name": "llama"}}]},
        }))
        .unwrap();
        assert!(refers_to(&policy, "llama"));
        assert!(!refers_to(&policy, "llam"));
    }
}
