//! A namespace as it can be compared with another one: everything in it, without what differs from run to run.
//!
//! `DROPPED`, `UNSEEN` and the functions below are the whole mask; what is added to it is hidden from the proofs, so
//! each entry says why.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use crate::bed::Namespace;
use crate::content::{OPERATOR, content};
use crate::server::{Failure, Server};

/// Kinds that are not compared.
const UNSEEN: [(&str, &str); 4] = [
    ("events", "may be lost without harm, and are counted by occurrence"),
    ("endpoints", "follow from Services and pods, and hold addresses"),
    ("endpointslices", "follow from Services and pods, and hold addresses"),
    ("leases", "say who leads, and when that was renewed"),
];

/// Fields that are dropped wherever they are.
const DROPPED: [(&str, &str); 14] = [
    ("uid", "drawn at random"),
    ("resourceVersion", "counts all writes of the cluster"),
    ("creationTimestamp", "a time"),
    ("lastTransitionTime", "a time"),
    ("lastUpdateTime", "a time"),
    ("lastProbeTime", "a time"),
    ("time", "a time, of managed fields"),
    ("clusterIP", "allocated"),
    ("clusterIPs", "allocated"),
    ("pod-template-hash", "made from the template, which is compared itself"),
    ("selfLink", "says where the object is"),
    ("inFlight", "a measurement, written every few seconds at most"),
    ("nodeName", "chosen by the scheduler"),
    ("selector-hash", "made from the selector, which is compared itself"),
];

/// A kind of object that can be in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `api/v1` or `apis/GROUP/VERSION`.
    pub api: String,
    /// The plural.
    pub plural: String,
    /// The group; empty for the core group.
    pub group: String,
}

/// What is in a namespace, by kind and name.
pub type Dump = BTreeMap<String, Value>;

impl Kind {
    /// Asks the API server which kinds there are.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn discover(server: &Server) -> Result<Vec<Self>, Failure> {
        let get = async |path: String| server.ask(Method::GET, &path, "application/json", &Value::Null).await;
        let mut apis = vec![("api/v1".to_owned(), String::new())];
        for group in list(&get("/apis".to_owned()).await?["groups"]) {
            let (name, version) = (text(&group["name"]), text(&group["preferredVersion"]["groupVersion"]));
            apis.push((format!("apis/{version}"), name));
        }
        let mut kinds = Vec::new();
        for (api, group) in apis {
            // The server behind an aggregated API may be away; it holds none of our objects.
            let Ok(found) = get(format!("/{api}")).await else { continue };
            for kind in list(&found["resources"]) {
                let plural = text(&kind["name"]);
                let listed = list(&kind["verbs"]).iter().any(|verb| verb == "list");
                let unseen = UNSEEN.iter().any(|(name, _)| *name == plural);
                if kind["namespaced"] == true && listed && !unseen && !plural.contains('/') {
                    kinds.push(Self { api: api.clone(), plural, group: group.clone() });
                }
            }
        }
        Ok(kinds)
    }
}

impl Namespace {
    /// Everything of these kinds that is here and not about to go.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn dump(&self, kinds: &[Kind]) -> Result<Dump, Failure> {
        let mut all = BTreeMap::new();
        let asked = kinds.iter().map(|kind| self.get(&kind.api, &kind.plural));
        let answers = futures::future::try_join_all(asked).await?;
        for (kind, found) in kinds.iter().zip(answers) {
            let found = found.unwrap_or_default();
            let mut objects: Vec<(String, Value)> = list(&found["items"])
                .iter()
                .filter(|object| object["metadata"]["deletionTimestamp"].is_null())
                .map(|object| (name(&kind.plural, object), canonical(kind, object, &self.name)))
                .collect();
            objects.sort_by_cached_key(|(name, object)| (name.clone(), object.to_string()));
            for (number, (name, object)) in objects.into_iter().enumerate() {
                let key = format!("{}/{name}", kind.plural);
                // Pods of one ReplicaSet have one name here.
                let key = if all.contains_key(&key) { format!("{key} ({number})") } else { key };
                all.insert(key, object);
            }
        }
        Ok(all)
    }

    /// What each object of these kinds holds, by plural and name, as [`content`] tells.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn contents(&self, kinds: &[Kind]) -> Result<BTreeMap<(String, String), u64>, Failure> {
        let answers = futures::future::try_join_all(kinds.iter().map(|kind| self.get(&kind.api, &kind.plural))).await?;
        let of_kind = |(kind, found): (&Kind, Option<Value>)| {
            let key = |object: &Value| (kind.plural.clone(), text(&object["metadata"]["name"]));
            let items = list(&found.unwrap_or_default()["items"]);
            items.iter().map(|object| (key(object), content(object))).collect::<Vec<_>>()
        };
        Ok(kinds.iter().zip(answers).flat_map(of_kind).collect())
    }
}

