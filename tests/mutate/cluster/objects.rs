//! The objects made for a pool, in a form in which two can be compared.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api_server::ApiServer;

/// Collections in which a pool has objects, with the start of their path.
const COLLECTIONS: [(&str, &str); 6] = [
    ("/api/v1", "serviceaccounts"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/api/v1", "services"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
];

/// Objects that follow from those.
const FOLLOWING: [(&str, &str); 3] =
    [("/apis/apps/v1", "replicasets"), ("/api/v1", "pods"), ("/apis/discovery.k8s.io/v1", "endpointslices")];

/// Fields that differ between two objects that are the same to their users: who made them and when, and addresses that
/// were given to them. A field is added here only with a reason beside it.
const MASKED: [&str; 10] = [
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/creationTimestamp",
    "/metadata/generation",
    "/metadata/managedFields",
    "/metadata/namespace",
    "/status",
    // Given by the API server from its range.
    "/spec/clusterIP",
    "/spec/clusterIPs",
    // Counts rollouts.
    "/metadata/annotations/deployment.kubernetes.io~1revision",
];

/// What a pool has, by kind and name.
pub(crate) type Objects = BTreeMap<String, Value>;

/// The objects made for the pool, as they are.
pub(crate) async fn of(server: &ApiServer, namespace: &str, pool: &str) -> Objects {
    collect(server, namespace, pool, &COLLECTIONS).await
}

/// Names of everything that is left of the pool.
pub(crate) async fn left(server: &ApiServer, namespace: &str, pool: &str) -> Vec<String> {
    let mut names: Vec<String> = of(server, namespace, pool).await.into_keys().collect();
    names.extend(collect(server, namespace, pool, &FOLLOWING).await.into_keys());
    names
}

async fn collect(server: &ApiServer, namespace: &str, pool: &str, collections: &[(&str, &str)]) -> Objects {
    let mut found = Objects::new();
    for (api, plural) in collections {
        let path = format!("{api}/namespaces/{namespace}/{plural}?labelSelector=quartermaster.dev%2Fpool%3D{pool}");
        for object in server.list(&path).await {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            found.insert(format!("{plural}/{name}"), object);
        }
    }
    found
}

/// The objects without what may differ.
pub(crate) fn canonical(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        for mask in MASKED {
            if let Some((parent, field)) = mask.rsplit_once('/')
                && let Some(Value::Object(fields)) = object.pointer_mut(parent)
            {
                fields.remove(&field.replace("~1", "/"));
            }
        }
        // An object whose only annotation was masked has none.
        if object.pointer("/metadata/annotations") == Some(&json!({})) {
            object["metadata"].as_object_mut().map(|fields| fields.remove("annotations"));
        }
        for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            owner["uid"] = json!("the pool's");
        }
    }
    objects
}

/// What differs between two sets, for people: the paths of the first few fields.
pub(crate) fn differing(left: &Objects, right: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for name in names {
        compare(name, left.get(name).unwrap_or(&Value::Null), right.get(name).unwrap_or(&Value::Null), &mut found);
    }
    found
}

fn compare(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let below = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}.{name}"), &below(one), &below(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (left, right)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{at}]"), left, right, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: {left} and {right}")),
    }
}
