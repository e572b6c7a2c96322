//! How new settings reach the replicas, and what is done when there is no room for one more.
//!
//! A rollout begins by surge: a new replica is ready before an old one leaves. Where all GPUs are in use, the new one finds no
//! node. Then, if the pool allows it, the Deployment is told to replace in place until no old replica is left: an old one
//! leaves, and its GPU takes the new one. Nothing is remembered: the strategy of the live Deployment says that this was
//! decided, and its counts say whether it is over.

use std::time::Duration;

use api::OnShortage;
use api::conditions::reason;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::causes::{Settings, Survey};
use super::validate::ValidPool;

/// How long a new replica waits for a node before old ones make room. A node that is only late, because a pod on it is still
/// ending, is free by then; and thirty seconds are little beside the start of an engine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the Deployment replaces replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// A new replica is ready before an old one leaves.
    Surge,
    /// This many old ones leave before new ones start.
    InPlace(i32),
}

/// What is decided about a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// What the Deployment is told.
    pub(super) strategy: Strategy,
    /// What is special about it, as a reason and a message for people.
    pub(super) special: Option<(&'static str, String)>,
    /// When to decide anew although nothing has happened.
    pub(super) again: Option<Duration>,
}

/// Decides how the Deployment replaces replicas.
pub(super) fn decide(live: Option<&Deployment>, survey: &Survey, pool: &ValidPool) -> Decision {
    let plain = Decision { strategy: Strategy::Surge, special: None, again: None };
    let Some(live) = live else { return plain };
    let (current, old) = old_ones(live);
    if in_place(live) {
        // Until the Deployment's controller has seen the latest change, its counts are of the one before.
        if current && old == 0 {
            return plain;
        }
    } else {
        let new = survey.replicas.iter().filter(|r| r.settings == Settings::New);
        let waited = new.filter_map(|r| r.finding.as_ref()?.waits_for_room).max();
        let Some(waited) = waited.filter(|_| current && old > 0) else { return plain };
        if waited < PATIENCE {
            return Decision { again: Some(PATIENCE.saturating_sub(waited)), ..plain };
        }
    }
    let replicas = pool.spec.replicas;
    let at_once = pool.spec.disruption.max_unavailable.max(1);
    let keep = i32::from(pool.spec.rollout.on_shortage == OnShortage::ReplaceOneByOne);
    let at_once = at_once.min(replicas - keep);
    let why = match pool.spec.rollout.on_shortage {
        OnShortage::Wait => {
            "there is no room for one more replica, and spec.rollout.onShortage is Wait: free a node or add one, or set it to \
             ReplaceOneByOne"
                .to_owned()
        }
        _ if at_once < 1 => "there is no room for one more replica, and the only one is kept: free a node or add one, or set \
                             spec.rollout.onShortage to ReplaceEvenLast to stop it before the new one starts"
            .to_owned(),
        _ => {
            let many = if at_once == 1 { "one" } else { &format!("up to {at_once}") };
            let message = format!(
                "there is no room for one more replica, so {many} at a time of the old ones leaves before the new one starts"
            );
            let special = Some((reason::REPLACING_ONE_BY_ONE, message));
            return Decision { strategy: Strategy::InPlace(at_once), special, again: None };
        }
    };
    Decision { special: Some((reason::WAITING_FOR_ROOM, why)), ..plain }
}

/// Whether the Deployment's counts are about it as it is now, and how many replicas with earlier settings there are.
fn old_ones(live: &Deployment) -> (bool, i32) {
    let Some(status) = &live.status else { return (false, 0) };
    let current = status.observed_generation >= live.metadata.generation;
    (current, status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0))
}

/// Whether the Deployment replaces in place.
fn in_place(live: &Deployment) -> bool {
    let rolling = live.spec.as_ref().and_then(|s| s.strategy.as_ref()?.rolling_update.as_ref());
    rolling.is_some_and(|rolling| rolling.max_surge == Some(IntOrString::Int(0)))
}

impl Strategy {
    /// As the Deployment states it.
    pub(super) fn to_deployment(self) -> DeploymentStrategy {
        let (surge, unavailable) = match self {
            Self::Surge => (1, 0),
            Self::InPlace(at_once) => (0, at_once),
        };
        DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(surge)),
                max_unavailable: Some(IntOrString::Int(unavailable)),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
