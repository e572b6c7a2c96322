//! The HorizontalPodAutoscaler of a pool. It scales the pool, not the Deployment: so the number has one way to go, from the
//! autoscaler or a person to the pool's `scale`, and from there by the operator to the Deployment.

use api::{CACHE_USAGE_METRIC, GROUP, IN_FLIGHT_METRIC, Scaling, VERSION, WAITING_METRIC};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
    ObjectMetricSource,
};

use super::identity::metadata;
use super::quantity;
use super::validate::ValidPool;
use crate::plan::ChildKind;

/// Seconds between two steps down.
const STEP_SECONDS: i32 = 30;

/// Longest time in seconds for which a load must have been higher before replicas are added. The autoscaler looks every 15
/// seconds: one look at a short peak must not start an engine, which costs minutes of a GPU. Against the time that engines
/// take to start it is little.
const UP_SECONDS: i32 = 30;

pub(super) fn of(pool: &ValidPool) -> Option<HorizontalPodAutoscaler> {
    let scaling = pool.spec.scaling.as_ref()?;
    Some(HorizontalPodAutoscaler {
        metadata: metadata(pool, ChildKind::Autoscaler),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: the_pool(pool),
            min_replicas: Some(scaling.min_replicas),
            max_replicas: scaling.max_replicas,
            metrics: Some(metrics(pool, scaling)),
            behavior: Some(behavior(scaling)),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

fn the_pool(pool: &ValidPool) -> CrossVersionObjectReference {
    CrossVersionObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: "InferencePool".to_owned(),
        name: pool.name.clone(),
    }
}

/// One entry for each figure that the pool is scaled by. The autoscaler takes the one that asks for most replicas.
fn metrics(pool: &ValidPool, scaling: &Scaling) -> Vec<MetricSpec> {
    let per_replica = |count: i32| MetricTarget {
        type_: "AverageValue".to_owned(),
        average_value: Some(quantity::number(i64::from(count))),
        ..MetricTarget::default()
    };
    let share = |percent: i32| MetricTarget {
        type_: "Value".to_owned(),
        value: Some(quantity::percent(percent)),
        ..MetricTarget::default()
    };
    let target = &scaling.target;
    let figures = [
        (IN_FLIGHT_METRIC, target.in_flight_per_replica.map(per_replica)),
        (WAITING_METRIC, target.queued_per_replica.map(per_replica)),
        (CACHE_USAGE_METRIC, target.kv_cache_usage_percent.map(share)),
    ];
    figures.into_iter().filter_map(|(name, target)| Some(of_the_pool(pool, name, target?))).collect()
}

fn of_the_pool(pool: &ValidPool, name: &str, target: MetricTarget) -> MetricSpec {
    MetricSpec {
        type_: "Object".to_owned(),
        object: Some(ObjectMetricSource {
            described_object: the_pool(pool),
            metric: MetricIdentifier { name: name.to_owned(), selector: None },
            target,
        }),
        ..MetricSpec::default()
    }
}

/// Up soon and in large steps, because requests are waiting and an engine takes minutes to start. Down only after the load
/// has been lower for a while, and then in steps small enough that a drained replica's cache is not missed everywhere at once.
/// Who asks for a stabilisation shorter than [`STEP_SECONDS`] wants to shrink quickly, and gets steps as short as that; and
/// the time that a load must have been higher is a tenth of it at most.
///
/// The autoscaler's tolerance stays at its 10 %: to set it here would need Kubernetes 1.35.
fn behavior(scaling: &Scaling) -> HorizontalPodAutoscalerBehavior {
    let window = scaling.scale_down_stabilization.seconds();
    let (step, up) = (window.clamp(1, STEP_SECONDS), (window / 10).clamp(0, UP_SECONDS));
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(rules(up, [("Percent", 100, 15), ("Pods", 4, 15)])),
        scale_down: Some(rules(window, [("Percent", 25, step), ("Pods", 1, step)])),
    }
}

/// Of the policies, given as type, value and period in seconds, the one that allows the larger step holds.
fn rules(stabilization_seconds: i32, policies: [(&str, i32, i32); 2]) -> HPAScalingRules {
    let policy = |(type_, value, period_seconds): (&str, i32, i32)| HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds,
    };
    HPAScalingRules {
        stabilization_window_seconds: Some(stabilization_seconds),
        select_policy: Some("Max".to_owned()),
        policies: Some(policies.map(policy).into()),
        ..HPAScalingRules::default()
    }
}

#[cfg(test)]
mod simulation;
