//! The kinds of `quartermaster.dev/v1alpha1`: their specs, statuses and condition names, and the CEL rules that refuse a
//! wrong spec at `kubectl apply`.
//!
//! This crate holds data and what they mean: it never talks to a cluster, reads a clock or plans anything. Its doc comments become the
//! descriptions in the CRDs and in `docs/reference`. Start with [`InferencePoolSpec`].

#![expect(unreachable_pub, reason = "KubeSchema repeats each type inside a function body, where nothing is reachable")]
#![expect(clippy::duplicated_attributes, reason = "each printcolumn has its own type_ and json_path")]

mod base_url;
pub mod conditions;
mod duration;
mod first_status;
mod inference_pool;
mod route_policy;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use base_url::{BadUrl, BaseUrl};
pub use duration::{BadDuration, Duration};
pub use inference_pool::{
    Cache, ChatTemplate, CredentialsRef, Disruption, Drain, Dtype, Engine, EnvSource, EnvVar, ExposedTo, Exposure, Gpu,
    InferencePool, InferencePoolSpec, InferencePoolStatus, KeyRef, LabelValue, Model, NamespaceSelector,
    NamespacesFrom, OnShortage, Placement, Resources, Rollout, Scaling, ScalingTarget, TaintEffect, Toleration,
    TolerationOperator, TopologySpread, WhenUnsatisfiable,
};
pub use route_policy::{
    AWS_KEYS, Access, Breaker, Complexity, Destination, FallbackReason, Hedge, KEYS_SECRET, Mirror, Oidc, PoolRef,
    Price, Provider, ProviderKind, ProviderSecretRef, Retries, RoutePolicy, RoutePolicySpec, RoutePolicyStatus,
    RouteRule, RuleTargets, ServiceRef, SessionAffinity, Target, Timeouts, Weighted,
};

/// API group of all our kinds.
pub const GROUP: &str = "quartermaster.dev";
/// The one API version served and stored.
pub const VERSION: &str = "v1alpha1";

/// Names of most objects: DNS names (RFC 1123).
const DNS_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Keys of labels and taints: a word, with a DNS name and a slash before it or not.
const LABEL_KEY: &str = concat!(
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
);

/// Label on every object and pod made for a pool; its value is the pool's name.
pub const POOL_LABEL: &str = "quartermaster.dev/pool";
/// Label on the pods of a pool's replicas; its value stands for the settings that the replica runs, and is the same for two
/// replicas exactly when their settings are.
pub const SETTINGS_LABEL: &str = "quartermaster.dev/settings";

/// Annotation on a Secret with a provider's key: the hosts, besides the provider's own, that the key may be sent to, with
/// commas between them.
pub const HOSTS_ANNOTATION: &str = "quartermaster.dev/hosts";

/// TCP port on which an engine pod serves its API, health and metrics.
pub const ENGINE_PORT: i32 = 8000;

/// Name of the load metric of a pool at `custom.metrics.k8s.io`: requests running and waiting in its replicas.
pub const IN_FLIGHT_METRIC: &str = "vllm_inflight_requests";
/// The same, of requests that an engine is computing.
pub const RUNNING_METRIC: &str = "vllm_requests_running";
/// The same, of requests that wait in an engine for a place.
pub const WAITING_METRIC: &str = "vllm_requests_waiting";
/// How full the KV caches are, from 0 to 1; of a pool, the mean of its ready replicas.
pub const CACHE_USAGE_METRIC: &str = "vllm_kv_cache_usage";

/// The definitions of all kinds, in the order in which they are installed.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![first_status::given(InferencePool::crd()), first_status::given(RoutePolicy::crd())]
}
