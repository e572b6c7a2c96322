//! RoutePolicies out of YAML files.

use api::RoutePolicy;
use serde_json::Value;

use crate::Outcome;

/// Every RoutePolicy of a file; other kinds are passed over. One that names no namespace gets `namespace`.
pub(crate) fn read(file: &str, text: &str, namespace: &str) -> Outcome<Vec<RoutePolicy>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| format!("{file}: {error}"))?;
    let mut policies = Vec::new();
    for document in documents {
        if document["kind"] != "RoutePolicy" {
            continue;
        }
        let name = document["metadata"]["name"].as_str().unwrap_or("without a name").to_owned();
        let mut policy: RoutePolicy =
            serde_json::from_value(document).map_err(|error| format!("{file}: RoutePolicy {name}: {error}"))?;
        policy.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
        policies.push(policy);
    }
    if policies.is_empty() {
        return Err(format!("{file} holds no RoutePolicy").into());
    }
    Ok(policies)
}
