//! Whether an object must be written: does the live object say something else than the desired one, and may we say it?
//!
//! The desired object holds only the fields that are ours, so the comparison is "is it contained in the live one": defaults
//! that the API server filled in and fields that others added do not count. A field that we applied earlier and no longer
//! want does count, which shows only in the live object's `managedFields`.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};

/// How a live object stands to the desired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing to write.
    Same,
    /// These fields must be written or given up.
    Ours(Vec<String>),
    /// A field that must be written belongs to somebody else, so an apply without force would be refused as a whole.
    Foreign {
        /// The field.
        path: String,
        /// The field manager it belongs to.
        manager: String,
    },
}

/// A step from an object or list to one of its parts.
#[derive(Clone, Debug)]
enum Step<'a> {
    Field(&'a str),
    Item(&'a Value),
}

/// Lists whose items are told apart by a field rather than by position, with that field. All other lists are compared whole.
const KEYED_LISTS: [(&str, &str); 7] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "name"),
    ("ownerReferences", "uid"),
];

/// Packs the managed fields of an object that is to be kept: as a tree they take many times the memory of all the rest, as
/// text a tenth of that. Those of the status, which is never compared, are left out.
pub fn pack(metadata: &mut ObjectMeta) {
    let Some(managed) = &mut metadata.managed_fields else { return };
    managed.retain(|entry| entry.subresource.as_deref() != Some("status"));
    for fields in managed.iter_mut().filter_map(|entry| entry.fields_v1.as_mut()) {
        if !fields.0.is_string() {
            fields.0 = Value::String(fields.0.to_string());
        }
    }
}

/// The fields of an entry, packed or not.
fn fields(entry: &ManagedFieldsEntry) -> Option<Cow<'_, Value>> {
    match &entry.fields_v1.as_ref()?.0 {
        Value::String(packed) => serde_json::from_str(packed).ok().map(Cow::Owned),
        tree => Some(Cow::Borrowed(tree)),
    }
}

/// Compares `desired` with `live`, whose managed fields are `managed`, from the standpoint of the field manager `us`.
#[must_use]
pub fn compare(desired: &Value, live: &Value, managed: &[ManagedFieldsEntry], us: &str) -> Difference {
    let mut differing = Vec::new();
    differences(desired, live, &mut Vec::new(), &mut differing);
    let ours = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(us)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    };
    for path in &differing {
        let owner = managed.iter().filter(|entry| !ours(entry)).find(|entry| owns(entry, path));
        if let Some(owner) = owner {
            let manager = owner.manager.clone().unwrap_or_default();
            return Difference::Foreign { path: text(path), manager };
        }
    }
    let mut paths: Vec<String> = differing.iter().map(|path| text(path)).collect();
    for fields in managed.iter().filter(ours).filter_map(fields) {
        given_up(&fields, desired, &mut String::new(), &mut paths);
    }
    if paths.is_empty() { Difference::Same } else { Difference::Ours(paths) }
}

/// Collects the paths at which `live` does not say what `desired` says.
fn differences<'a>(desired: &'a Value, live: &Value, path: &mut Vec<Step<'a>>, found: &mut Vec<Vec<Step<'a>>>) {
    match (desired, live) {
        (Value::Object(want), Value::Object(have)) => {
            for (name, want) in want {
                path.push(Step::Field(name));
                match have.get(name) {
                    Some(have) => differences(want, have, path, found),
                    None if is_nothing(want) => {}
                    None => found.push(path.clone()),
                }
                path.pop();
            }
        }
        (Value::Array(want), Value::Array(have)) => {
            let Some(key) = key_of(path) else {
                // Items of an unkeyed list may still carry defaults, so they are compared one by one.
                let same = want.len() == have.len() && want.iter().zip(have).all(|(want, have)| contains(want, have));
                if !same {
                    found.push(path.clone());
                }
                return;
            };
            for want in want {
                path.push(Step::Item(want));
                match have.iter().find(|have| have.get(key) == want.get(key)) {
                    Some(have) => differences(want, have, path, found),
                    None => found.push(path.clone()),
                }
                path.pop();
            }
        }
        _ if desired == live => {}
        _ => found.push(path.clone()),
    }
}

fn contains(desired: &Value, live: &Value) -> bool {
    let mut found = Vec::new();
    differences(desired, live, &mut Vec::new(), &mut found);
    found.is_empty()
}

/// The API server leaves empty texts and lists out of what it stores.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn key_of(path: &[Step<'_>]) -> Option<&'static str> {
    let Some(Step::Field(list)) = path.last() else { return None };
    KEYED_LISTS.iter().find(|(name, _)| name == list).map(|(_, key)| *key)
}

/// Whether the field manager of `entry` owns the field at `path`, or the whole of which it is a part.
fn owns(entry: &ManagedFieldsEntry, path: &[Step<'_>]) -> bool {
    let fields = fields(entry);
    let Some(mut tree) = fields.as_deref().and_then(Value::as_object) else { return false };
    for step in path {
        let below = match step {
            Step::Field(name) => tree.get(&format!("f:{name}")),
            Step::Item(item) => tree.iter().find(|(key, _)| is_item(key, item)).map(|(_, below)| below),
        };
        match below.and_then(Value::as_object) {
            None => return false,
            Some(below) if below.is_empty() => return true,
            Some(below) => tree = below,
        }
    }
    // Owning only parts below the path is not owning what stands there, except for the item or map as such.
    tree.contains_key(".")
}

/// Collects the paths that the field set `owned` holds and `desired` does not.
fn given_up(owned: &Value, desired: &Value, path: &mut String, found: &mut Vec<String>) {
    let Some(owned) = owned.as_object() else { return };
    for (key, below) in owned {
        let (part, name) = match key.split_once(':') {
            Some(("f", name)) => (desired.get(name), format!(".{name}")),
            Some(("k", keys)) => (items(desired).iter().find(|item| is_item(key, item)), format!("[{keys}]")),
            Some(("v", value)) => {
                let value = serde_json::from_str::<Value>(value).ok();
                (items(desired).iter().find(|item| Some(*item) == value.as_ref()), format!("[{value:?}]"))
            }
            // "." stands for the item itself, whose absence its parent has noticed.
            _ => continue,
        };
        let length = path.len();
        path.push_str(&name);
        match part {
            Some(part) => given_up(below, part, path, found),
            None => found.push(path.clone()),
        }
        path.truncate(length);
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether `key`, such as `k:{"name":"engine"}`, means this item. A key field that the item leaves to its default counts.
fn is_item(key: &str, item: &Value) -> bool {
    let Some(keys) = key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok())
    else {
        return false;
    };
    item.is_object() && keys.iter().all(|(name, value)| item.get(name).is_none_or(|it| it == value))
}

/// A path as people write it: `.spec.template.spec.containers[engine].image`.
fn text(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    let mut list = "";
    for step in path {
        match step {
            Step::Field(name) => {
                out.push('.');
                out.push_str(name);
                list = name;
            }
            Step::Item(item) => {
                let key = KEYED_LISTS.iter().find(|(name, _)| *name == list).map_or("name", |(_, key)| *key);
                let key = item.get(key).and_then(Value::as_str).unwrap_or("?");
                out.push_str(&format!("[{key}]"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
