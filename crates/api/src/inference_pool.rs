//! InferencePool: a model served by vLLM replicas.

mod engine;
mod model;
mod place;
mod scale;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use engine::{ChatTemplate, Dtype, Engine, EnvSource, EnvVar};
pub use model::{Cache, CredentialsRef, KeyRef, Model};
pub use place::{
    Gpu, LabelValue, Placement, Resources, TaintEffect, Toleration, TolerationOperator, TopologySpread,
    WhenUnsatisfiable,
};
pub use scale::{
    Disruption, Drain, ExposedTo, Exposure, NamespaceSelector, NamespacesFrom, OnShortage, Rollout, Scaling,
    ScalingTarget,
};

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
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why the pool is ready, or not."),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "ENGINE", type_ = "string", json_path = ".status.image", priority = 1, description = "Image of the engine."),
    printcolumn(name = "USED-BY", type_ = "string", json_path = ".status.usedBy", priority = 1, description = "RoutePolicies that send requests to the pool."),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1, description = "The same as STATUS, for people."),
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name must have at most 52 characters, so that the names of the objects made for the pool fit into 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must start with a letter and hold only lower-case letters, digits and '-': a Service is named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.scaling) || self.scaling.minReplicas <= self.scaling.maxReplicas")
        .message("spec.scaling.minReplicas must not exceed spec.scaling.maxReplicas; raise maxReplicas or lower minReplicas"),
    validation = Rule::new("!has(self.resources.gpu) || !(has(self.engine.tensorParallelSize) || has(self.engine.pipelineParallelSize)) || (has(self.engine.tensorParallelSize) ? self.engine.tensorParallelSize * (has(self.engine.pipelineParallelSize) ? self.engine.pipelineParallelSize : 1) == self.resources.gpu.count : self.resources.gpu.count % self.engine.pipelineParallelSize == 0)")
        .message("spec.resources.gpu.count must be spec.engine.tensorParallelSize times spec.engine.pipelineParallelSize: an engine uses each GPU of its replica once")
)]
pub struct InferencePoolSpec {
    /// The model and the names it is served under.
    pub model: Model,
    /// How vLLM is run.
    pub engine: Engine,
    /// What each replica gets from its node.
    #[serde(default)]
    pub resources: Resources,
    /// Which nodes are fit for the replicas, and how they are spread.
    #[serde(default)]
    pub placement: Placement,
    /// Number of replicas asked for. Written through the `scale` subresource: by `kubectl scale`, or by the autoscaler when
    /// `scaling` is set. Leave it out of manifests that set `scaling`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Lets a HorizontalPodAutoscaler set `replicas` by load. Absent: the number stays as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// How a replica leaves.
    #[serde(default)]
    pub drain: Drain,
    /// How new settings reach the replicas: one more replica is started first, then an old one is stopped.
    #[serde(default)]
    pub rollout: Rollout,
    /// How many replicas may be away while nodes are drained.
    #[serde(default)]
    pub disruption: Disruption,
    /// Who may use the pool.
    #[serde(default)]
    pub exposure: Exposure,
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
    /// Replicas, ready or not, that run the settings of the spec.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Requests running and waiting in the replicas, as of the last look. Absent while no replica has been asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// Label selector of the replicas' pods, for the `scale` subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Image that new replicas run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// RoutePolicies that send requests to the pool, as namespace/name; at most 16, and then how many more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub used_by: Vec<String>,
    /// How the pool is, with a reason and a message each:
    ///
    /// * `Ready`: it is as the spec asks;
    /// * `Available`: at least one replica can serve;
    /// * `Scaled`: as many replicas are ready as are asked for;
    /// * `Reconciling`: it is on its way, and nobody need do anything; absent at rest;
    /// * `Stalled`: it cannot get on without a person; absent otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn one() -> i32 {
    1
}
