//! Which pools and policies concern each other, by what the stores have.

use api::{InferencePool, RoutePolicy};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use operator_core::route;

use crate::guarded::{GuardedPolicy, GuardedPool, full_name};
use crate::scrape::PoolKey;
use crate::watch::Stores;

/// The policies that name the pool.
pub(crate) fn of_pool(policies: &Store<GuardedPolicy>, pool: &GuardedPool) -> Vec<ObjectRef<GuardedPolicy>> {
    let (namespace, pool) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let names = |policy: &RoutePolicy| route::pools(policy).iter().any(|(n, p)| *n == namespace && *p == pool);
    referring(policies, names)
}

/// The policies that may have lost a name to this one, or got one from it.
pub(crate) fn rivals(policies: &Store<GuardedPolicy>, changed: &GuardedPolicy) -> Vec<ObjectRef<GuardedPolicy>> {
    let itself = ObjectRef::from_obj(changed);
    let shares = |policy: &RoutePolicy| {
        route::was_told_of_a_conflict(policy) || changed.0.as_ref().is_ok_and(|it| route::share_a_name(it, policy))
    };
    referring(policies, shares).into_iter().filter(|rival| *rival != itself).collect()
}

/// The policies of a namespace that name pools of others: whether they may can change with the namespace's labels.
pub(crate) fn from_namespace(policies: &Store<GuardedPolicy>, namespace: &str) -> Vec<ObjectRef<GuardedPolicy>> {
    referring(policies, |policy| {
        policy.namespace().as_deref() == Some(namespace) && route::pools(policy).iter().any(|(n, _)| n != namespace)
    })
}

/// The pools that a policy names, and those that say it does: one of them may just have been left.
pub(crate) fn pools_of(policy: &GuardedPolicy, pools: &Store<GuardedPool>) -> Vec<PoolKey> {
    let mut all = policy.0.as_ref().map(route::pools).unwrap_or_default();
    let key = full_name(policy);
    let says = |pool: &GuardedPool| {
        let status = pool.0.as_ref().ok().and_then(|pool| pool.status.as_ref());
        status.is_some_and(|status| status.used_by.contains(&key))
    };
    let told = pools.state_filter(says);
    all.extend(told.iter().map(|pool| (pool.namespace().unwrap_or_default(), pool.name_any())));
    all
}

/// The policies that send requests to the pool, as namespace/name, in order.
pub(crate) fn users(stores: &Stores, pool: &InferencePool) -> Vec<String> {
    let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let uses = |policy: &RoutePolicy| {
        let from = policy.namespace().unwrap_or_default();
        route::pools(policy).iter().any(|(n, p)| *n == namespace && *p == name)
            && pool.spec.exposure.admits(&namespace, &from, stores.labels(&from).as_ref())
    };
    let mut users: Vec<String> = referring(&stores.policies, uses)
        .into_iter()
        .map(|r| format!("{}/{}", r.namespace.unwrap_or_default(), r.name))
        .collect();
    users.sort_unstable();
    users
}

fn referring(policies: &Store<GuardedPolicy>, refers: impl Fn(&RoutePolicy) -> bool) -> Vec<ObjectRef<GuardedPolicy>> {
    let found = policies.state_filter(|guarded: &GuardedPolicy| guarded.0.as_ref().is_ok_and(&refers));
    found.iter().map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
}
