//! From the files of a folder to the objects that a cluster would have, and to every mistake in them with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use api::{GROUP, InferencePool, RoutePolicy, VERSION};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta, PartialObjectMetaExt};
use router_core::Reach;
use schema::{Document, Kinds, documents};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files::Files;
use super::secret::{self, Outside};
use crate::follow::world::Key;

/// What is said of a field that a kind does not have.
const UNKNOWN: &str = "unknown field";

/// Kind, namespace and name.
type Id = (&'static str, Key);

/// What the reading depends on besides the files.
pub(super) struct Reading<'a> {
    pub(super) kinds: &'a Kinds,
    /// The namespace of objects that name none.
    pub(super) namespace: &'a str,
    /// Objects of other namespaces are left out.
    pub(super) only: bool,
    pub(super) reach: &'a Reach,
    /// Reads what a Secret refers to.
    pub(super) outside: &'a dyn Fn(&Outside) -> Result<Vec<u8>, String>,
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The object at fault, if it is known which.
    pub(super) of: Option<Id>,
    /// Where it is, and what is wrong there.
    pub(super) said: String,
    /// The object stays as it was, which is logged where it is kept.
    pub(super) kept: bool,
}

/// What the files say.
#[derive(Default)]
pub(super) struct Said {
    pub(super) policies: Vec<DeserializeGuard<RoutePolicy>>,
    pub(super) pools: Vec<DeserializeGuard<InferencePool>>,
    pub(super) slices: Vec<DeserializeGuard<EndpointSlice>>,
    pub(super) namespaces: Vec<DeserializeGuard<PartialObjectMeta<Namespace>>>,
    pub(super) secrets: BTreeMap<Key, Secret>,
    pub(super) services: BTreeMap<Key, Service>,
    pub(super) mistakes: Vec<Mistake>,
    /// What is well-formed and has no effect here.
    pub(super) notes: Vec<String>,
    /// Files elsewhere that Secrets refer to.
    pub(super) outside: BTreeSet<PathBuf>,
    /// The file that each object stands in.
    origins: BTreeMap<Id, String>,
}

/// Where an object stands.
struct At<'a> {
    file: &'a str,
    /// The document's number, where the file has several.
    number: Option<usize>,
    document: &'a Document,
}

impl At<'_> {
    /// A mistake in the field at `path`.
    fn mistake(&self, of: Option<&Id>, path: &str, problem: &str) -> Mistake {
        let number = self.number.map(|number| format!(" (document {number})")).unwrap_or_default();
        let object = of.map(|(kind, (namespace, name))| format!("{kind} {namespace}/{name}: ")).unwrap_or_default();
        let field = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let said = format!("{}:{}{number}: {object}{field}{problem}", self.file, self.document.line(path));
        Mistake { of: of.cloned(), said, kept: false }
    }
}

impl Said {
    /// What these files say. Of an object that cannot be read its last state stays, which `before` knows.
    pub(super) fn read(files: &Files, how: &Reading<'_>, before: &Self) -> Self {
        let (mut said, mut unclear) = (Self::default(), Vec::new());
        for (file, text) in &files.texts {
            let cannot_be_told = match text {
                Ok(text) => said.file(file, text, how, before),
                Err(why) => {
                    said.mistakes.push(Mistake { of: None, said: format!("{file}: {why}"), kept: false });
                    true
                }
            };
            unclear.extend(cannot_be_told.then_some(file));
        }
        // Last, as what they held may stand in another file by now.
        unclear.into_iter().for_each(|file| said.keep_those_of(file, before));
        said
    }

    /// Takes in the objects of one file; whether something in it cannot be told by its name.
    fn file(&mut self, file: &str, text: &str, how: &Reading<'_>, before: &Self) -> bool {
        let all = match documents(text) {
            Ok(all) => all,
            Err(why) => {
                self.mistakes.push(Mistake { of: None, said: format!("{file}:{}: {why}", why.line), kept: false });
                return true;
            }
        };
        let several = all.len() > 1;
        let mut unclear = false;
        for (at, document) in all.iter().enumerate() {
            let number = several.then_some(at + 1);
            let items = document.value["items"].as_array().filter(|_| document.value["kind"] == "List");
            match items {
                None => unclear |= self.object(&At { file, number, document }, how, before),
                Some(items) => {
                    for item in 0..items.len() {
                        unclear |= self.object(&At { file, number, document: &document.item(item) }, how, before);
                    }
                }
            }
        }
        unclear
    }

