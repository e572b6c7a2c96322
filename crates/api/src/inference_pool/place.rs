//! What each replica gets from its node, and which nodes are fit.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DNS_NAME, LABEL_KEY};

/// What each replica gets from its node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// GPUs. Absent: the engine runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Processor time requested, for example "4" or "500m". It is not limited: starting an engine uses all there is.
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]{1,6}(m|[.][0-9]{1,3})?$')")
            .message("spec.resources.cpu must be a number of cores such as \"4\" or thousandths such as \"500m\"")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub cpu: Option<String>,
    /// Memory requested, and the limit, for example "24Gi". The replica's shared memory counts.
    #[x_kube(
        validation = Rule::new("self.matches('^[1-9][0-9]{0,9}(Ki|Mi|Gi)$') || self.matches('^[1-9][0-9]{0,3}Ti$')")
            .message("spec.resources.memory must be a whole number above 0 with a unit Ki, Mi, Gi or Ti, for example \"24Gi\"")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub memory: Option<String>,
}

/// GPUs of one replica.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Name under which the nodes offer them, for example `nvidia.com/gpu`, `nvidia.com/mig-3g.40gb` or `amd.com/gpu`.
    #[serde(default = "default_gpu_resource")]
    #[schemars(
        length(min = 3, max = 253),
        regex(
            pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub resource_name: String,
    /// How many each replica holds.
    #[serde(default = "super::one")]
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
}

/// Which nodes are fit for the replicas, and how they are spread.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have.
    #[x_kube(
        validation = Rule::new("self.all(k, k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))")
            .message("spec.placement.nodeSelector holds a key that no label can have; keys are like nvidia.com/gpu.product")
    )]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, LabelValue>,
    /// Taints of nodes that the replicas tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Over what the replicas are spread. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey"]))]
    pub topology_spread: Vec<TopologySpread>,
    /// Name of a PriorityClass. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub priority_class_name: Option<String>,
    /// Name of a RuntimeClass, for example `nvidia`. Default: the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub runtime_class_name: Option<String>,
}

/// Value of a label: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
#[schemars(inline)]
pub struct LabelValue(
    #[schemars(length(max = 63), regex(pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"))] pub String,
);

/// A taint that is tolerated.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator != 'Exists' || !has(self.value)")
        .message("a toleration with operator Exists has no value; remove value or use operator Equal"),
    validation = Rule::new("has(self.key) || self.operator == 'Exists'")
        .message("a toleration without key tolerates every taint and needs operator Exists"),
    validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')")
        .message("tolerationSeconds of a toleration needs effect NoExecute")
)]
pub struct Toleration {
    /// Key of the taint. Absent: every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = LABEL_KEY)
    )]
    pub key: Option<String>,
    /// `Equal`: the taint has this `value`. `Exists`: it has any.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint, for the operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"))]
    pub value: Option<String>,
    /// Effect of the taint: `NoSchedule`, `PreferNoSchedule` or `NoExecute`. Absent: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a replica stays on a node that got the taint. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub toleration_seconds: Option<i64>,
}

/// How the value of a taint is compared.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TolerationOperator {
    /// The taint's value is `value`.
    #[default]
    Equal,
    /// Any value will do.
    Exists,
}

/// What a taint does.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// No new pods where others will do.
    PreferNoSchedule,
    /// No pods at all.
    NoExecute,
}

/// One way of spreading replicas.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// Label of nodes whose values are the places, for example `topology.kubernetes.io/zone` or `kubernetes.io/hostname`.
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = LABEL_KEY)
    )]
    pub topology_key: String,
    /// By how many replicas the fullest place may be ahead of the emptiest.
    #[serde(default = "super::one")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_skew: i32,
    /// What happens when that cannot be kept. `ScheduleAnyway`: a replica starts all the same. `DoNotSchedule`: it waits.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What happens when replicas cannot be spread as asked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnsatisfiable {
    /// A replica starts anyway.
    #[default]
    ScheduleAnyway,
    /// A replica waits.
    DoNotSchedule,
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}
