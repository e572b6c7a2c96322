//! What the pools say of themselves, as figures for Prometheus: the replicas and the conditions in their statuses.
//!
//! They are read off the watch's store when somebody asks, so they cost nothing between two scrapes, and a pool that is gone
//! leaves no figure behind.

use api::InferencePool;
use kube::runtime::reflector::Store;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

use crate::guarded::GuardedPool;

/// Figures of all pools of a store.
pub(crate) struct PoolFigures {
    pools: Store<GuardedPool>,
    /// Tells the registry what is collected; never filled.
    empty: Figures,
}

struct Figures {
    replicas: IntGaugeVec,
    conditions: IntGaugeVec,
}

impl PoolFigures {
    /// Adds the figures to a registry.
    pub(crate) fn register(pools: Store<GuardedPool>, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Self { pools, empty: Figures::new()? }))
    }
}

impl Collector for PoolFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.replicas.desc().into_iter().chain(self.empty.conditions.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew each time, so that two who ask at once do not empty each other's.
        let Ok(figures) = Figures::new() else { return Vec::new() };
        for guarded in self.pools.state() {
            if let Ok(pool) = &guarded.0 {
                figures.add(pool);
            }
        }
        figures.replicas.collect().into_iter().chain(figures.conditions.collect()).collect()
    }
}

impl Figures {
    fn new() -> Result<Self, prometheus::Error> {
        let replicas = "Replicas of a pool: desired, present (ready or not) and ready.";
        let conditions =
            "Conditions of a pool: 1 while it is true, 0 while it is false. One that is not there has no figure.";
        Ok(Self {
            replicas: IntGaugeVec::new(
                Opts::new("quartermaster_operator_pool_replicas", replicas),
                &["namespace", "pool", "state"],
            )?,
            conditions: IntGaugeVec::new(
                Opts::new("quartermaster_operator_pool_condition", conditions),
                &["namespace", "pool", "condition", "reason"],
            )?,
        })
    }

    fn add(&self, pool: &InferencePool) {
        let namespace = pool.metadata.namespace.as_deref().unwrap_or_default();
        let name = pool.metadata.name.as_deref().unwrap_or_default();
        let status = pool.status.clone().unwrap_or_default();
        let counts = [("desired", pool.spec.replicas), ("present", status.replicas), ("ready", status.ready_replicas)];
        for (state, count) in counts {
            self.replicas.with_label_values(&[namespace, name, state]).set(count.into());
        }
        for condition in &status.conditions {
            let labels = [namespace, name, condition.type_.as_str(), condition.reason.as_str()];
            match condition.status.as_str() {
                "True" => self.conditions.with_label_values(&labels).set(1),
                "False" => self.conditions.with_label_values(&labels).set(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use prometheus::TextEncoder;
    use serde_json::json;

    fn page(pools: &[serde_json::Value]) -> String {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Init);
        for pool in pools {
            writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(pool.clone()).unwrap()));
        }
        writer.apply_watcher_event(&Event::InitDone);
        let registry = Registry::new();
        PoolFigures::register(store, &registry).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |page, line| page + line + "\n")
    }

    #[test]
    fn pools_become_figures() {
        let head = |name: &str| json!({"name": name, "namespace": "ml"});
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "Because", "message": "",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let spec = json!({"model": {"source": "hf://a/b"}, "engine": {"image": "vllm:v1"}, "replicas": 3});
        let conditions =
            json!([condition("Ready", "False"), condition("Stalled", "True"), condition("Scaled", "Unknown")]);
        let pool = json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": head("a"), "spec": spec,
            "status": {"replicas": 2, "readyReplicas": 1, "conditions": conditions},
        });
        let garbage = json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": head("b"), "spec": 7,
        });
        let of = |name: &str, rest: &str| format!("quartermaster_operator_pool_{name}{{{rest}}}");
        let want = [
            of("condition", r#"condition="Ready",namespace="ml",pool="a",reason="Because""#) + " 0",
            of("condition", r#"condition="Stalled",namespace="ml",pool="a",reason="Because""#) + " 1",
            of("replicas", r#"namespace="ml",pool="a",state="desired""#) + " 3",
            of("replicas", r#"namespace="ml",pool="a",state="present""#) + " 2",
            of("replicas", r#"namespace="ml",pool="a",state="ready""#) + " 1",
        ];
        let page = page(&[pool, garbage]);
        assert_eq!(page.lines().collect::<Vec<_>>(), want);
    }
}
