//! A stored pool that does not fit its type, because it is older than a rule or was written while the rules were away.

use api::InferencePool;
use api::conditions::{READY, RECONCILING, STALLED, condition, reason, remove, set};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Deserialize;
use serde_json::Value;

/// What of an object keeps it from being read as a pool, with the path of the field. `None` when it can be read.
#[must_use]
pub fn fault(object: &Value) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, InferencePool>(object).err()?;
    let path = error.path().to_string();
    Some(format!("{path} cannot be read: {}; correct it with kubectl edit", error.inner()))
}

/// The conditions of a pool that cannot be read for `fault`. Those that nothing is known about stay as they were.
#[must_use]
pub fn conditions(now: &Time, object: &Value, fault: &str) -> Vec<Condition> {
    let generation = object["metadata"]["generation"].as_i64();
    let stored = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut all: Vec<Condition> = stored.filter_map(|condition| Condition::deserialize(condition).ok()).collect();
    for (type_, is) in [(READY, false), (STALLED, true)] {
        let message = format!("{fault}; what runs for the pool is left as it is until then");
        set(&mut all, condition(type_, is, reason::INVALID_SPEC, message, generation, now));
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
            let found = fault(&pool(spec, &json!({}))).unwrap_or_default();
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
        let first = conditions(&at(5), &pool(&json!({}), &json!({"conditions": [known, busy, 7]})), "spec.x is bad");
        let short: Vec<_> = first.iter().map(|c| format!("{}={}:{}", c.type_, c.status, c.reason)).collect();
        assert_eq!(short, ["Available=True:Serving", "Ready=False:InvalidSpec", "Stalled=True:InvalidSpec"]);
        assert_eq!(first[1].observed_generation, Some(3));
        assert!(first[2].message.starts_with("spec.x is bad; what runs"), "{}", first[2].message);
        let again = conditions(&at(9), &pool(&json!({}), &json!({"conditions": first.clone()})), "spec.x is bad");
        assert_eq!(again, first);
    }
}
