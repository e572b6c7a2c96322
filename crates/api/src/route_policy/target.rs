//! The targets of a policy: what can answer.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Price;
use crate::DNS_NAME;

/// One place that can answer: a pool, a provider, or a service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.pool) ? 1 : 0) + (has(self.provider) ? 1 : 0) + (has(self.service) ? 1 : 0) == 1")
        .message("each of spec.targets needs exactly one of pool, provider and service; set one and remove the others")
)]
pub struct Target {
    /// Name of the target within the policy; it labels metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A pool of ours answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolRef>,
    /// The API of a provider answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// An engine answers that is not run by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// What its tokens cost. Default: for a provider's model, what the built-in table has; for pools and services, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// What a target is, for those who match on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Destination<'a> {
    /// A pool.
    Pool(&'a PoolRef),
    /// A provider.
    Provider(&'a Provider),
    /// A service.
    Service(&'a ServiceRef),
}

impl Target {
    /// What the target is; `None` for one that is not exactly one of the three, which only an object from before the kind's
    /// rule can be.
    #[must_use]
    pub fn destination(&self) -> Option<Destination<'_>> {
        match (&self.pool, &self.provider, &self.service) {
            (Some(pool), None, None) => Some(Destination::Pool(pool)),
            (None, Some(provider), None) => Some(Destination::Provider(provider)),
            (None, None, Some(service)) => Some(Destination::Service(service)),
            _ => None,
        }
    }
}

/// An InferencePool.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its namespace. Default: the policy's. The pool of another namespace answers only if its `exposure` admits the
    /// policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

impl PoolRef {
    /// The pool's namespace, for a policy in the namespace `own`.
    #[must_use]
    pub fn namespace_in<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }
}

/// Whose API a provider speaks, and where it is unless `baseUrl` says otherwise.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// Anthropic's Messages, at `https://api.anthropic.com`.
    Anthropic,
    /// OpenAI's API, at `https://api.openai.com/v1`; Azure's with `baseUrl` and `apiVersion`.
    OpenAI,
    /// Any server of OpenAI's chat completions: Ollama, another vLLM, the endpoint of another provider.
    OpenAICompatible,
    /// Amazon Bedrock, at `https://bedrock-runtime.REGION.amazonaws.com`: Converse, and InvokeModel for Anthropic's models.
    Bedrock,
}

/// The API of a provider, and what it takes to use it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.kind == 'OpenAICompatible' || has(self.credentialsSecretRef)")
        .message("spec.targets[].provider.credentialsSecretRef is needed for Anthropic, Bedrock and OpenAI: name a Secret of this namespace and the key in it that holds the API key"),
    validation = Rule::new("self.kind == 'Bedrock' || !has(self.credentialsSecretRef) || has(self.credentialsSecretRef.key)")
        .message("spec.targets[].provider.credentialsSecretRef.key is needed: set it to the key of the Secret that holds the API key; only for Bedrock it may be left out, for the Secret's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    validation = Rule::new("has(self.region) == (self.kind == 'Bedrock')")
        .message("spec.targets[].provider.region is needed for Bedrock, for example eu-central-1, and has no use for other kinds; set it or remove it"),
    validation = Rule::new("self.kind != 'OpenAICompatible' || has(self.baseUrl)")
        .message("spec.targets[].provider.baseUrl is needed for OpenAICompatible: set it to the URL in front of /chat/completions, for example http://ollama.ml.svc:11434/v1"),
    validation = Rule::new("!has(self.apiVersion) || (self.kind == 'OpenAI' && has(self.baseUrl))")
        .message("spec.targets[].provider.apiVersion is for Azure only: kind OpenAI with the baseUrl of the deployment; remove it"),
    validation = Rule::new("self.kind == 'OpenAI' || !(has(self.organization) || has(self.project))")
        .message("spec.targets[].provider.organization and project are for the kind OpenAI only; remove them")
)]
pub struct Provider {
    /// Whose API it is.
    pub kind: ProviderKind,
    /// Name by which the provider knows the model. For Bedrock the id of a model or of an inference profile, or its ARN:
    /// `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The URL that the API's paths follow: for OpenAI's up to and with `/v1`, for Anthropic's what stands before `/v1`, for
    /// Azure up to the deployment's name. Addresses of the cluster, of the node and of this machine are connected to only if
    /// the router's `--allow-targets` names them. A key is sent to a host given here only if the Secret names that host in
    /// its annotation `quartermaster.dev/hosts`.
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')")
            .message("spec.targets[].provider.baseUrl must be http:// or https://, a host, a port if need be, and a path; no user, query or fragment"),
        validation = Rule::new("!self.contains('/../') && !self.contains('/./') && !self.endsWith('/..') && !self.endsWith('/.')")
            .message("spec.targets[].provider.baseUrl must not hold '.' or '..' as a step of its path; name the path itself")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub base_url: Option<String>,
    /// The key of a Secret of the policy's namespace that holds the API key. For Bedrock without `key`: the Secret's
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary credentials, AWS_SESSION_TOKEN, with which requests are
    /// signed. New ones are in use within a minute. The router must be allowed to read that Secret: the chart's value
    /// `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<ProviderSecretRef>,
    /// The region of AWS whose Bedrock is asked, and which requests are signed for: `eu-central-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$"))]
    pub region: Option<String>,
    /// Version of Azure's API: the key then goes into the header `api-key`, and this into the query `api-version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[-A-Za-z0-9.]+$"))]
    pub api_version: Option<String>,
    /// The organisation that is billed, for keys that belong to several: the header `OpenAI-Organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-_A-Za-z0-9]+$"))]
    pub organization: Option<String>,
    /// The project that is billed: the header `OpenAI-Project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-_A-Za-z0-9]+$"))]
    pub project: Option<String>,
}

/// A Secret of the policy's namespace with a provider's credentials.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub name: String,
    /// Key in it, which holds the API key. For Bedrock, without it, an AWS access key is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// The keys of a Secret that hold an AWS access key: its id, its secret, and the token of temporary credentials, which only
/// those have. The names are those of the environment variables that AWS's tools read.
pub const AWS_KEYS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A Service of the policy's namespace behind which engines run that speak as vLLM does. They get every request as it came.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Port of the Service, in clear text.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name by which the engines know the model. Default: the name that the client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub model: Option<String>,
}
