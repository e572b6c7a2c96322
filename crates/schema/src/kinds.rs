//! The rules of all kinds of ours.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Fault, Rules};

/// The rules of every kind of `quartermaster.dev`, as its CRD has them.
pub struct Kinds(BTreeMap<String, Rules>);

impl Kinds {
    /// The rules of this version's CRDs.
    ///
    /// # Errors
    ///
    /// When a rule cannot be read, which a test rules out.
    pub fn new() -> Result<Self, Fault> {
        let mut kinds = BTreeMap::new();
        for crd in api::all_crds() {
            let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
            // Such a value always serializes, so the fallback is never seen.
            let schema = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
            kinds.insert(crd.spec.names.kind.clone(), Rules::new(&schema["openAPIV3Schema"])?);
        }
        Ok(Self(kinds))
    }

    /// The names of the kinds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The object as it would be stored; `None` when there is no such kind.
    ///
    /// # Errors
    ///
    /// All faults of the first sort that is found, as with [`Rules::judge`].
    #[must_use]
    pub fn judge(&self, kind: &str, object: &Value) -> Option<Result<Value, Vec<Fault>>> {
        self.0.get(kind).map(|rules| rules.judge(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn our_kinds_are_judged() {
        let kinds = Kinds::new().unwrap();
        assert_eq!(kinds.names().collect::<Vec<_>>(), ["InferencePool", "RoutePolicy"]);
        let policy = |target: Value| {
            let object = json!({
                "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": {"name": "r"},
                "spec": {"models": ["m"], "targets": [target]},
            });
            let judged = kinds.judge("RoutePolicy", &object).unwrap();
            judged.map_err(|faults| format!("{}: {}", faults[0].path, faults[0].message))
        };
        let stored = policy(json!({"name": "t", "pool": {"name": "p"}})).unwrap();
        assert_eq!(stored["spec"]["retries"]["attempts"], 2);
        let two = policy(json!({"name": "t", "pool": {"name": "p"}, "service": {"name": "s", "port": 1}}));
        let two = two.unwrap_err();
        assert!(two.starts_with("spec.targets[0]: ") && two.contains("exactly one of pool"), "{two}");
        let typo = policy(json!({"name": "t", "pol": {"name": "p"}})).unwrap_err();
        assert!(typo.starts_with("spec.targets[0].pol: unknown field; there are name, pool, "), "{typo}");
        assert!(kinds.judge("Pod", &json!({})).is_none());
    }
}
