//! The valid objects that mutations start from: the samples, the golden pools of operator-core, and some that between them set
//! every field there is.

use std::collections::BTreeSet;
use std::path::Path;

use kube::CustomResourceExt;
use mutate::{Kind, Node, Rules};
use serde_json::{Value, json};

/// Namespace in which nothing is ever stored: all verdicts are dry runs.
pub(crate) const NOWHERE: &str = "default";

/// The rules of InferencePool.
pub(crate) fn rules() -> Rules {
    rules_of::<api::InferencePool>()
}

/// The rules of a kind.
pub(crate) fn rules_of<K: CustomResourceExt>() -> Rules {
    let definition = serde_json::to_value(K::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    Rules::new(schema).unwrap_or_else(|fault| panic!("{fault:?}"))
}

/// The objects of a kind to start from, by name of their file, those with most fields first.
pub(crate) fn all(kind: &str) -> Vec<(String, Value)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Where the cluster has the images from, when it cannot have them from this machine.
    let registry = std::env::var("E2E_REGISTRY").unwrap_or_else(|_| "localhost/quartermaster".to_owned());
    let mut found = Vec::new();
    for folder in
        [here.join("bases"), here.join("../../manifests/samples"), here.join("../../crates/operator-core/tests/golden")]
    {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        {
            let text = std::fs::read_to_string(&path).unwrap().replace("localhost/quartermaster", &registry);
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            for document in text.split("\n---").filter(|document| document.contains(&format!("kind: {kind}"))) {
                let object: Value = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{name}: {error}"));
                if object["kind"] == kind && !name.ends_with(".objects") {
                    found.push((name.clone(), object));
                }
            }
        }
    }
    found.sort_by_key(|(name, object)| (std::cmp::Reverse(object.to_string().len()), name.clone()));
    assert!(!found.is_empty());
    for (name, object) in &mut found {
        object["metadata"] = json!({"name": "mutated"});
        assert!(object["spec"].is_object(), "{name}");
    }
    found
}

/// The sample that runs the simulator, with a base of its name.
pub(crate) fn simulator() -> (String, Value) {
    let found = all("InferencePool").into_iter().find(|(name, _)| name == "pool-sim");
    found.unwrap_or_else(|| panic!("manifests/samples has no pool-sim.yaml"))
}

/// The paths in the schema of the leaves that `object` sets.
fn set_leaves(node: &Node, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (&node.kind, value) {
        (_, Value::Null) => {}
        (Kind::Object { fields, .. }, Value::Object(there)) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (name, value) in there {
                if let Some(field) = fields.get(name) {
                    set_leaves(field, value, &format!("{path}{dot}{name}"), found);
                }
            }
        }
        (Kind::Map { values, .. }, Value::Object(there)) => {
            there.values().for_each(|value| set_leaves(values, value, &format!("{path}{{}}"), found));
        }
        (Kind::List { items, .. }, Value::Array(there)) => {
            there.iter().for_each(|value| set_leaves(items, value, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// A field that no base sets is only ever tried alone, where what is required beside it is missing.
#[test]
fn every_field_is_set_by_a_base() {
    every_field_is_set::<api::InferencePool>("InferencePool");
    every_field_is_set::<api::RoutePolicy>("RoutePolicy");
}

fn every_field_is_set<K: CustomResourceExt>(kind: &str) {
    let rules = rules_of::<K>();
    let spec = rules.schema().field("spec").unwrap();
    let (mut wanted, mut set) = (BTreeSet::new(), BTreeSet::new());
    spec.leaves("", &mut |path, _| {
        wanted.insert(path);
    });
    for (name, object) in all(kind) {
        assert_eq!(rules.judge(&object).err(), None, "{name}");
        set_leaves(spec, &object["spec"], "", &mut set);
    }
    let missing: Vec<_> = wanted.difference(&set).collect();
    assert!(missing.is_empty(), "set these of {kind} in a file of tests/mutate/bases: {missing:?}");
}
