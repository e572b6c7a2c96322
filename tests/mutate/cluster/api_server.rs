//! Calls of the API server as plain JSON: what is sent must not pass through our types, which would mend it.

use http::Request;
use kube::{Client, Config};
use serde_json::Value;

/// Path of the pools of a namespace.
pub(crate) fn pools(namespace: &str) -> String {
    format!("/apis/quartermaster.dev/v1alpha1/namespaces/{namespace}/inferencepools")
}

/// Path of the policies of a namespace.
pub(crate) fn policies(namespace: &str) -> String {
    format!("/apis/quartermaster.dev/v1alpha1/namespaces/{namespace}/routepolicies")
}

/// Why the API server refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
    /// The fields it names, as it writes them.
    pub(crate) fields: Vec<String>,
}

/// An answer: the object, or why not.
pub(crate) type Answer = Result<Value, Refusal>;

/// The API server of `KUBECONFIG`.
#[derive(Clone)]
pub(crate) struct ApiServer(Client);

impl ApiServer {
    pub(crate) async fn connect() -> Self {
        // A second call finds the provider installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::infer().await.expect("KUBECONFIG names a cluster");
        Self(Client::try_from(config).expect("its API can be used"))
    }

    /// Sends a request. Panics when there is no answer: that is no verdict.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
        match self.0.request::<Value>(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => {
                let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
                Err(Refusal {
                    code: status.code,
                    message: status.message.clone(),
                    fields: causes.into_iter().map(|cause| cause.field).collect(),
                })
            }
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// The text at a path, such as a page of a pod.
    pub(crate) async fn text(&self, path: &str) -> Result<String, String> {
        let request = Request::get(path).body(Vec::new()).unwrap();
        self.0.request_text(request).await.map_err(|error| format!("{path}: {error}"))
    }

    /// What is at a path; nothing when nothing is there.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        match self.call("GET", path, &Value::Null).await {
            Ok(object) => Some(object),
            Err(refusal) if refusal.code == 404 => None,
            Err(refusal) => panic!("{path}: {refusal:?}"),
        }
    }

    /// The items of a collection.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Applies an object as `kubectl apply --server-side --force-conflicts` does, with unknown fields refused.
    pub(crate) async fn apply(&self, path: &str, object: &Value) -> Answer {
        self.call("PATCH", &format!("{path}?fieldManager=mutate&force=true&fieldValidation=Strict"), object).await
    }

    /// Deletes what is at a path, if anything.
    pub(crate) async fn delete(&self, path: &str) {
        match self.call("DELETE", path, &Value::Null).await {
            Err(refusal) if refusal.code != 404 => panic!("{path}: {refusal:?}"),
            _ => {}
        }
    }

    /// What would become of `object` if it were created as `kubectl` does, with unknown fields refused.
    pub(crate) async fn would_create(&self, collection: &str, object: &Value) -> Answer {
        self.call("POST", &format!("{collection}?dryRun=All&fieldValidation=Strict"), object).await
    }
}
