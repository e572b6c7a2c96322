//! From the cluster's objects to the plain inputs of the routing table.

use std::collections::BTreeMap;

use api::{Exposure, InferencePool, RoutePolicy};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::Event;
use router_core::PoolInput;
use serde::{Deserialize, Serialize};

pub(crate) use router_core::read::{policy, slice};

/// The event, in which a policy whose rules cannot be used is one that cannot be read: it stays as it was.
pub(crate) fn usable(event: Event<DeserializeGuard<RoutePolicy>>) -> Event<DeserializeGuard<RoutePolicy>> {
    match event {
        Event::Apply(object) => Event::Apply(checked(object)),
        Event::InitApply(object) => Event::InitApply(checked(object)),
        other => other,
    }
}

fn checked(object: DeserializeGuard<RoutePolicy>) -> DeserializeGuard<RoutePolicy> {
    let bad = object.0.as_ref().ok().and_then(|object| policy(object).check().err());
    match (bad, object.0) {
        (Some(bad), Ok(object)) => {
            DeserializeGuard(Err(InvalidObject { error: bad.to_string(), metadata: object.metadata }))
        }
        (_, object) => DeserializeGuard(object),
    }
}

/// What is known of a pool: what the table is built from, and who may use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) input: PoolInput,
    pub(crate) exposure: Exposure,
}

pub(crate) fn labels(namespace: &PartialObjectMeta<Namespace>) -> BTreeMap<String, String> {
    namespace.labels().clone()
}

pub(crate) fn pool(pool: &InferencePool) -> Known {
    Known { input: router_core::read::pool(pool), exposure: pool.spec.exposure.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_core::TargetInput;
    use serde_json::json;

    #[test]
    fn reads_policies_and_pools() {
        let object = json!({
            "metadata": {"name": "r", "namespace": "ml", "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"models": ["a", "b*"], "sessionAffinity": {"header": "X-Session"}, "targets": [
                {"name": "t", "pool": {"name": "p"}}, {"name": "u", "pool": {"name": "p", "namespace": "gpu"}},
            ]},
        });
        let read = policy(&serde_json::from_value(object).unwrap());
        assert_eq!((read.namespace.as_str(), read.name.as_str(), read.created), ("ml", "r", 60));
        assert_eq!(
            (read.models, read.session_header.as_deref()),
            (vec!["a".to_owned(), "b*".to_owned()], Some("X-Session"))
        );
        assert_eq!(read.targets, [TargetInput::new("t", "ml", "p"), TargetInput::new("u", "gpu", "p")]);

        for (names, served) in [(json!([]), "p"), (json!(["x", "y"]), "x")] {
            let object = json!({
                "metadata": {"name": "p", "namespace": "ml"},
                "spec": {"model": {"source": "hf://a/b", "servedNames": names}, "engine": {"image": "vllm:v1"}},
            });
            assert_eq!(pool(&serde_json::from_value(object).unwrap()).input.served_model, served);
        }
    }

    #[test]
    fn a_policy_with_rules_that_cannot_be_used_is_one_that_cannot_be_read() {
        let event = |when: &str| {
            let object = json!({
                "metadata": {"name": "r", "namespace": "ml"},
                "spec": {"models": ["a"], "targets": [{"name": "t", "pool": {"name": "p"}}], "rules": [
                    {"name": "x", "when": when, "use": {"ordered": ["t"]}},
                ]},
            });
            usable(Event::Apply(serde_json::from_value(object).unwrap()))
        };
        let Event::Apply(good) = event("request.stream") else { panic!() };
        assert_eq!(policy(&good.0.unwrap()).rules.len(), 1);
        let Event::Apply(bad) = event("request.steam") else { panic!() };
        let error = bad.0.unwrap_err();
        assert!(error.error.contains("spec.rules[0].when: line 1, column 8"), "{}", error.error);
        assert_eq!(error.metadata.name.as_deref(), Some("r"));
    }
}
