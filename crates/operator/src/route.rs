//! The life of a RoutePolicy: look whether its names are its own and what it refers to exists, and say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::conditions::RESOLVED_REFS;
use api::{HOSTS_ANNOTATION, RoutePolicy};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use operator_core::route::{Access, SecretState};
use operator_core::{FIELD_MANAGER, route};
use serde_json::json;

use crate::call::call;
use crate::context::Context;
use crate::error::Error;
use crate::guarded::{GuardedPolicy, full_name};
use crate::metrics::ROUTE;
use crate::unreadable::report_unreadable;

/// How often the Secrets of a policy are looked at. They are not watched: that needs the right to read all of a namespace.
const LOOK_AT_SECRETS: Duration = Duration::from_secs(60);
/// How often while one of them is missing something, for the person who has just added it.
const LOOK_AT_MISSING: Duration = Duration::from_secs(5);

/// Writes the conditions of a policy. Called whenever the policy, a pool that it names, or a policy that lists a name of its
/// has come, changed or gone, and from time to time for one that names Secrets.
pub(crate) async fn reconcile(guarded: Arc<GuardedPolicy>, ctx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    let done = match &guarded.0 {
        Ok(policy) if policy.meta().deletion_timestamp.is_some() => Ok(Action::await_change()),
        Ok(policy) => reconcile_policy(policy, &ctx).await,
        Err(_) if guarded.meta().deletion_timestamp.is_some() => Ok(Action::await_change()),
        Err(invalid) => {
            let told = report_unreadable(&ctx, &guarded).await;
            told.and_then(|()| Err(Error::Undecodable(invalid.error.clone())))
        }
    };
    ctx.metrics.reconciled(ROUTE, begun.elapsed());
    done.inspect(|_| ctx.succeeded(ROUTE, &full_name(&*guarded)))
}

/// Decides when a policy whose reconcile failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands these over by value")]
pub(crate) fn error_policy(guarded: Arc<GuardedPolicy>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.failed(ROUTE, &full_name(&*guarded), guarded.meta().generation, error)
}

fn access(ctx: &Context, from: &str, namespace: &str, name: &str) -> Access {
    match (ctx.stores.pools.get(&ObjectRef::new(name).within(namespace)), namespace == from) {
        (Some(_), true) => Access::Granted,
        (None, true) => Access::Missing,
        (pool, false) => {
            let admitted = pool.is_some_and(|pool| {
                pool.0
                    .as_ref()
                    .is_ok_and(|pool| pool.spec.exposure.admits(namespace, from, ctx.stores.labels(from).as_ref()))
            });
            if admitted { Access::Granted } else { Access::Refused }
        }
    }
}

/// Writes them, and says when they are to be looked at again.
async fn reconcile_policy(policy: &RoutePolicy, ctx: &Context) -> Result<Action, Error> {
    ctx.synced().await?;
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let secrets = secrets(policy, &namespace, ctx).await?;
    let secret = |name: &str| secrets.get(name).cloned().unwrap_or(SecretState::Missing);
    let all = ctx.stores.policies.state();
    let taken = route::taken(policy, all.iter().filter_map(|other| other.0.as_ref().ok()));
    let status = route::status(&(ctx.clock)(), policy, &taken, |n, pool| access(ctx, &namespace, n, pool), secret);
    let again = if secrets.is_empty() {
        Action::await_change()
    } else {
        let resolved = status.conditions.iter().any(|c| c.type_ == RESOLVED_REFS && c.status == "True");
        Action::requeue(if resolved { LOOK_AT_SECRETS } else { LOOK_AT_MISSING })
    };
    if policy.status.as_ref() == Some(&status) {
        return Ok(again);
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
    Ok(again)
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
