//! A pool: from its spec and what is there to what must be done and said.
//!
//! * [`validate()`] turns the stored object into a [`ValidPool`], or says what is wrong with it;
//! * [`plan`] compares what it needs with what there is;
//! * [`refused`] and [`stalled`] are the statuses of pools that cannot be planned or carried out.

mod autoscaler;
pub mod causes;
mod children;
mod deployment;
mod quantity;
mod service;
mod status;
mod validate;

use std::time::Duration;

use api::InferencePoolStatus;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;
use serde_json::Value;

use crate::FIELD_MANAGER;
use crate::diff::{self, Difference};
use crate::plan::{Blocked, Change, Child, ChildKind, Plan};

pub use children::{is_ours, name as child_name};
pub use status::{Writing, notes, refused, stalled, writing};
pub use validate::{Invalid, ValidPool, validate};

/// Everything about a pool that its plan depends on, besides its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The status reported last.
    pub status: InferencePoolStatus,
    /// The Service with the pool's Service name, whoever made it.
    pub service: Option<Service>,
    /// The Deployment with the pool's Deployment name, whoever made it.
    pub deployment: Option<Deployment>,
    /// The HorizontalPodAutoscaler with the pool's autoscaler name, whoever made it.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// Requests running and waiting in all ready replicas, when that is known.
    pub in_flight: Option<i64>,
}

/// How long a pool is left alone when nothing happens. Watches tell of every change; this is for what they might miss.
const SAFETY_LOOK: Duration = Duration::from_secs(600);

/// Decides what to write and what to say about a pool.
#[must_use]
pub fn plan(now: &Time, seen: &Observed, pool: &ValidPool) -> Plan {
    let (mut changes, mut blocked) = (Vec::new(), Vec::new());
    for child in children::of(pool) {
        match step(child, seen, pool) {
            Step::Nothing => {}
            Step::Write(change) => changes.push(change),
            Step::Blocked(why) => blocked.push(why),
        }
    }
    changes.extend(unwanted_autoscaler(seen, pool));
    let status = status::of(now, seen, pool, &changes, &blocked);
    Plan { changes, status, blocked, requeue: SAFETY_LOOK }
}

enum Step {
    Nothing,
    Write(Change),
    Blocked(Blocked),
}

fn step(child: Child, seen: &Observed, pool: &ValidPool) -> Step {
    let kind = child.kind();
    let Some((metadata, live)) = seen.child(kind) else {
        return Step::Write(Change::Apply { child: Box::new(child), uid: None, because: Vec::new() });
    };
    if !is_ours(metadata, &pool.uid) {
        return Step::Blocked(Blocked::NotOurs { kind, name: child.name().to_owned() });
    }
    let managed = metadata.managed_fields.as_deref().unwrap_or_default();
    // Whoever deletes a child has it back as soon as it is gone.
    if metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    match diff::compare(&child.to_json(), &live, managed, FIELD_MANAGER) {
        Difference::Same => Step::Nothing,
        Difference::Ours(because) => {
            Step::Write(Change::Apply { child: Box::new(child), uid: metadata.uid.clone(), because })
        }
        Difference::Foreign { path, manager } => {
            Step::Blocked(Blocked::Foreign { kind, name: child.name().to_owned(), path, manager })
        }
    }
}

/// The autoscaler of a pool that is no longer to be scaled by load. One that somebody else made stays.
fn unwanted_autoscaler(seen: &Observed, pool: &ValidPool) -> Option<Change> {
    let metadata = &seen.autoscaler.as_ref()?.metadata;
    if pool.scaling.is_some() || !is_ours(metadata, &pool.uid) || metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(Change::Delete { kind: ChildKind::Autoscaler, name: metadata.name.clone()?, uid: metadata.uid.clone()? })
}

impl Observed {
    fn child(&self, kind: ChildKind) -> Option<(&ObjectMeta, Value)> {
        fn look<T: Serialize>(child: &T) -> Value {
            serde_json::to_value(child).unwrap_or_default()
        }
        match kind {
            ChildKind::Service => self.service.as_ref().map(|o| (&o.metadata, look(o))),
            ChildKind::Deployment => self.deployment.as_ref().map(|o| (&o.metadata, look(o))),
            ChildKind::Autoscaler => self.autoscaler.as_ref().map(|o| (&o.metadata, look(o))),
        }
    }
}

impl ValidPool {
    /// Name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// UID of the pool.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Namespace of the pool and of all its children.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

#[cfg(test)]
mod tests;
