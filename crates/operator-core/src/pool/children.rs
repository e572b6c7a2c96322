//! All objects that are made for a pool.

use super::rollout::Strategy;
use super::validate::ValidPool;
use super::{Site, autoscaler, deployment, protect, service};
use crate::plan::Child;

/// All children that the pool should have now, in the order in which they are written.
pub(super) fn of(pool: &ValidPool, site: &Site, strategy: Strategy) -> Vec<Child> {
    let mut children = vec![
        Child::ServiceAccount(protect::service_account(pool)),
        Child::NetworkPolicy(Box::new(protect::network_policy(pool, site))),
        Child::Service(Box::new(service::of(pool))),
        Child::Deployment(Box::new(deployment::of(pool, strategy))),
        Child::PodDisruptionBudget(protect::disruption_budget(pool)),
    ];
    children.extend(autoscaler::of(pool).map(Child::Autoscaler));
    children
}