/// The object's name without the parts that are drawn or hashed.
fn name(plural: &str, object: &Value) -> String {
    let metadata = &object["metadata"];
    let full = text(&metadata["name"]);
    // Two ReplicaSets of one Deployment, and their pods, differ in their templates.
    let hash = metadata["labels"]["pod-template-hash"].as_str();
    let stem = match (metadata["generateName"].as_str(), plural) {
        (Some(prefix), _) => prefix.to_owned(),
        (None, "replicasets") => full,
        (None, _) => return full,
    };
    hash.map_or_else(|| stem.clone(), |hash| stem.replace(hash, ""))
}

fn canonical(kind: &Kind, object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    let ours = kind.group == "quartermaster.dev" || list(&object["metadata"]["ownerReferences"]).iter().any(owned);
    let status = object["status"].take();
    if kind.group == "quartermaster.dev" {
        object["status"] = status;
    } else {
        object["status"] = counts(&status);
    }
    if kind.plural == "pods" || kind.plural == "replicasets" {
        hide_hash(&mut object);
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let managed = metadata.get("managedFields").map(applied).unwrap_or_default();
        metadata.insert("managedFields".to_owned(), managed);
        if !ours {
            // How often a controller of Kubernetes wrote it depends on the moment.
            metadata.remove("generation");
        }
    }
    strip(&mut object);
    let text = object.to_string().replace(namespace, "NAMESPACE");
    serde_json::from_str(&text).unwrap_or(object)
}

fn owned(owner: &Value) -> bool {
    owner["kind"] == "InferencePool"
}

/// Of a status that Kubernetes writes, the numbers of replicas and the phase: what the operator and people go by.
fn counts(status: &Value) -> Value {
    // Pods that are on their way out are left out here as everywhere.
    let kept =
        |name: &str| name == "phase" || (name.to_lowercase().ends_with("replicas") && name != "terminatingReplicas");
    let fields = status.as_object().into_iter().flatten().filter(|(name, _)| kept(name));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What the operator has applied, of all managed fields.
fn applied(managed: &Value) -> Value {
    let entries = list(managed).into_iter();
    let ours = entries.filter(|entry| entry["manager"] == OPERATOR && entry["operation"] == "Apply");
    ours.map(|mut entry| entry["fieldsV1"].take()).collect()
}

/// The name of a pod or ReplicaSet, and of the ReplicaSet that owns the pod, end in what was drawn or hashed.
fn hide_hash(object: &mut Value) {
    let hash = text(&object["metadata"]["labels"]["pod-template-hash"]);
    object["metadata"]["name"] = json!("");
    for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        if !hash.is_empty() {
            owner["name"] = json!(text(&owner["name"]).replace(&hash, ""));
        }
    }
    if let Some(prefix) = object["metadata"]["generateName"].as_str().filter(|_| !hash.is_empty()) {
        object["metadata"]["generateName"] = json!(prefix.replace(&hash, ""));
    }
}

