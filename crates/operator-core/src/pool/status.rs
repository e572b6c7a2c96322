//! What a pool's status says.
//!
//! The conditions follow kstatus, so that tools for deployment understand them: `Ready` is the answer, and while it is False
//! either `Reconciling` (wait) or `Stalled` (a person is needed) is True. A pool at rest with zero replicas is Ready.

mod arguments;
mod scaling;

use std::time::Duration;

use api::conditions::{
    ARGUMENTS_KNOWN, AVAILABLE, READY, RECONCILING, SCALED, SCALING_ACTIVE, STALLED, condition, reason, remove, set,
};
use api::{InferencePool, InferencePoolStatus};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::explain::{self, Because, Told};
use super::identity::selector_text;
use super::validate::{Invalid, ValidPool};
use super::{Observed, Outlook};
use crate::plan::{Blocked, Change, ChildKind, Note};

/// How often a status is written of which only the number of requests in flight has changed.
const IN_FLIGHT_EVERY: Duration = Duration::from_secs(5);

/// Most RoutePolicies that a status names.
const MOST_USERS: usize = 16;

/// Whether and when a status has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// At once.
    Now,
    /// Not before this time has passed.
    In(Duration),
    /// Not at all: it says what is there already.
    Never,
}

/// How the Deployment is getting on.
#[derive(Default)]
struct Progress {
    /// Pods that exist, with those that a rollout adds for a while.
    pods: i32,
    ready: i32,
    updated: i32,
    /// Replicas the Deployment was told to have.
    told: i32,
    /// The figures are about the Deployment as it is now, and it need not be changed.
    settled: bool,
    exists: bool,
}

pub(super) fn of(now: &Time, seen: &Observed, pool: &ValidPool, outlook: &Outlook<'_>) -> InferencePoolStatus {
    let Outlook { changes, blocked, survey, rollout } = *outlook;
    let at = At { now, generation: pool.generation };
    let progress = Progress::of(seen.deployment(), changes);
    let mut status = counted(seen, &pool.name, &pool.image, pool.generation);
    let waiting = waiting_for(&progress, pool.spec.replicas);
    let stuck = stuck_on(seen.deployment(), blocked).filter(|_| waiting.is_some() || !blocked.is_empty());

    at.put(&mut status, AVAILABLE, progress.ready > 0, available(progress.ready, pool.spec.replicas));
    let sized = progress.pods == pool.spec.replicas || progress.rolling(pool.spec.replicas);
    let scaled = sized && progress.told == pool.spec.replicas && progress.ready >= pool.spec.replicas;
    at.put(
        &mut status,
        SCALED,
        scaled,
        if scaled { settled(pool.spec.replicas) } else { scaling(&progress, pool.spec.replicas) },
    );
    let (known, why) = arguments::known(pool);
    at.put(&mut status, ARGUMENTS_KNOWN, known, why);
    match scaling::active(seen, pool) {
        Some((is, why)) => at.put(&mut status, SCALING_ACTIVE, is, why),
        None => remove(&mut status.conditions, SCALING_ACTIVE),
    }
    let rolling = progress.rolling(pool.spec.replicas);
    let waiting = waiting.map(|base| explain::why(base, rolling, progress.ready, survey, rollout));
    match (stuck, waiting) {
        (Some(why), Some(told)) => at.stall(&mut status, explain::overdue(why, told)),
        (Some(why), None) => at.stall(&mut status, why),
        (None, Some(told)) if told.stuck => at.stall(&mut status, told.because),
        (None, Some(Told { because: why, .. })) => {
            at.put(&mut status, RECONCILING, true, why.clone());
            at.put(&mut status, READY, false, why);
            remove(&mut status.conditions, STALLED);
        }
        (None, None) => {
            at.put(&mut status, READY, true, ready(pool));
            remove(&mut status.conditions, RECONCILING);
            remove(&mut status.conditions, STALLED);
        }
    }
    status
}

/// The status of a pool whose spec has mistakes. What was made for it before stays as it is, and is still counted.
#[must_use]
pub fn refused(now: &Time, seen: &Observed, pool: &InferencePool, faults: &[Invalid]) -> InferencePoolStatus {
    let at = At { now, generation: pool.metadata.generation };
    let mut status =
        counted(seen, pool.metadata.name.as_deref().unwrap_or_default(), &seen.status.image, at.generation);
    let message = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let ready = status.ready_replicas;
    at.put(&mut status, AVAILABLE, ready > 0, available(ready, pool.spec.replicas));
    at.stall(&mut status, (reason::INVALID_SPEC, message));
    status
}

