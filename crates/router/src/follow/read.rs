//! From the cluster's objects to the plain inputs of the routing table.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use api::{Exposure, InferencePool, POOL_LABEL, RoutePolicy};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::Event;
use router_core::{EndpointInput, PoolInput};
use serde::{Deserialize, Serialize};

pub(crate) use router_core::read::policy;

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
    let name = pool.name_any();
    // The engine is started with the same names by the operator, which takes the pool's name where there are none.
    let served_model = pool.spec.model.served_names.first().unwrap_or(&name).clone();
    let input = PoolInput { namespace: pool.namespace().unwrap_or_default(), name, served_model };
    Known { input, exposure: pool.spec.exposure.clone() }
}

/// The replicas that a slice names. Those that are leaving are left out; they are neither ready nor about to be.
pub(crate) fn slice(slice: &EndpointSlice) -> Vec<EndpointInput> {
    let (Some(pool), Some(port)) = (slice.labels().get(POOL_LABEL), port(slice)) else { return Vec::new() };
    let namespace = slice.namespace().unwrap_or_default();
    slice.endpoints.iter().filter_map(|endpoint| replica(endpoint, &namespace, pool, port)).collect()
}

fn replica(endpoint: &Endpoint, namespace: &str, pool: &str, port: u16) -> Option<EndpointInput> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    if conditions.terminating == Some(true) {
        return None;
    }
    // Consumers are to take the first address only, and an unknown readiness as a yes, says the kind's reference.
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    Some(EndpointInput {
        namespace: namespace.to_owned(),
        pool: pool.to_owned(),
        address: SocketAddr::new(address, port),
        // Where a Service publishes addresses that are not ready, it calls them ready all the same.
        ready: conditions.ready.unwrap_or(true) && conditions.serving.unwrap_or(true),
    })
}

/// The engine's port: a pool's Service has a single one.
fn port(slice: &EndpointSlice) -> Option<u16> {
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let port = slice.ports.iter().flatten().find(|port| tcp(&port.protocol))?;
    u16::try_from(port.port?).ok()
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

    #[test]
    fn reads_slices() {
        let endpoint =
            |address: &str, conditions: serde_json::Value| json!({"addresses": [address], "conditions": conditions});
        let object = json!({
            "metadata": {"name": "s", "namespace": "ml", "labels": {"quartermaster.dev/pool": "p"}},
            "addressType": "IPv4",
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 8000, "protocol": "TCP", "name": "http"}],
            "endpoints": [
                endpoint("10.0.0.1", json!({"ready": true, "serving": true, "terminating": false})),
                endpoint("10.0.0.2", json!({"ready": false, "serving": false, "terminating": false})),
                endpoint("10.0.0.3", json!({"ready": false, "serving": true, "terminating": true})),
                endpoint("10.0.0.4", json!({})),
                endpoint("10.0.0.5", json!({"ready": true, "serving": false, "terminating": false})),
                endpoint("10.0.0.6", json!({"ready": true, "serving": true, "terminating": true})),
                endpoint("not-an-address", json!({"ready": true})),
            ],
        });
        let mut object: EndpointSlice = serde_json::from_value(object).unwrap();
        let read: Vec<_> = slice(&object).into_iter().map(|e| (e.address.to_string(), e.ready)).collect();
        let want =
            [("10.0.0.1:8000", true), ("10.0.0.2:8000", false), ("10.0.0.4:8000", true), ("10.0.0.5:8000", false)];
        assert_eq!(read, want.map(|(address, ready)| (address.to_owned(), ready)));
        object.metadata.labels = None;
        assert!(slice(&object).is_empty());
    }
}
