//! A namespace for one scenario, gone when the scenario ends.

use serde_json::Value;

use crate::kubectl::get;
use crate::{Kubectl, PATIENCE, kubectl, manifest, try_kubectl, wait_for};

/// A fresh namespace. Dropping it deletes it with all that is in it.
pub struct Namespace {
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes the namespace `e2e-<purpose>`, after removing what an earlier run left.
    #[must_use]
    pub fn new(purpose: &str) -> Self {
        let name = format!("e2e-{purpose}");
        kubectl(&format!("delete namespace {name} --ignore-not-found --timeout=120s"));
        kubectl(&format!("create namespace {name}"));
        Self { name }
    }

    /// Applies a manifest here; the error is what kubectl says.
    pub fn apply(&self, text: &str) -> Kubectl {
        try_kubectl(&format!("apply --server-side --namespace {} --filename -", self.name), text)
    }

    /// Applies a manifest that must be accepted.
    pub fn must_apply(&self, text: &str) {
        self.apply(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }

    /// The sample pool of the simulator under another name, and a policy that serves it as the model `model`.
    pub fn pool(&self, name: &str, model: &str, change: impl Fn(&str) -> String) {
        let pool = manifest("manifests/samples/pool-sim.yaml").replace("name: tiny", &format!("name: {name}"));
        self.must_apply(&change(&pool));
        self.must_apply(&format!(
            "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
             spec: {{models: [{model}], targets: [{{name: local, pool: {{name: {name}}}}}], access: {{anonymous: true}}}}\n"
        ));
    }

    /// What `kubectl get` finds here.
    pub fn get(&self, words: &str) -> Result<Value, String> {
        get(&format!("{words} --namespace {}", self.name))
    }

    /// Calls kubectl here.
    pub fn kubectl(&self, words: &str) -> String {
        kubectl(&format!("{words} --namespace {}", self.name))
    }

    /// The pool as the API server has it.
    pub fn look(&self, pool: &str) -> Result<Value, String> {
        self.get(&format!("inferencepools.quartermaster.dev/{pool}"))
    }

    /// The pool's condition of this type, about the spec as it is now. The error says what there is instead.
    pub fn condition(&self, pool: &str, kind: &str) -> Result<Value, String> {
        let seen = self.look(pool)?;
        let all = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|c| c["type"] == kind);
        let current = found.filter(|c| c["observedGeneration"] == seen["metadata"]["generation"]);
        current.cloned().ok_or_else(|| format!("{pool} has no {kind}: {}", seen["status"]))
    }

    /// Changes the pool's spec.
    pub fn patch(&self, pool: &str, spec: &Value) {
        let patch = serde_json::json!({"spec": spec});
        self.kubectl(&format!("patch inferencepools.quartermaster.dev/{pool} --type=merge --patch={patch}"));
    }

    /// Waits until the pool has exactly `count` ready replicas, wants no other number, and says that it is settled.
    pub fn wait_replicas(&self, pool: &str, count: i64) {
        wait_for(&format!("{pool} has {count} replicas"), PATIENCE, || {
            let seen = self.look(pool)?;
            let status = &seen["status"];
            let settled = status["observedGeneration"] == seen["metadata"]["generation"]
                && seen["spec"]["replicas"] == count
                && status["replicas"].as_i64().unwrap_or(0) == count
                && status["readyReplicas"].as_i64().unwrap_or(0) == count
                && condition(&seen, "Ready") == "True";
            if settled { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

/// Status of a condition of an object; empty when it has none.
fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.and_then(|c| c["status"].as_str()).unwrap_or_default().to_owned()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A scenario that failed has said why; what could not be deleted is deleted by the next run.
        let _ = try_kubectl(&format!("delete namespace {} --ignore-not-found --wait=false", self.name), "");
    }
}
