//! How many replicas there are, how they are replaced, how they leave, and who may use them.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::LabelValue;
use crate::Duration;

/// Scaling by load: a HorizontalPodAutoscaler on this pool's `scale` subresource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest replicas, however low the load.
    #[serde(default = "super::one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most replicas, however high the load.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// The load that one replica should carry. Of several figures the one that asks for most replicas holds.
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

/// The load that one replica should carry: one figure or several.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.inFlightPerReplica) || has(self.queuedPerReplica) || has(self.kvCacheUsagePercent)")
        .message("spec.scaling.target needs at least one of inFlightPerReplica, queuedPerReplica and kvCacheUsagePercent")
)]
pub struct ScalingTarget {
    /// Requests running or waiting per replica. The best first choice: it rises as soon as requests come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub in_flight_per_replica: Option<i32>,
    /// Requests waiting in the engine's queue per replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub queued_per_replica: Option<i32>,
    /// Share of the KV cache in use, in percent, as the mean of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub kv_cache_usage_percent: Option<i32>,
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

/// How new settings reach the replicas: always one more replica first, then one old one less.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// What happens when no node has room for the one more replica that a rollout starts first, for example because all GPUs
    /// are in use:
    ///
    /// * `Wait`: the rollout waits for room;
    /// * `ReplaceOneByOne`: it stops an old replica first, as long as another one goes on serving;
    /// * `ReplaceEvenLast`: it does so even with the last one; nothing serves until the new one has started.
    #[serde(default)]
    pub on_shortage: OnShortage,
}

/// What a rollout does when there is no room for one more replica.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnShortage {
    /// Wait for room.
    Wait,
    /// Stop old replicas first, at most `disruption.maxUnavailable` at a time (at least one), as long as one replica goes on
    /// serving. A pool of one replica waits.
    #[default]
    ReplaceOneByOne,
    /// The same, even when it stops the last replica: nothing serves until the new one has started.
    ReplaceEvenLast,
}

/// What nodes may do to the pool while they are drained.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// Replicas that may be away at once because nodes are drained or replaced (a PodDisruptionBudget). With 0, a node with a
    /// replica on it cannot be drained.
    #[serde(default = "super::one")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_unavailable: i32,
}

/// Who may use the pool.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// Namespaces whose RoutePolicies may name the pool.
    #[serde(default)]
    pub namespaces: ExposedTo,
    /// Let every pod of the pool's own namespace call the engines themselves, past the router and its limits. The pool's
    /// NetworkPolicy otherwise admits only the router and the operator.
    #[serde(default)]
    pub direct_access: bool,
}

/// A choice of namespaces. The pool's own is always among them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
        .message("spec.exposure.namespaces.selector goes with from: Selector, and only with it")
)]
pub struct ExposedTo {
    /// Which namespaces: `Same` (the pool's own), `All`, or `Selector` (those with the labels of `selector`, and the pool's
    /// own).
    #[serde(default)]
    pub from: NamespacesFrom,
    /// With `from: Selector`, the labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Which namespaces are chosen.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespacesFrom {
    /// The pool's own.
    #[default]
    Same,
    /// All.
    All,
    /// Those with the labels of `selector`, and the pool's own.
    Selector,
}

/// Labels of namespaces.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, all of them. `kubernetes.io/metadata.name` is a namespace's name.
    #[x_kube(
        validation = Rule::new("size(self) > 0")
            .message("spec.exposure.namespaces.selector.matchLabels is empty, which would mean every namespace; say from: All for that")
    )]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, LabelValue>,
}

impl Exposure {
    /// Whether the pool, which is in the namespace `own`, admits policies of the namespace `from`. `labels` are those of
    /// `from`; where they are not known, a selector admits nobody.
    #[must_use]
    pub fn admits(&self, own: &str, from: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let chosen = || {
            let (Some(selector), Some(labels)) = (&self.namespaces.selector, labels) else { return false };
            let wanted = &selector.match_labels;
            !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(&value.0))
        };
        own == from
            || match self.namespaces.from {
                NamespacesFrom::Same => false,
                NamespacesFrom::All => true,
                NamespacesFrom::Selector => chosen(),
            }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: default_drain() }
    }
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_unavailable: 1 }
    }
}

fn default_scale_down() -> Duration {
    Duration::from_seconds(300)
}

fn default_drain() -> Duration {
    Duration::from_seconds(120)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(exposure: &Value, from: &str, want: bool) {
        let labels: BTreeMap<String, String> = [("team".to_owned(), "a".to_owned())].into();
        let parsed: Exposure = serde_json::from_value(exposure.clone()).unwrap();
        assert_eq!(parsed.admits("ml", from, Some(&labels)), want, "{exposure} from {from}");
    }

    #[test]
    fn admits_whom_it_names() {
        let selector = |team: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}});
        check(&json!({}), "ml", true);
        check(&json!({}), "apps", false);
        check(&json!({"namespaces": {"from": "All"}}), "apps", true);
        check(&json!({"namespaces": selector("a")}), "apps", true);
        check(&json!({"namespaces": selector("b")}), "apps", false);
        check(&json!({"namespaces": selector("b")}), "ml", true);
        check(&json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {}}}}), "apps", false);
        check(&json!({"namespaces": {"from": "Selector"}}), "apps", false);
        let chosen: Exposure = serde_json::from_value(json!({"namespaces": selector("a")})).unwrap();
        assert!(!chosen.admits("ml", "apps", None), "labels that are not known admit nobody");
    }
}
