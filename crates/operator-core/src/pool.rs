//! A pool: from its spec and what is there to what must be done and said.
//!
//! * [`validate()`] turns the stored object into a [`ValidPool`], or says what is wrong with it;
//! * [`plan`] compares what it needs with what there is;
//! * [`refused`], [`stalled`] and [`retrying`] are the statuses of pools that cannot be planned or carried out.

mod autoscaler;
pub mod causes;
mod children;
mod deployment;
mod explain;
mod identity;
mod pod;
mod protect;
mod quantity;
mod rollout;
mod service;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use api::InferencePoolStatus;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use serde_json::Value;

use crate::FIELD_MANAGER;
use crate::diff::{self, Difference};
use crate::metrics_api::MetricsApi;
use crate::plan::{Blocked, Change, Child, ChildKind, Plan};

use causes::Survey;
use rollout::Decision;

pub use identity::{is_ours, name as child_name};
pub use status::{Writing, notes, refused, retrying, stalled, writing};
pub use validate::{Invalid, ValidPool, validate};

/// Everything about a pool that its plan depends on, besides its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The status reported last.
    pub status: InferencePoolStatus,
    /// What there is under the names of the pool's children, whoever made it; at most one of each kind.
    pub children: Vec<Child>,
    /// The pods of its replicas, as [`causes::prune`] leaves them.
    pub pods: Vec<Arc<Pod>>,
    /// Requests running and waiting in all ready replicas, when that is known.
    pub in_flight: Option<i64>,
    /// RoutePolicies that send requests to the pool, as namespace/name, in order.
    pub used_by: Vec<String>,
    /// Who answers the autoscaler.
    pub metrics_api: MetricsApi,
}

/// Where Quartermaster itself runs, for those who must be let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Namespace of the operator and the routers.
    pub namespace: String,
    /// Further namespaces whose pods may read the engines' metrics, for example that of a Prometheus.
    pub scrapers: Vec<String>,
}

/// The one field that is taken back from whoever else sets it: a pool's number of replicas has one way to go, and an
/// autoscaler or a person that scales the Deployment is on the wrong end of it.
const REPLICAS: &str = ".spec.replicas";

/// How long a pool is left alone when nothing happens. Watches tell of every change; this is for what they might miss.
const SAFETY_LOOK: Duration = Duration::from_secs(600);

/// Decides what to write and what to say about a pool.
#[must_use]
pub fn plan(now: &Time, site: &Site, seen: &Observed, pool: &ValidPool) -> Plan {
    let (mut changes, mut blocked, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    let live = seen.deployment();
    let survey = causes::survey(now, seen.pods.iter().map(AsRef::as_ref), deployment::runs_current(pool, live));
    let rollout = rollout::decide(live, &survey, pool);
    for child in children::of(pool, site, rollout.strategy) {
        wanted.push(child.kind());
        match step(child, seen, pool) {
            Step::Nothing => {}
            Step::Write(change) => changes.push(change),
            Step::Blocked(why) => blocked.push(why),
        }
    }
    changes.extend(unwanted(seen, pool, &wanted));
    let status = status::of(
        now,
        seen,
        pool,
        &Outlook { changes: &changes, blocked: &blocked, survey: &survey, rollout: &rollout },
    );
    let requeue = [rollout.again, survey.again()].into_iter().flatten().fold(SAFETY_LOOK, Duration::min);
    Plan { changes, status, blocked, requeue }
}

/// What was decided about a pool and seen of its replicas: what its status is made from.
struct Outlook<'a> {
    changes: &'a [Change],
    blocked: &'a [Blocked],
    survey: &'a Survey,
    rollout: &'a Decision,
}

enum Step {
    Nothing,
    Write(Change),
    Blocked(Blocked),
}

fn step(child: Child, seen: &Observed, pool: &ValidPool) -> Step {
    let kind = child.kind();
    let Some(live) = seen.child(kind) else {
        let child = Box::new(child);
        return Step::Write(Change::Apply { child, uid: None, because: Vec::new(), take_back: None });
    };
    let metadata = live.metadata();
    if !is_ours(metadata, &pool.uid) {
        return Step::Blocked(Blocked::NotOurs { kind, name: child.name().to_owned() });
    }
    // Whoever deletes a child has it back as soon as it is gone.
    if metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let managed = metadata.managed_fields.as_deref().unwrap_or_default();
    match diff::compare(&child.to_json(), &live.to_json(), managed, FIELD_MANAGER) {
        Difference::Same => Step::Nothing,
        Difference::Ours(because) => {
            let uid = metadata.uid.clone();
            Step::Write(Change::Apply { child: Box::new(child), uid, because, take_back: None })
        }
        Difference::Foreign { path, .. } if path == REPLICAS && nothing_else_is_foreign(&child, live) => {
            let (uid, take_back) = (metadata.uid.clone(), metadata.resource_version.clone());
            Step::Write(Change::Apply { child: Box::new(child), uid, because: vec![path], take_back })
        }
        Difference::Foreign { path, manager } => {
            Step::Blocked(Blocked::Foreign { kind, name: child.name().to_owned(), path, manager })
        }
    }
}

/// Whether `live` could be brought into the form `child` but for its number of replicas.
fn nothing_else_is_foreign(child: &Child, live: &Child) -> bool {
    let mut rest = child.to_json();
    if let Some(spec) = rest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    let managed = live.metadata().managed_fields.as_deref().unwrap_or_default();
    let versioned = live.metadata().resource_version.is_some();
    versioned && !matches!(diff::compare(&rest, &live.to_json(), managed, FIELD_MANAGER), Difference::Foreign { .. })
}

/// Children of kinds that the pool no longer asks for. What somebody else made stays.
fn unwanted(seen: &Observed, pool: &ValidPool, wanted: &[ChildKind]) -> Vec<Change> {
    let unwanted = |child: &&Child| {
        !wanted.contains(&child.kind())
            && is_ours(child.metadata(), &pool.uid)
            && child.metadata().deletion_timestamp.is_none()
    };
    let delete = |child: &Child| {
        let uid = child.metadata().uid.clone()?;
        Some(Change::Delete { kind: child.kind(), name: child.name().to_owned(), uid })
    };
    seen.children.iter().filter(unwanted).filter_map(delete).collect()
}

impl Observed {
    /// What there is under the name of the pool's child of this kind.
    #[must_use]
    pub fn child(&self, kind: ChildKind) -> Option<&Child> {
        self.children.iter().find(|child| child.kind() == kind)
    }

    fn autoscaler(&self) -> Option<&HorizontalPodAutoscaler> {
        match self.child(ChildKind::Autoscaler) {
            Some(Child::Autoscaler(autoscaler)) => Some(autoscaler),
            _ => None,
        }
    }

    fn deployment(&self) -> Option<&Deployment> {
        match self.child(ChildKind::Deployment) {
            Some(Child::Deployment(deployment)) => Some(deployment),
            _ => None,
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

    /// Generation of the spec.
    #[must_use]
    pub fn generation(&self) -> Option<i64> {
        self.generation
    }

    /// Namespace of the pool and of all its children.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

#[cfg(test)]
mod tests;