/// `status` with the news that the API server refused to carry out the plan.
#[must_use]
pub fn stalled(
    now: &Time,
    mut status: InferencePoolStatus,
    reason: &'static str,
    message: String,
) -> InferencePoolStatus {
    let at = At { now, generation: status.observed_generation };
    at.stall(&mut status, (reason, message));
    status
}

/// `status` with the news that the API server has failed to carry out the plan, which is tried again.
#[must_use]
pub fn retrying(now: &Time, mut status: InferencePoolStatus, message: String) -> InferencePoolStatus {
    let at = At { now, generation: status.observed_generation };
    at.put(&mut status, RECONCILING, true, (reason::RETRYING, message.clone()));
    at.put(&mut status, READY, false, (reason::RETRYING, message));
    remove(&mut status.conditions, STALLED);
    status
}

/// What people should hear of when `new` replaces `old`: that a pool became ready, is no longer, or needs them.
#[must_use]
pub fn notes(old: &InferencePoolStatus, new: &InferencePoolStatus) -> Vec<Note> {
    let find = |status: &InferencePoolStatus, type_: &str| {
        status.conditions.iter().find(|c| c.type_ == type_ && c.status == "True").cloned()
    };
    let note = |warning: bool, because: &Condition| Note {
        warning,
        reason: because.reason.clone(),
        message: because.message.clone(),
    };
    if let Some(stalled) = find(new, STALLED) {
        let known = find(old, STALLED).is_some_and(|old| old.reason == stalled.reason);
        return if known { Vec::new() } else { vec![note(true, &stalled)] };
    }
    match (find(old, READY), find(new, READY)) {
        (None, Some(ready)) => vec![note(false, &ready)],
        (Some(_), None) => new.conditions.iter().filter(|c| c.type_ == READY).map(|c| note(false, c)).collect(),
        (None, None) => {
            let (before, now) = (find(old, RECONCILING), find(new, RECONCILING));
            let now = now.filter(|now| before.is_none_or(|before| before.reason != now.reason));
            now.iter().filter(|now| explain::is_news(&now.reason)).map(|now| note(false, now)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether `new` must be written over `old`, when the last write, or the start of the process if there was none, was
/// `since_last` ago.
#[must_use]
pub fn writing(old: &InferencePoolStatus, new: &InferencePoolStatus, since_last: Duration) -> Writing {
    if old == new {
        return Writing::Never;
    }
    let only_load = InferencePoolStatus { in_flight: new.in_flight, ..old.clone() } == *new;
    let wait = IN_FLIGHT_EVERY.saturating_sub(since_last);
    if only_load && !wait.is_zero() { Writing::In(wait) } else { Writing::Now }
}

/// The moment and the generation that conditions are about.
struct At<'a> {
    now: &'a Time,
    generation: Option<i64>,
}

impl At<'_> {
    fn put(&self, status: &mut InferencePoolStatus, type_: &str, is: bool, (reason, message): Because) {
        set(&mut status.conditions, condition(type_, is, reason, message, self.generation, self.now));
    }

    fn stall(&self, status: &mut InferencePoolStatus, why: Because) {
        self.put(status, STALLED, true, why.clone());
        self.put(status, READY, false, why);
        remove(&mut status.conditions, RECONCILING);
    }
}

impl Progress {
    fn of(deployment: Option<&Deployment>, changes: &[Change]) -> Self {
        let Some(deployment) = deployment.filter(|d| d.metadata.deletion_timestamp.is_none()) else {
            return Self::default();
        };
        let status = deployment.status.clone().unwrap_or_default();
        let to_change = changes
            .iter()
            .any(|change| matches!(change, Change::Apply { child, .. } if child.kind() == ChildKind::Deployment));
        let told = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        Self {
            pods: status.replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            told,
            settled: !to_change && status.observed_generation >= deployment.metadata.generation,
            exists: true,
        }
    }

    /// Pods of earlier settings are still there: they take the place of new ones, or stand beside them for a while.
    fn rolling(&self, desired: i32) -> bool {
        self.settled && (self.updated < desired.min(self.pods) || self.pods > self.updated.max(desired))
    }
}

/// The figures of a status, with the conditions as they were.
fn counted(seen: &Observed, name: &str, image: &str, generation: Option<i64>) -> InferencePoolStatus {
    let DeploymentStatus { replicas, ready_replicas, updated_replicas, .. } =
        seen.deployment().and_then(|d| d.status.clone()).unwrap_or_default();
    let told = seen.deployment().and_then(|d| d.spec.as_ref()?.replicas);
    let ready = ready_replicas.unwrap_or(0);
    // A replica that has just become ready has not been asked for its load yet; until it has, the last figure stands.
    let before = seen.status.in_flight.filter(|_| ready > 0 && ready != seen.status.ready_replicas);
    InferencePoolStatus {
        observed_generation: generation,
        // The autoscaler takes this for the size it starts from. A pod that a rollout adds for a while would make it keep
        // one replica more for ever.
        replicas: replicas.unwrap_or(0).min(told.unwrap_or(i32::MAX)),
        ready_replicas: ready,
        updated_replicas: updated_replicas.unwrap_or(0),
        in_flight: seen.in_flight.or(before),
        selector: selector_text(name),
        image: image.to_owned(),
        used_by: listed(&seen.used_by),
        conditions: seen.status.conditions.clone(),
    }
}

/// The first of those who use the pool, and how many more there are.
fn listed(users: &[String]) -> Vec<String> {
    let mut list: Vec<String> = users.iter().take(MOST_USERS).cloned().collect();
    if users.len() > MOST_USERS {
        list.push(format!("and {} more", users.len() - MOST_USERS));
    }
    list
}

/// What is still to come before the pool is as its spec asks, if anything.
fn waiting_for(progress: &Progress, desired: i32) -> Option<Because> {
    let Progress { pods, ready, updated, told, settled, exists } = *progress;
    if !exists {
        return Some((reason::NO_REPLICA_READY, "the Deployment is being made".to_owned()));
    }
    if progress.rolling(desired) {
        return Some((reason::ROLLING_OUT, format!("{updated} of {desired} replicas run the new settings")));
    }
    if ready == 0 && desired > 0 {
        return Some((reason::NO_REPLICA_READY, format!("none of {desired} replicas is ready yet")));
    }
    if pods != desired || ready != desired || told != desired {
        return Some(scaling(progress, desired));
    }
    (!settled).then(|| (reason::ROLLING_OUT, "new settings are being rolled out".to_owned()))
}

fn scaling(progress: &Progress, desired: i32) -> Because {
    if progress.pods > desired || progress.told > desired {
        return (reason::SCALING_DOWN, format!("{} replicas are there, {desired} wanted", progress.pods));
    }
    (reason::SCALING_UP, format!("{} of {desired} replicas are ready", progress.ready))
}

/// What only a person can resolve, if anything.
fn stuck_on(deployment: Option<&Deployment>, blocked: &[Blocked]) -> Option<Because> {
    if !blocked.is_empty() {
        let message = blocked.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Some((reason::BLOCKED, message));
    }
    let conditions = deployment?.status.as_ref()?.conditions.as_ref()?;
    let find = |type_: &str, status: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == status);
    let message = |message: Option<&String>| message.cloned().unwrap_or_default();
    if let Some(failure) = find("ReplicaFailure", "True") {
        return Some((reason::REPLICA_FAILURE, message(failure.message.as_ref())));
    }
    let late = find("Progressing", "False").filter(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))?;
    Some((reason::PROGRESS_DEADLINE_EXCEEDED, message(late.message.as_ref())))
}

