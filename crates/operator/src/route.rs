//! The life of a RoutePolicy: look whether its names are its own and what it refers to exists, and say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{HOSTS_ANNOTATION, InferencePool, RoutePolicy};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use operator_core::route::{Access, SecretState};
use operator_core::{FIELD_MANAGER, route};
use serde_json::json;

use crate::call::call;
use crate::context::Context;
use crate::error::Error;
use crate::metrics::ROUTE;
use crate::pool;
use crate::scrape::PoolKey;
use crate::unreadable::report_unreadable;

/// A policy as it comes from the API server, which may be one that we cannot read.
pub(crate) type Guarded = DeserializeGuard<RoutePolicy>;

/// How often the Secrets of a policy are looked at. They are not watched: that needs the right to read all of a namespace.
const LOOK_AT_SECRETS: Duration = Duration::from_secs(60);

/// Writes the conditions of a policy. Called whenever the policy, a pool that it names, or a policy that lists a name of its
/// has come, changed or gone, and from time to time for one that names Secrets.
pub(crate) async fn reconcile(guarded: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    let done = match &guarded.0 {
        Ok(policy) if policy.meta().deletion_timestamp.is_some() => Ok(()),
        Ok(policy) => reconcile_policy(policy, &ctx).await,
        Err(_) if guarded.meta().deletion_timestamp.is_some() => Ok(()),
        Err(invalid) => {
            let told = report_unreadable(&ctx, &guarded).await;
            told.and_then(|()| Err(Error::Undecodable(invalid.error.clone())))
        }
    };
    ctx.metrics.reconciled(ROUTE, begun.elapsed());
    done.map(|()| {
        ctx.succeeded(ROUTE, &key(&guarded));
        let looks_again = guarded.0.as_ref().is_ok_and(|policy| !route::secrets(policy).is_empty());
        if looks_again { Action::requeue(LOOK_AT_SECRETS) } else { Action::await_change() }
    })
}

/// Decides when a policy whose reconcile failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands these over by value")]
pub(crate) fn error_policy(guarded: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.failed(ROUTE, &key(&guarded), guarded.meta().generation, error)
}

/// The policies that name the pool.
pub(crate) fn of_pool(policies: &Store<Guarded>, pool: &pool::Guarded) -> Vec<ObjectRef<Guarded>> {
    let (namespace, pool) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let names = |policy: &RoutePolicy| route::pools(policy).iter().any(|(n, p)| *n == namespace && *p == pool);
    referring(policies, names)
}

/// The policies that may have lost a name to this one, or got one from it.
pub(crate) fn rivals(policies: &Store<Guarded>, changed: &Guarded) -> Vec<ObjectRef<Guarded>> {
    let itself = ObjectRef::from_obj(changed);
    let shares = |policy: &RoutePolicy| {
        route::was_told_of_a_conflict(policy) || changed.0.as_ref().is_ok_and(|it| route::share_a_name(it, policy))
    };
    referring(policies, shares).into_iter().filter(|rival| *rival != itself).collect()
}

/// The policies of a namespace that name pools of others: whether they may can change with the namespace's labels.
pub(crate) fn from_namespace(policies: &Store<Guarded>, namespace: &str) -> Vec<ObjectRef<Guarded>> {
    referring(policies, |policy| {
        policy.namespace().as_deref() == Some(namespace) && route::pools(policy).iter().any(|(n, _)| n != namespace)
    })
}

/// The pools that a policy names, and those that say it does: one of them may just have been left.
pub(crate) fn pools_of(policy: &Guarded, pools: &Store<pool::Guarded>) -> Vec<PoolKey> {
    let mut all = policy.0.as_ref().map(route::pools).unwrap_or_default();
    let key = key(policy);
    let says = |pool: &pool::Guarded| {
        let status = pool.0.as_ref().ok().and_then(|pool| pool.status.as_ref());
        status.is_some_and(|status| status.used_by.contains(&key))
    };
    let told = pools.state_filter(says);
    all.extend(told.iter().map(|pool| (pool.namespace().unwrap_or_default(), pool.name_any())));
    all
}

