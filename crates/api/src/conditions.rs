//! Condition types and reasons, and how a list of conditions changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object does what its spec asks for.
pub const READY: &str = "Ready";
/// Work towards the spec is under way (kstatus: `InProgress`).
pub const RECONCILING: &str = "Reconciling";
/// No progress without a person (kstatus: `Failed`).
pub const STALLED: &str = "Stalled";
/// At least one replica of a pool can serve.
pub const AVAILABLE: &str = "Available";
/// A pool's number of ready replicas is the desired one.
pub const SCALED: &str = "Scaled";
/// The autoscaler of a pool can read the figures that it scales by. There only while the pool is to be scaled by load.
pub const SCALING_ACTIVE: &str = "ScalingActive";
/// Every argument of a pool's engine is one that its version takes. False where that cannot be told.
pub const ARGUMENTS_KNOWN: &str = "ArgumentsKnown";
/// A policy is well-formed and in effect.
pub const ACCEPTED: &str = "Accepted";
/// Everything that a policy refers to exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";

/// Reasons, in CamelCase as Kubernetes asks. Messages for people stand where the reason is used.
pub mod reason {
    /// The operator has not looked at the object yet.
    pub const PENDING: &str = "Pending";
    /// All desired replicas are ready.
    pub const ALL_REPLICAS_READY: &str = "AllReplicasReady";
    /// At least one replica serves.
    pub const SERVING: &str = "Serving";
    /// No replica is ready yet.
    pub const NO_REPLICA_READY: &str = "NoReplicaReady";
    /// More replicas are starting.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Replicas are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// New engine settings are being rolled out.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// There is no room for one more replica during a rollout, so old ones leave before new ones start.
    pub const REPLACING_ONE_BY_ONE: &str = "ReplacingOneByOne";
    /// There is no room for one more replica during a rollout, and no old one may leave first.
    pub const WAITING_FOR_ROOM: &str = "WaitingForRoom";
    /// Nothing is left to do.
    pub const SETTLED: &str = "Settled";
    /// The spec has a mistake that the API server could not see.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// A new pod could not be made or started in time.
    pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
    /// No replica is asked for, and none is there.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// An object of the pool belongs to somebody else, or somebody else has changed it.
    pub const BLOCKED: &str = "Blocked";
    /// The API server will not do what the pool needs, for example for want of rights.
    pub const REFUSED: &str = "Refused";
    /// The API server has failed several times to do what the pool needs. It is asked again, at growing intervals.
    pub const RETRYING: &str = "Retrying";
    /// Pods cannot be made, for example because a quota is used up.
    pub const REPLICA_FAILURE: &str = "ReplicaFailure";
    /// The autoscaler reads the pool's figures.
    pub const METRIC_FOUND: &str = "MetricFound";
    /// The autoscaler cannot read the pool's figures.
    pub const METRIC_UNKNOWN: &str = "MetricUnknown";
    /// Another server answers the autoscaler, or another program has settled whom the API server trusts.
    pub const METRICS_API_FOREIGN: &str = "MetricsApiForeign";
    /// Nobody answers the autoscaler.
    pub const METRICS_API_ABSENT: &str = "MetricsApiAbsent";
    /// The API server cannot reach the operator, which should answer the autoscaler.
    pub const METRICS_API_UNREACHABLE: &str = "MetricsApiUnreachable";
    /// The engine's version is not known, or is older than all whose arguments are.
    pub const VERSION_UNKNOWN: &str = "VersionUnknown";
    /// The engine is newer than all whose arguments are known, and those do not take one of them.
    pub const ARGUMENTS_DOUBTFUL: &str = "ArgumentsDoubtful";
    /// The spec is well-formed.
    pub const VALID: &str = "Valid";
    /// Another policy has a name that this one lists.
    pub const CONFLICT: &str = "Conflict";
    /// All references resolve.
    pub const RESOLVED: &str = "Resolved";
    /// A pool that a target names does not exist.
    pub const POOL_NOT_FOUND: &str = "PoolNotFound";
    /// A pool of another namespace that a target names does not admit the policy's.
    pub const POOL_NOT_EXPOSED: &str = "PoolNotExposed";
    /// A Secret that a target names does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret that a target names may not be read.
    pub const SECRET_NOT_READABLE: &str = "SecretNotReadable";
    /// A Secret that a target names does not name the target's host.
    pub const SECRET_NOT_FOR_HOST: &str = "SecretNotForHost";
}

/// Puts `new` in place of the condition of its type. The transition time moves only when the status does, as
/// Kubernetes asks; so a refreshed message does not look like a change of state.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Takes the condition of this type away, for those that exist only while they are true (`Reconciling`, `Stalled`).
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|c| c.type_ != type_);
}

/// A condition as of `now`, judged on `generation` of the spec.
#[must_use]
pub fn condition(
    type_: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: &Time,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: now.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn transition_time_moves_only_with_status() {
        let mut list = vec![condition(READY, false, "A", "", Some(1), &at(1))];
        for (status, second, want) in [(false, 2, 1), (true, 3, 3), (true, 4, 3), (false, 5, 5)] {
            set(&mut list, condition(READY, status, "B", "m", Some(2), &at(second)));
            assert_eq!(list.len(), 1);
            assert_eq!(list[0].last_transition_time, at(want), "at {second}");
            assert_eq!(list[0].reason, "B");
        }
        remove(&mut list, READY);
        assert!(list.is_empty());
    }
}