    /// Takes in one object; whether it cannot be told which one it is.
    fn object(&mut self, at: &At<'_>, how: &Reading<'_>, before: &Self) -> bool {
        let value = &at.document.value;
        let (Some(version), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str()) else {
            let problem = "it is no object of Kubernetes: apiVersion and kind are needed";
            self.mistakes.push(at.mistake(None, "", problem));
            return true;
        };
        let ours = format!("{GROUP}/{VERSION}");
        let known = match (version, kind) {
            (_, "RoutePolicy") if version == ours => "RoutePolicy",
            (_, "InferencePool") if version == ours => "InferencePool",
            ("discovery.k8s.io/v1", "EndpointSlice") => "EndpointSlice",
            ("v1", "Secret") => "Secret",
            ("v1", "Service") => "Service",
            ("v1", "Namespace") => "Namespace",
            _ if version.split('/').next() == Some(GROUP) => {
                let names = how.kinds.names().collect::<Vec<_>>().join(", ");
                let problem = format!("there is no kind {kind} in {version}; there are, in {ours}: {names}");
                self.mistakes.push(at.mistake(None, "kind", &problem));
                return true;
            }
            // Whatever else a folder for kubectl holds.
            _ => return false,
        };
        let metadata = &value["metadata"];
        let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) else {
            self.mistakes.push(at.mistake(None, "metadata.name", "is needed"));
            return true;
        };
        let namespace = match metadata["namespace"].as_str() {
            _ if known == "Namespace" => "",
            None | Some("") => how.namespace,
            Some(other) if how.only && other != how.namespace => return false,
            Some(namespace) => namespace,
        };
        let id: Id = (known, (namespace.to_owned(), name.to_owned()));
        if let Some(other) = self.origins.get(&id) {
            let problem = format!("stands a second time; {other} has it too, and what stands there counts");
            self.mistakes.push(at.mistake(Some(&id), "metadata.name", &problem));
            return false;
        }
        self.origins.insert(id.clone(), at.file.to_owned());
        if let Err(mistakes) = self.take(&id, at, how) {
            let text = mistakes.iter().map(|mistake| mistake.said.as_str()).collect::<Vec<_>>().join("; ");
            let kept = !matches!(known, "Secret" | "Service");
            self.mistakes.extend(mistakes.into_iter().map(|mistake| Mistake { kept, ..mistake }));
            self.keep(&id, text, before);
        }
        false
    }

    fn take(&mut self, id: &Id, at: &At<'_>, how: &Reading<'_>) -> Result<(), Vec<Mistake>> {
        match id.0 {
            "RoutePolicy" => {
                let policy = policy(id, at, how)?;
                self.notes.extend(without_effect(id, at, &policy));
                self.policies.push(DeserializeGuard(Ok(policy)));
            }
            "InferencePool" => self.pools.push(DeserializeGuard(Ok(judged(id, at, how)?))),
            "EndpointSlice" => self.slices.push(DeserializeGuard(Ok(slice(id, at, how)?))),
            "Service" => drop(self.services.insert(id.1.clone(), typed(id, at)?)),
            "Namespace" => {
                let metadata = typed::<Namespace>(id, at)?.metadata;
                self.namespaces.push(DeserializeGuard(Ok(metadata.into_response_partial())));
            }
            _ => {
                let fault = |path: &str, problem: &str| vec![at.mistake(Some(id), path, problem)];
                // What is wrong could repeat the key.
                let secret = plain::<Secret>(&at.document.value).map_err(|(path, problem)| {
                    let told = if problem == UNKNOWN {
                        UNKNOWN
                    } else {
                        "cannot be read: text stands under stringData, base64 under data"
                    };
                    fault(&path, told)
                })?;
                let files = secret::refers_to(&secret).map_err(|why| fault(secret::ANNOTATION_PATH, &why))?;
                self.outside.extend(files.values().filter_map(Outside::file));
                let secret =
                    secret::filled(secret, &files, how.outside).map_err(|why| fault(secret::ANNOTATION_PATH, &why))?;
                self.secrets.insert(id.1.clone(), secret);
            }
        }
        Ok(())
    }

    /// An object that cannot be read stays as it was.
    fn keep(&mut self, id: &Id, error: String, before: &Self) {
        let (kind, key) = id;
        let metadata = ObjectMeta {
            namespace: Some(key.0.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(key.1.clone()),
            ..ObjectMeta::default()
        };
        let broken = InvalidObject { error, metadata };
        match *kind {
            "RoutePolicy" => self.policies.push(DeserializeGuard(Err(broken))),
            "InferencePool" => self.pools.push(DeserializeGuard(Err(broken))),
            "EndpointSlice" => self.slices.push(DeserializeGuard(Err(broken))),
            "Namespace" => self.namespaces.push(DeserializeGuard(Err(broken))),
            "Service" => self.services.extend(before.services.get(key).map(|old| (key.clone(), old.clone()))),
            _ => self.secrets.extend(before.secrets.get(key).map(|old| (key.clone(), old.clone()))),
        }
    }

    /// The objects that stood in a file of which not all can be read, and that it does not name now, stay as they were: it
    /// cannot be told which of them are meant to go.
    fn keep_those_of(&mut self, file: &str, before: &Self) {
        let gone = before.origins.iter().filter(|(_, origin)| *origin == file);
        let gone: Vec<Id> = gone.map(|(id, _)| id.clone()).filter(|id| !self.origins.contains_key(id)).collect();
        for id in gone {
            self.keep(&id, format!("{file} cannot be read as a whole"), before);
            self.origins.insert(id, file.to_owned());
        }
    }

    /// Whether there is a policy that can be used.
    pub(super) fn serves(&self) -> bool {
        self.policies.iter().any(|policy| policy.0.is_ok())
    }
}