/// The policies that send requests to the pool, as namespace/name, in order.
pub(crate) fn users(ctx: &Context, pool: &InferencePool) -> Vec<String> {
    let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let uses = |policy: &RoutePolicy| {
        let from = policy.namespace().unwrap_or_default();
        route::pools(policy).iter().any(|(n, p)| *n == namespace && *p == name)
            && pool.spec.exposure.admits(&namespace, &from, labels(ctx, &from).as_ref())
    };
    let mut users: Vec<String> = referring(&ctx.stores.policies, uses)
        .into_iter()
        .map(|r| format!("{}/{}", r.namespace.unwrap_or_default(), r.name))
        .collect();
    users.sort_unstable();
    users
}

fn referring(policies: &Store<Guarded>, refers: impl Fn(&RoutePolicy) -> bool) -> Vec<ObjectRef<Guarded>> {
    let found = policies.state_filter(|guarded: &Guarded| guarded.0.as_ref().is_ok_and(&refers));
    found.iter().map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
}

/// The labels of a namespace, where namespaces are watched.
fn labels(ctx: &Context, namespace: &str) -> Option<BTreeMap<String, String>> {
    let found = ctx.stores.namespaces.as_ref()?.get(&ObjectRef::new(namespace))?;
    found.metadata.labels.clone()
}

fn access(ctx: &Context, from: &str, namespace: &str, name: &str) -> Access {
    match (ctx.stores.pools.get(&ObjectRef::new(name).within(namespace)), namespace == from) {
        (Some(_), true) => Access::Granted,
        (None, true) => Access::Missing,
        (pool, false) => {
            let admitted = pool.is_some_and(|pool| {
                pool.0.as_ref().is_ok_and(|pool| pool.spec.exposure.admits(namespace, from, labels(ctx, from).as_ref()))
            });
            if admitted { Access::Granted } else { Access::Refused }
        }
    }
}

async fn reconcile_policy(policy: &RoutePolicy, ctx: &Context) -> Result<(), Error> {
    ctx.synced().await?;
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let secrets = secrets(policy, &namespace, ctx).await?;
    let secret = |name: &str| secrets.get(name).cloned().unwrap_or(SecretState::Missing);
    let all = ctx.stores.policies.state();
    let taken = route::taken(policy, all.iter().filter_map(|other| other.0.as_ref().ok()));
    let status = route::status(&(ctx.clock)(), policy, &taken, |n, pool| access(ctx, &namespace, n, pool), secret);
    if policy.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api = Api::<RoutePolicy>::namespaced(ctx.client.clone(), &namespace);
    let what = format!("write the status of RoutePolicy {namespace}/{name}");
    let patch = Patch::Merge(json!({"metadata": {"uid": policy.metadata.uid}, "status": status}));
    let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match call(&what, api.patch_status(&name, &by, &patch)).await {
        Ok(_) => ctx.metrics.wrote("RoutePolicy/status"),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What is known of the Secrets that the policy names. Only their metadata are asked for, each by its name.
async fn secrets(policy: &RoutePolicy, namespace: &str, ctx: &Context) -> Result<BTreeMap<String, SecretState>, Error> {
    let api = Api::<Secret>::namespaced(ctx.client.clone(), namespace);
    let mut all = BTreeMap::new();
    for name in route::secrets(policy) {
        let what = format!("look at Secret {namespace}/{name}");
        let state = match call(&what, api.get_metadata_opt(&name)).await {
            Ok(Some(secret)) => SecretState::with_hosts(secret.annotations().get(HOSTS_ANNOTATION).map(String::as_str)),
            Ok(None) => SecretState::Missing,
            Err(error) if error.is_forbidden() => SecretState::Denied,
            Err(error) => return Err(error),
        };
        all.insert(name, state);
    }
    Ok(all)
}

fn key(policy: &Guarded) -> String {
    format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any())
}