fn available(ready: i32, desired: i32) -> Because {
    match (ready, desired) {
        (0, 0) => (reason::SCALED_TO_ZERO, "no replica is asked for".to_owned()),
        (0, _) => (reason::NO_REPLICA_READY, "no replica can serve".to_owned()),
        (1, _) => (reason::SERVING, "1 replica can serve".to_owned()),
        _ => (reason::SERVING, format!("{ready} replicas can serve")),
    }
}

fn settled(desired: i32) -> Because {
    let message = match desired {
        0 => "no replica is asked for, and none is there".to_owned(),
        1 => "1 replica is ready, as asked for".to_owned(),
        n => format!("{n} replicas are ready, as asked for"),
    };
    (reason::SETTLED, message)
}

fn ready(pool: &ValidPool) -> Because {
    match (pool.spec.replicas, &pool.spec.scaling) {
        (0, None) => (reason::SCALED_TO_ZERO, "at rest: no replica is asked for".to_owned()),
        (0, Some(_)) => (
            reason::SCALED_TO_ZERO,
            "at rest: no replica is asked for, and the autoscaler rests until spec.replicas is at least 1".to_owned(),
        ),
        (1, _) => (reason::ALL_REPLICAS_READY, "the replica is ready".to_owned()),
        (n, _) => (reason::ALL_REPLICAS_READY, format!("all {n} replicas are ready")),
    }
}

#[cfg(test)]
mod tests;
