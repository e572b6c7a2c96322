//! From the objects that tell of replicas to the plain inputs of the routing table.

use std::net::{IpAddr, SocketAddr};

use api::{InferencePool, POOL_LABEL};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::{EndpointInput, PoolInput};

/// A pool, as far as routing needs it.
#[must_use]
pub fn pool(pool: &InferencePool) -> PoolInput {
    let name = pool.metadata.name.clone().unwrap_or_default();
    // The engine is started with the same names by the operator, which takes the pool's name where there are none.
    let served_model = pool.spec.model.served_names.first().unwrap_or(&name).clone();
    PoolInput { namespace: pool.metadata.namespace.clone().unwrap_or_default(), name, served_model }
}

/// The replicas that a slice names. Those that are leaving are left out; they are neither ready nor about to be.
#[must_use]
pub fn slice(slice: &EndpointSlice) -> Vec<EndpointInput> {
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(POOL_LABEL));
    let (Some(pool), Some(port)) = (label, port(slice)) else { return Vec::new() };
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
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
    use serde_json::json;

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
