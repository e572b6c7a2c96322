//! InferencePool: a model served by vLLM replicas.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// A model served by vLLM replicas on the nodes of this cluster.
///
/// Each replica is one pod with one engine. Applications reach the pool through the router, by a name that a RoutePolicy
/// (`routepolicies.quartermaster.dev`) lists.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "quartermaster.dev",
    version = "v1alpha1",
    kind = "InferencePool",
    plural = "inferencepools",
    namespaced,
    status = "InferencePoolStatus",
    shortname = "qpool",
    category = "quartermaster",
    doc = "A model served by vLLM replicas on the nodes of this cluster.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "MODEL", type_ = "string", json_path = ".spec.model.source", description = "Where the weights come from."),
    printcolumn(name = "READY", type_ = "integer", json_path = ".status.readyReplicas", description = "Replicas that can serve."),
    printcolumn(name = "DESIRED", type_ = "integer", json_path = ".spec.replicas", description = "Replicas asked for by a person or the autoscaler."),
    printcolumn(name = "IN-FLIGHT", type_ = "integer", json_path = ".status.inFlight", description = "Requests running and waiting in the replicas."),
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1, description = "Why the pool is ready, or not."),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name must have at most 52 characters, so that the names of the objects made for the pool fit into 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must start with a letter and hold only lower-case letters, digits and '-': a Service is named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.scaling) || self.scaling.minReplicas <= self.scaling.maxReplicas")
        .message("spec.scaling.minReplicas must not exceed spec.scaling.maxReplicas; raise maxReplicas or lower minReplicas")
)]
pub struct InferencePoolSpec {
    /// The model and the names it is served under.
    pub model: Model,
    /// How vLLM is run.
    pub engine: Engine,
    /// What each replica gets from its node.
    #[serde(default)]
    pub resources: Resources,
    /// Number of replicas asked for. Written through the `scale` subresource: by `kubectl scale`, or by the autoscaler when
    /// `scaling` is set. Leave it out of manifests that set `scaling`.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Lets a HorizontalPodAutoscaler set `replicas` by load. Absent: the number stays as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// How a replica leaves.
    #[serde(default)]
    pub drain: Drain,
}

/// The model and the names it is served under.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Where the weights are: `hf://organisation/name` (a model hub repository, fetched by the engine) or
    /// `file:///path` (a folder inside the engine's container).
    #[x_kube(
        validation = Rule::new("self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$') || self.matches('^file:///[^ ]+$')")
            .message("spec.model.source must be hf://organisation/name or file:///absolute/path")
    )]
    #[schemars(length(min = 1, max = 512))]
    pub source: String,
    /// Names that the engine answers to; the first labels its metrics. Default: the pool's name.
    #[x_kube(
        validation = Rule::new("self.all(n, !n.startsWith('-'))")
            .message("spec.model.servedNames must not start with '-': the engine would take the name for a flag")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub served_names: Vec<String>,
}

/// How vLLM is run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// Container image whose entry point is `vllm serve`, with a tag or digest, for example
    /// `vllm/vllm-openai:v0.32.0`. A moving tag is refused, because replicas of one pool must run the same engine.
    #[x_kube(
        validation = Rule::new("!self.endsWith(':latest') && (self.contains('@') || self.matches('.*:[^/]+$'))")
            .message("spec.engine.image needs a fixed tag or digest, for example vllm/vllm-openai:v0.32.0; 'latest' would let replicas differ")
    )]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Longest prompt plus answer, in tokens (`--max-model-len`). Default: what the model allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_model_len: Option<i32>,
    /// Most requests that one replica runs at the same time; further ones wait in its queue (`--max-num-seqs`).
    /// Default: the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_num_seqs: Option<i32>,
    /// Further arguments of `vllm serve`, passed on as they are. Arguments that the operator sets itself are refused.
    #[x_kube(
        validation = Rule::new("!self.exists(a, a.matches('^--(model|served-model-name|host|port|uds|shutdown-timeout|max-model-len|max-num-seqs|root-path|ssl-[a-z-]+|api-key|config)(=.*)?$'))")
            .message("spec.engine.extraArgs sets an argument that the operator owns (--model, --served-model-name, --host, --port, --uds, --shutdown-timeout, --max-model-len, --max-num-seqs, --root-path, --ssl-*, --api-key, --config); use the field of the pool that stands for it, or leave it out"),
        validation = Rule::new("self.all(a, !a.contains('_') || !a.startsWith('--') || a.split('=', 2)[0].indexOf('_') < 0)")
            .message("spec.engine.extraArgs must spell flags with '-', not '_': --enable-lora, not --enable_lora")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub extra_args: Vec<String>,
    /// Environment variables of the engine.
    #[x_kube(
        validation = Rule::new("!self.exists(e, e.name == 'VLLM_SERVER_DEV_MODE' && e.value != '0')")
            .message("spec.engine.env must not set VLLM_SERVER_DEV_MODE: it opens administration routes of the engine to everyone who reaches the pod; remove it"),
        validation = Rule::new("!self.exists(e, e.name == 'VLLM_API_KEY')")
            .message("spec.engine.env must not set VLLM_API_KEY: the router calls the engine without one and would be locked out; remove it")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
}

/// One environment variable.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name, for example `HF_HUB_OFFLINE`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Value, in clear text.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// What each replica gets from its node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// GPUs. Absent: the engine runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Processor time requested, for example "4" or "500m".
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]+(m|[.][0-9]{1,3})?$')")
            .message("spec.resources.cpu must be a number of cores such as \"4\" or thousandths such as \"500m\"")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub cpu: Option<String>,
    /// Memory requested, and the limit, for example "24Gi".
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]+(Ki|Mi|Gi|Ti)$')")
            .message("spec.resources.memory must be a whole number with a unit Ki, Mi, Gi or Ti, for example \"24Gi\"")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub memory: Option<String>,
}

/// GPUs of one replica.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Name under which the nodes offer them.
    #[serde(default = "default_gpu_resource")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"))]
    pub resource_name: String,
    /// How many each replica holds.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
}

/// Scaling by load: a HorizontalPodAutoscaler on this pool's `scale` subresource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest replicas.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most replicas.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// The load that one replica should carry.
    pub target: ScalingTarget,
    /// How long the load must have been lower before replicas are removed, at most an hour. Starting an engine is slow, so
    /// removing one too early costs more than keeping it.
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('1h')")
            .message("spec.scaling.scaleDownStabilization must be at most 1h")
    )]
    #[serde(default = "default_scale_down")]
    pub scale_down_stabilization: Duration,
}

/// The load that one replica should carry.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingTarget {
    /// Requests running or waiting per replica.
    #[schemars(range(min = 1, max = 100_000))]
    pub in_flight_per_replica: i32,
}

/// How a replica leaves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long a leaving replica may take to finish the requests it runs, from one second to a day.
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
            .message("spec.drain.timeout must lie between 1s and 24h")
    )]
    #[serde(default = "default_drain")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: default_drain() }
    }
}

/// What the operator saw last.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InferencePoolStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas that exist, ready or not, without those that a rollout adds for a while.
    #[serde(default)]
    pub replicas: i32,
    /// Replicas that can serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Requests running and waiting in the replicas, as of the last look. Absent while no replica has been asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// Label selector of the replicas' pods, for the `scale` subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Ready; Available; Scaled; Reconciling or Stalled while not at rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn default_replicas() -> i32 {
    1
}

fn one() -> i32 {
    1
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}

fn default_scale_down() -> Duration {
    Duration::from_seconds(300)
}

fn default_drain() -> Duration {
    Duration::from_seconds(120)
}
