//! What of an object the operator writes, as one number.

use serde_json::Value;

/// The operator's field manager.
pub(crate) const OPERATOR: &str = "quartermaster-operator";

/// Hash of what an object holds that the operator may have written: all but the status, the version, which changes with
/// every status, and what is noted of other managers. It is the same for an object in a list as for the object by itself.
#[must_use]
pub fn content(object: &Value) -> u64 {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !["apiVersion", "kind", "status"].contains(&name.as_str()));
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        if let Some(managed) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            managed.retain(|entry| entry["manager"] == OPERATOR && entry["subresource"].is_null());
        }
    }
    hash(object.to_string().as_bytes())
}

/// FNV-1a: enough to tell equal bodies from different ones, and the same in every run.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_controller_that_writes_the_status_changes_no_content() {
        let deployment = |version: &str, replicas: i64, terminating: i64, time: &str| {
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {
                    "name": "tiny", "resourceVersion": version,
                    "managedFields": [
                        {"manager": OPERATOR, "operation": "Apply", "time": time},
                        {"manager": "kube-controller-manager", "subresource": "status", "time": version},
                    ],
                },
                "spec": {"replicas": replicas}, "status": {"terminatingReplicas": terminating},
            })
        };
        let first = deployment("7", 1, 1, "then");
        let mut listed = deployment("8", 1, 0, "then");
        listed.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
        assert_eq!(content(&first), content(&listed));
        assert_ne!(content(&first), content(&deployment("7", 2, 1, "then")));
        assert_ne!(content(&first), content(&deployment("7", 1, 1, "now")));
    }
}
