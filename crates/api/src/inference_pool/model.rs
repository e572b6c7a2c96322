//! The model of a pool: where its weights are, and what it is called.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DNS_NAME;

/// The model and the names it is served under.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.revision) || self.source.startsWith('hf://')")
        .message("spec.model.revision is for hf:// sources only; the other kinds of source name their content in full"),
    validation = Rule::new("!has(self.credentialsSecretRef) || !(self.source.startsWith('file://') || self.source.startsWith('pvc://'))")
        .message("spec.model.credentialsSecretRef has no use for file:// and pvc:// sources; remove it"),
    validation = Rule::new("!has(self.credentialsSecretRef) || !(self.source.startsWith('hf://') || self.source.startsWith('gs://')) || has(self.credentialsSecretRef.key)")
        .message("spec.model.credentialsSecretRef.key is needed for hf:// (the key that holds the token) and gs:// (the key that holds the service account's JSON)"),
    validation = Rule::new("!has(self.credentialsSecretRef) || !(self.source.startsWith('s3://') || self.source.startsWith('oci://')) || !has(self.credentialsSecretRef.key)")
        .message("spec.model.credentialsSecretRef.key has no use for s3:// (the Secret's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are read) and oci:// (the Secret is an image pull secret); remove it")
)]
pub struct Model {
    /// Where the weights are:
    ///
    /// * `hf://organisation/name`: a repository of the Hugging Face hub, fetched by the engine;
    /// * `pvc://claim/path`: a folder on a PersistentVolumeClaim of the pool's namespace, mounted read-only;
    /// * `s3://bucket/path`, `gs://bucket/path`: object storage, streamed into the engine at its start;
    /// * `oci://registry/repository:tag`: an image with the weights in it, mounted read-only (Kubernetes 1.33 and later);
    /// * `file:///path`: a folder inside the engine's container.
    #[x_kube(
        validation = Rule::new("self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$') || self.matches('^pvc://[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(/[A-Za-z0-9._-]+)*$') || self.matches('^(s3|gs)://[a-z0-9][a-z0-9._-]+[a-z0-9](/[A-Za-z0-9._=+-]+)+/?$') || self.matches('^oci://[a-z0-9][A-Za-z0-9.:/_@-]*[A-Za-z0-9]$') || self.matches('^file:///[A-Za-z0-9._=+@/-]+$')")
            .message("spec.model.source must be hf://organisation/name, pvc://claim/path, s3://bucket/path, gs://bucket/path, oci://registry/repository:tag or file:///absolute/path"),
        validation = Rule::new("!self.contains('/../') && !self.endsWith('/..')")
            .message("spec.model.source must not go up by '..'; name the folder itself")
    )]
    #[schemars(length(min = 1, max = 512))]
    pub source: String,
    /// Branch, tag or commit of an `hf://` repository. Default: its main branch. Replicas that start later may then get other
    /// weights than the first; a commit keeps them equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"))]
    pub revision: Option<String>,
    /// Names that the engine answers to; the first labels its metrics. Default: the pool's name.
    #[x_kube(
        validation = Rule::new("self.all(n, !n.startsWith('-'))")
            .message("spec.model.servedNames must not start with '-': the engine would take the name for a flag"),
        validation = Rule::new("self.all(n, self.exists_one(o, o == n))")
            .message("spec.model.servedNames holds a name twice; remove one")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9._:/@+-]+$")))]
    pub served_names: Vec<String>,
    /// Secret of the pool's namespace that opens the source: a token (`hf`), a service account's JSON (`gs`), the two keys
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`s3`), or an image pull secret (`oci`). The operator never reads it; the
    /// engine's pod does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<CredentialsRef>,
    /// Where fetched weights and compiled kernels are kept. Default: on the node, for as long as the replica's pod is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

/// A Secret of the pool's namespace with credentials for the source of the weights.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub name: String,
    /// Key in it, for `hf://` and `gs://` sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// A key of a Secret or ConfigMap of the object's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Where fetched weights and compiled kernels are kept.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// A PersistentVolumeClaim of the pool's namespace that all replicas share; with more than one node it must allow
    /// ReadWriteMany. A new replica then starts without fetching and compiling again.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub claim_name: String,
}