/// Drops what the mask names, wherever it is.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !DROPPED.iter().any(|(dropped, _)| name == dropped));
            // Managed fields tell owner references apart by UID.
            if let Some(key) = fields.keys().find(|name| name.starts_with("k:{\"uid\":")).cloned() {
                let owner = fields.remove(&key).unwrap_or_default();
                fields.insert("k:uid".to_owned(), owner);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Where two dumps differ, one line each.
#[must_use]
pub fn differences(want: &Dump, have: &Dump) -> Vec<String> {
    let mut found = Vec::new();
    for (key, want) in want {
        match have.get(key) {
            None => found.push(format!("{key} is missing")),
            Some(have) => compare(key, want, have, &mut found),
        }
    }
    found.extend(have.keys().filter(|key| !want.contains_key(*key)).map(|key| format!("{key} is too many")));
    found
}

fn compare(path: &str, want: &Value, have: &Value, found: &mut Vec<String>) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            let none = Value::Null;
            let mut names: Vec<&String> = want.keys().chain(have.keys()).collect();
            names.sort();
            names.dedup();
            let get = |map: &Map<String, Value>, name: &str| map.get(name).unwrap_or(&none).clone();
            for name in names {
                compare(&format!("{path}.{name}"), &get(want, name), &get(have, name), found);
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            for (number, (want, have)) in want.iter().zip(have).enumerate() {
                compare(&format!("{path}[{number}]"), want, have, found);
            }
        }
        _ if want == have => {}
        _ => found.push(format!("{path}: {have} instead of {want}")),
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, plural: &str) -> Kind {
        Kind { api: String::new(), plural: plural.to_owned(), group: group.to_owned() }
    }

    #[test]
    fn what_differs_from_run_to_run_is_hidden() {
        let object = |uid: &str, hash: &str, namespace: &str, image: &str| {
            json!({
                "metadata": {
                    "name": format!("tiny-{hash}-{uid}"), "generateName": format!("tiny-{hash}-"), "uid": uid,
                    "namespace": namespace, "generation": uid.len(), "labels": {"pod-template-hash": hash},
                    "ownerReferences": [{"kind": "ReplicaSet", "name": format!("tiny-{hash}"), "uid": hash}],
                    "managedFields": [{"manager": "kubelet", "operation": "Update", "time": uid}],
                },
                "spec": {"image": image, "host": format!("tiny.{namespace}.svc")},
                "status": {"phase": "Running", "podIP": uid},
            })
        };
        let dump = |uid, hash, namespace, image| -> Dump {
            let pod = object(uid, hash, namespace, image);
            [("pods/tiny".to_owned(), canonical(&kind("", "pods"), &pod, namespace))].into()
        };
        let first = dump("a", "h1", "n1", "x:1");
        assert_eq!(differences(&first, &dump("bc", "h2", "n2", "x:1")), Vec::<String>::new());
        let want = [r#"pods/tiny.spec.image: "x:2" instead of "x:1""#];
        assert_eq!(differences(&first, &dump("a", "h1", "n1", "x:2")), want);
        assert_eq!(differences(&first, &Dump::new()), ["pods/tiny is missing"]);
        assert_eq!(differences(&Dump::new(), &first), ["pods/tiny is too many"]);
    }

    #[test]
    fn what_the_operator_applied_and_counted_is_seen() {
        let deployment = |replicas: i64, fields: &str| {
            let fields = json!({fields: {"k:{\"uid\":\"1\"}": {}}});
            json!({
                "metadata": {
                    "name": "tiny", "generation": 3, "ownerReferences": [{"kind": "InferencePool"}],
                    "managedFields": [{"manager": "quartermaster-operator", "operation": "Apply", "fieldsV1": fields}],
                },
                "status": {"readyReplicas": replicas, "terminatingReplicas": 1, "conditions": [replicas]},
            })
        };
        let seen =
            |replicas, fields| canonical(&kind("apps", "deployments"), &deployment(replicas, fields), "somewhere");
        let want = json!({
            "metadata": {
                "name": "tiny", "generation": 3, "ownerReferences": [{"kind": "InferencePool"}],
                "managedFields": [{"f:spec": {"k:uid": {}}}],
            },
            "status": {"readyReplicas": 2},
        });
        assert_eq!(seen(2, "f:spec"), want);
        assert_ne!(seen(1, "f:spec"), want);
        assert_ne!(seen(2, "f:metadata"), want);
    }
}
