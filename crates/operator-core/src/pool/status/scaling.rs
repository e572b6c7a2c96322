//! Whether a pool's autoscaler can see what it scales by.

use api::conditions::reason;

use super::Because;
use crate::metrics_api::MetricsApi;
use crate::pool::{Observed, ValidPool};

/// What the condition `ScalingActive` says. `None` where it has no place: without an autoscaler, or before that has looked.
///
/// The autoscaler has the last word: where another server has our figures, they are as good as ours. Its own message is not
/// repeated here, because it tells ages, and would make the status change with every look.
pub(super) fn active(seen: &Observed, pool: &ValidPool) -> Option<(bool, Because)> {
    pool.spec.scaling.as_ref()?;
    let autoscaler = seen.autoscaler();
    let conditions = autoscaler.and_then(|autoscaler| autoscaler.status.as_ref()?.conditions.as_deref());
    let judged = conditions.unwrap_or_default().iter().find(|c| c.type_ == "ScalingActive");
    let obstacle = obstacle(&seen.metrics_api);
    if pool.spec.replicas == 0 {
        let message = "the autoscaler rests until spec.replicas is at least 1".to_owned();
        return Some((false, (reason::SCALED_TO_ZERO, message)));
    }
    match (judged.map(|judged| judged.status == "True"), obstacle) {
        (Some(true), Some(_)) => {
            let message = "the autoscaler reads the pool's load from another server than the operator".to_owned();
            Some((true, (reason::METRIC_FOUND, message)))
        }
        (Some(true), None) => Some((true, (reason::METRIC_FOUND, "the autoscaler reads the pool's load".to_owned()))),
        (_, Some(obstacle)) => Some((false, obstacle)),
        (Some(false), None) if seen.deployment().and_then(|d| d.status.as_ref()?.ready_replicas).unwrap_or(0) == 0 => {
            let message = "no replica is ready, so there is no load to scale by".to_owned();
            Some((false, (reason::NO_REPLICA_READY, message)))
        }
        (Some(false), None) => {
            let name = autoscaler.and_then(|autoscaler| autoscaler.metadata.name.as_deref()).unwrap_or_default();
            let message = format!(
                "the autoscaler cannot read the pool's load: kubectl describe horizontalpodautoscaler {name} says why"
            );
            Some((false, (reason::METRIC_UNKNOWN, message)))
        }
        (None, None) => None,
    }
}

fn obstacle(api: &MetricsApi) -> Option<Because> {
    let reason = match api {
        MetricsApi::Unknown | MetricsApi::Ours => return None,
        MetricsApi::Off | MetricsApi::Absent => reason::METRICS_API_ABSENT,
        MetricsApi::Foreign { .. } => reason::METRICS_API_FOREIGN,
        MetricsApi::Unreachable { .. } => reason::METRICS_API_UNREACHABLE,
    };
    Some((reason, api.obstacle()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_api::Owner;
    use crate::plan::Child;
    use crate::pool::validate;
    use serde_json::json;

    #[test]
    fn the_autoscaler_has_the_last_word() {
        let pool = |replicas: i32| {
            let pool = json!({
                "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
                "metadata": {"name": "llama", "namespace": "ml", "uid": "u", "generation": 4},
                "spec": {
                    "model": {"source": "hf://org/name"}, "engine": {"image": "engine:v1"}, "replicas": replicas,
                    "scaling": {"maxReplicas": 3, "target": {"inFlightPerReplica": 8}},
                },
            });
            validate(&serde_json::from_value(pool).unwrap()).unwrap()
        };
        let check = |replicas: i32, judged: &str, ready: i32, metrics_api: &MetricsApi, want: Option<(bool, &str)>| {
            let mut autoscaler = json!({"metadata": {"name": "llama"}});
            if !judged.is_empty() {
                autoscaler["status"] =
                    json!({"desiredReplicas": 1, "conditions": [{"type": "ScalingActive", "status": judged}]});
            }
            let deployment = json!({"metadata": {}, "status": {"readyReplicas": ready}});
            let children = vec![
                Child::Autoscaler(serde_json::from_value(autoscaler).unwrap()),
                Child::Deployment(serde_json::from_value(deployment).unwrap()),
            ];
            let seen = Observed { children, metrics_api: metrics_api.clone(), ..Observed::default() };
            let got = active(&seen, &pool(replicas));
            assert_eq!(got.map(|(is, (reason, _))| (is, reason)), want, "{replicas} {judged:?} {metrics_api:?}");
        };
        let owner = Owner::Service("monitoring/adapter".to_owned());
        let foreign = MetricsApi::Foreign { name: "v1beta2.custom.metrics.k8s.io".to_owned(), owner };
        check(1, "", 1, &MetricsApi::Ours, None);
        check(1, "True", 1, &MetricsApi::Ours, Some((true, "MetricFound")));
        check(1, "False", 0, &MetricsApi::Ours, Some((false, "NoReplicaReady")));
        check(1, "False", 1, &MetricsApi::Ours, Some((false, "MetricUnknown")));
        check(0, "False", 0, &MetricsApi::Ours, Some((false, "ScaledToZero")));
        check(1, "", 1, &foreign, Some((false, "MetricsApiForeign")));
        check(1, "False", 1, &foreign, Some((false, "MetricsApiForeign")));
        check(1, "True", 1, &foreign, Some((true, "MetricFound")));
        check(1, "False", 1, &MetricsApi::Absent, Some((false, "MetricsApiAbsent")));
        check(1, "False", 1, &MetricsApi::Off, Some((false, "MetricsApiAbsent")));
    }
}
