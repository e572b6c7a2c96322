//! A stored object that does not fit its kind, because it is older than a rule or was written while the rules were away.

use api::conditions::{ACCEPTED, READY, RECONCILING, STALLED, condition, reason, remove, set};
use api::{InferencePool, RoutePolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind that people write, so that there can be an object which does not fit it.
pub trait Written: DeserializeOwned {
    /// The conditions that tell of such an object, and their states.
    const TOLD_BY: &'static [(&'static str, bool)];
    /// What goes on until the object is corrected.
    const MEANWHILE: &'static str;
}

impl Written for InferencePool {
    const TOLD_BY: &'static [(&'static str, bool)] = &[(READY, false), (STALLED, true)];
    const MEANWHILE: &'static str = "what runs for the pool is left as it is until then";
}

impl Written for RoutePolicy {
    const TOLD_BY: &'static [(&'static str, bool)] = &[(ACCEPTED, false), (READY, false), (STALLED, true)];
    const MEANWHILE: &'static str = "until then routers serve by the last state of the policy that they could read";
}

/// What of an object keeps it from being read as a `K`, with the path of the field. `None` when it can be read.
#[must_use]
pub fn fault<K: Written>(object: &Value) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, K>(object).err()?;
    let path = error.path().to_string();
    Some(format!("{path} cannot be read: {}; correct it with kubectl edit", error.inner()))
}

/// The conditions of an object that cannot be read for `fault`. Those that nothing is known about stay as they were.
#[must_use]
pub fn conditions<K: Written>(now: &Time, object: &Value, fault: &str) -> Vec<Condition> {
    let generation = object["metadata"]["generation"].as_i64();
    let stored = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut all: Vec<Condition> = stored.filter_map(|condition| Condition::deserialize(condition).ok()).collect();
    for (type_, is) in K::TOLD_BY {
        let message = format!("{fault}; {}", K::MEANWHILE);
        set(&mut all, condition(type_, *is, reason::INVALID_SPEC, message, generation, now));
    }
    remove(&mut all, RECONCILING);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    fn pool(spec: &Value, status: &Value) -> Value {
        let metadata = json!({"name": "llama", "namespace": "ml", "uid": "u", "generation": 3});
        json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
            "metadata": metadata, "spec": spec, "status": status,
        })
    }

    #[test]
    fn names_the_field() {
        let check = |spec: &Value, want: &str| {
            let found = fault::<InferencePool>(&pool(spec, &json!({}))).unwrap_or_default();
            assert!(found.starts_with(want) && found.is_empty() == want.is_empty(), "{found:?}, {want:?}");
        };
        let (model, engine) = (json!({"source": "hf://a/b"}), json!({"image": "engine:v1"}));
        check(&json!({"model": model, "engine": engine}), "");
        check(&json!({"model": 7, "engine": engine}), "spec.model cannot be read: invalid type: integer `7`");
        check(&json!({"model": model, "engine": {"image": []}}), "spec.engine.image cannot be read: invalid type");
        check(&json!({"model": model}), "spec cannot be read: missing field `engine`");
        check(&json!({"model": model, "engine": engine, "replicas": "two"}), "spec.replicas cannot be read");
    }

    #[test]
    fn a_second_look_says_the_same() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let known = condition("Available", true, "Serving", "1 replica can serve", Some(2), &at(1));
        let busy = condition(RECONCILING, true, "ScalingUp", "", Some(2), &at(1));
        let first = conditions::<InferencePool>(
            &at(5),
            &pool(&json!({}), &json!({"conditions": [known, busy, 7]})),
            "spec.x is bad",
        );
        let short: Vec<_> = first.iter().map(|c| format!("{}={}:{}", c.type_, c.status, c.reason)).collect();
        assert_eq!(short, ["Available=True:Serving", "Ready=False:InvalidSpec", "Stalled=True:InvalidSpec"]);
        assert_eq!(first[1].observed_generation, Some(3));
        assert!(first[2].message.starts_with("spec.x is bad; what runs"), "{}", first[2].message);
        let again = pool(&json!({}), &json!({"conditions": first.clone()}));
        assert_eq!(conditions::<InferencePool>(&at(9), &again, "spec.x is bad"), first);
    }

    #[test]
    fn a_policy_says_what_routers_do_meanwhile() {
        let targets = json!([{"name": "local", "pool": {"name": "llama"}}]);
        let policy = |models: &Value| {
            json!({
                "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
                "metadata": {"name": "chat", "namespace": "ml", "generation": 7},
                "spec": {"models": models, "targets": targets},
            })
        };
        assert_eq!(fault::<RoutePolicy>(&policy(&json!(["chat"]))), None);
        let broken = policy(&json!("chat"));
        let why = fault::<RoutePolicy>(&broken).unwrap();
        assert!(why.starts_with("spec.models cannot be read: invalid type: string"), "{why}");
        let told = conditions::<RoutePolicy>(&Time(Timestamp::UNIX_EPOCH), &broken, &why);
        let short: Vec<_> = told.iter().map(|c| format!("{}={}:{}", c.type_, c.status, c.reason)).collect();
        assert_eq!(short, ["Accepted=False:InvalidSpec", "Ready=False:InvalidSpec", "Stalled=True:InvalidSpec"]);
        assert!(told.iter().all(|c| c.observed_generation == Some(7) && c.message.contains("the last state")));
    }
}