/// An object of a kind of ours, as the API server would store it.
fn judged<K: DeserializeOwned>(id: &Id, at: &At<'_>, how: &Reading<'_>) -> Result<K, Vec<Mistake>> {
    let mistake = |path: &str, problem: &str| at.mistake(Some(id), path, problem);
    let mut object = at.document.value.clone();
    object["metadata"]["namespace"] = id.1.0.clone().into();
    let stored = match how.kinds.judge(id.0, &object) {
        None => object,
        Some(Ok(stored)) => stored,
        Some(Err(faults)) => return Err(faults.iter().map(|fault| mistake(&fault.path, &fault.message)).collect()),
    };
    serde_path_to_error::deserialize(stored)
        .map_err(|error| vec![mistake(&error.path().to_string(), &error.inner().to_string())])
}

/// A policy whose rules and URLs can be used, too.
fn policy(id: &Id, at: &At<'_>, how: &Reading<'_>) -> Result<RoutePolicy, Vec<Mistake>> {
    let policy: RoutePolicy = judged(id, at, how)?;
    let mut mistakes = Vec::new();
    for (place, target) in policy.spec.targets.iter().enumerate() {
        if let Some(Err(why)) = target.provider.as_ref().map(api::Provider::base) {
            let path = format!("spec.targets[{place}].provider.baseUrl");
            mistakes.push(at.mistake(Some(id), &path, &why.to_string()));
        }
    }
    if let Err(bad) = router_core::read::policy(&policy).check() {
        let said = bad.to_string();
        // It begins with the field's path.
        let (path, problem) = said.split_at(said.find([':', ' ']).unwrap_or(said.len()));
        mistakes.push(at.mistake(Some(id), path, problem.trim_start_matches([':', ' '])));
    }
    if mistakes.is_empty() { Ok(policy) } else { Err(mistakes) }
}

/// Callers whom a policy lets in and whom only an API server could tell.
fn without_effect(id: &Id, at: &At<'_>, policy: &RoutePolicy) -> Vec<String> {
    let allow = policy.spec.access.iter().flat_map(|access| &access.allow).enumerate();
    let accounts = allow.filter(|(_, name)| name.starts_with("sa:") || name.starts_with("system:serviceaccount:"));
    let problem = "names a ServiceAccount, whose tokens only an API server can check: here it lets nobody in";
    accounts.map(|(place, _)| at.mistake(Some(id), &format!("spec.access.allow[{place}]"), problem).said).collect()
}

/// Addresses that can be sent to.
fn slice(id: &Id, at: &At<'_>, how: &Reading<'_>) -> Result<EndpointSlice, Vec<Mistake>> {
    let slice: EndpointSlice = typed(id, at)?;
    let mut mistakes = Vec::new();
    for (place, endpoint) in slice.endpoints.iter().enumerate() {
        for (nth, address) in endpoint.addresses.iter().enumerate() {
            let problem = match address.parse() {
                Err(_) => "is no IP address; a name goes into a Service of the type ExternalName".to_owned(),
                Ok(ip) => match how.reach.forbids_service(ip) {
                    None => continue,
                    Some(what) => {
                        format!("{address} is {what}; allow it by --allow-targets={address} if it is meant")
                    }
                },
            };
            mistakes.push(at.mistake(Some(id), &format!("endpoints[{place}].addresses[{nth}]"), &problem));
        }
    }
    if slice.ports.iter().flatten().all(|port| port.port.is_none()) {
        mistakes.push(at.mistake(Some(id), "ports", "needs a port, such as [{port: 8000}]"));
    }
    if mistakes.is_empty() { Ok(slice) } else { Err(mistakes) }
}

/// An object of a kind of Kubernetes' own, without fields that the kind does not have.
fn typed<K: DeserializeOwned + Serialize>(id: &Id, at: &At<'_>) -> Result<K, Vec<Mistake>> {
    let mut object = at.document.value.clone();
    if id.0 != "Namespace" {
        object["metadata"]["namespace"] = id.1.0.clone().into();
    }
    plain(&object).map_err(|(path, problem)| vec![at.mistake(Some(id), &path, &problem)])
}

/// The object, or the path of what is wrong and why.
fn plain<K: DeserializeOwned + Serialize>(value: &Value) -> Result<K, (String, String)> {
    let object: K = serde_path_to_error::deserialize(value.clone())
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))?;
    // A field that was not read is not written again.
    let again = serde_json::to_value(&object).unwrap_or_default();
    match lost(value, &again) {
        None => Ok(object),
        Some(path) => Err((path, UNKNOWN.to_owned())),
    }
}

/// The path of a field of `before` that `after` has not.
fn lost(before: &Value, after: &Value) -> Option<String> {
    let dot = |rest: &str| if rest.starts_with('[') { "" } else { "." };
    let join = |step: String, rest: String| step + dot(&rest) + &rest;
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| match after.get(key) {
            None if value.is_null() => None,
            None => Some(key.clone()),
            Some(after) => lost(value, after).map(|rest| join(key.clone(), rest)),
        }),
        (Value::Array(before), Value::Array(after)) => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(at, (before, after))| lost(before, after).map(|rest| join(format!("[{at}]"), rest)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
