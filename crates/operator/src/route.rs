//! The life of a RoutePolicy: look whether what it names exists, and say so.

use std::sync::Arc;
use std::time::Instant;

use api::{InferencePool, RoutePolicy};
use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use operator_core::{FIELD_MANAGER, route};
use serde_json::json;

use crate::call::call;
use crate::context::Context;
use crate::error::Error;
use crate::metrics::ROUTE;

/// A policy as it comes from the API server, which may be one that we cannot read.
pub(crate) type Guarded = DeserializeGuard<RoutePolicy>;

/// Writes the conditions of a policy. Called whenever the policy, or a pool that it names, has come, changed or gone.
pub(crate) async fn reconcile(guarded: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    let done = match &guarded.0 {
        Ok(policy) if policy.meta().deletion_timestamp.is_some() => Ok(()),
        Ok(policy) => reconcile_policy(policy, &ctx).await,
        Err(invalid) => Err(Error::Undecodable(invalid.error.clone())),
    };
    ctx.metrics.reconciled(ROUTE, begun.elapsed());
    done.map(|()| {
        ctx.succeeded(ROUTE, &key(&guarded));
        Action::await_change()
    })
}

/// Decides when a policy whose reconcile failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands these over by value")]
pub(crate) fn error_policy(guarded: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.failed(ROUTE, &key(&guarded), error)
}

/// The policies that send requests to `pool`.
pub(crate) fn referring(policies: &Store<Guarded>, pool: &PartialObjectMeta<InferencePool>) -> Vec<ObjectRef<Guarded>> {
    let (namespace, name) = (pool.namespace(), pool.name_any());
    let refers = |guarded: &Guarded| {
        guarded.namespace() == namespace && guarded.0.as_ref().is_ok_and(|policy| route::refers_to(policy, &name))
    };
    policies.state_filter(refers).iter().map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
}

async fn reconcile_policy(policy: &RoutePolicy, ctx: &Context) -> Result<(), Error> {
    ctx.synced().await?;
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let pool_exists = |pool: &str| ctx.stores.pools.get(&ObjectRef::new(pool).within(&namespace)).is_some();
    let status = route::status(&(ctx.clock)(), policy, pool_exists);
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

fn key(policy: &Guarded) -> String {
    format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any())
}
