//! Carries out the writes of a plan, in its order.
//!
//! Applies are server-side, under one field manager, and not forced: what somebody else has set stays, and the API server
//! says so. The one exception is a Deployment's number of replicas, which is the pool's to set. Each names the UID of the object it was planned for, so that neither an apply nor a delete meets a namesake.

use std::time::Instant;

use api::InferencePool;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use operator_core::plan::{Blocked, Change, Child, ChildKind};
use operator_core::pool::{ValidPool, is_ours};
use operator_core::{FIELD_MANAGER, diff};
use serde_json::json;

use crate::call::call;
use crate::context::Context;
use crate::error::Error;

/// Makes the changes one after the other, and stops at the first that fails.
pub(crate) async fn execute(ctx: &Context, pool: &ValidPool, changes: &[Change]) -> Result<(), Error> {
    if !changes.is_empty() {
        confirm(ctx, pool).await?;
    }
    for change in changes {
        match change {
            Change::Apply { child, uid, because, take_back } => {
                apply(ctx, pool, child, uid.as_deref(), because, take_back.as_deref()).await?;
            }
            Change::Delete { kind, name, uid } => delete(ctx, pool, *kind, name, uid).await?,
        }
    }
    Ok(())
}

/// Asks the API server whether the pool is as it was planned for. A watch that is late, or a list from the past after a
/// restart, would otherwise have the operator write what was wanted once: start replicas for a pool that is gone, or roll
/// back one that has moved on.
async fn confirm(ctx: &Context, pool: &ValidPool) -> Result<(), Error> {
    let api = Api::<InferencePool>::namespaced(ctx.client.clone(), pool.namespace());
    let what = format!("look for InferencePool {}/{}", pool.namespace(), pool.name());
    let only = ListParams::default().fields(&format!("metadata.name={}", pool.name()));
    let found = call(&what, api.list_metadata(&only)).await?.items;
    let same = |metadata: &ObjectMeta| {
        metadata.uid.as_deref() == Some(pool.uid())
            && metadata.generation == pool.generation()
            && metadata.deletion_timestamp.is_none()
    };
    if found.iter().any(|found| same(&found.metadata)) { Ok(()) } else { Err(Error::Behind) }
}

async fn apply(
    ctx: &Context,
    pool: &ValidPool,
    child: &Child,
    uid: Option<&str>,
    because: &[String],
    take_back: Option<&str>,
) -> Result<(), Error> {
    let (kind, name, mut body) = (child.kind(), child.name(), child.to_json());
    let (api, before) = (api(ctx, pool, kind), version(ctx, pool, kind, name));
    let uid = match uid {
        Some(uid) => Some(uid.to_owned()),
        None => namesake(&api, pool, kind, name).await?,
    };
    if let Some(uid) = &uid {
        body["metadata"]["uid"] = json!(uid);
    }
    let what = format!("apply {} {}/{name}", kind.as_str(), pool.namespace());
    let mut how = PatchParams::apply(FIELD_MANAGER);
    if let Some(version) = take_back {
        // Whatever has happened to the object since it was looked at, the API server refuses.
        body["metadata"]["resourceVersion"] = json!(version);
        how.force = true;
    }
    let mut written = call(&what, api.patch(name, &how, &Patch::Apply(body))).await?;
    diff::pack(&mut written.metadata);
    ctx.metrics.wrote(kind.as_str());
    let written = serde_json::to_value(written).and_then(|object| Child::from_json(kind, object));
    let written = written.map_err(|error| Error::Undecodable(format!("{}: {error}", kind.as_str())))?;
    let action = if uid.is_some() { "changed" } else { "made" };
    tracing::info!(
        pool = %pool.name(), namespace = %pool.namespace(), object = kind.as_str(), name, ?because, "{action}"
    );
    remember(ctx, pool, kind, name, before, Some(written));
    Ok(())
}

/// The children of one kind in the pool's namespace. They are handled as JSON: one way of calling serves all kinds.
fn api(ctx: &Context, pool: &ValidPool, kind: ChildKind) -> Api<DynamicObject> {
    let resource = match kind {
        ChildKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        ChildKind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        ChildKind::Service => ApiResource::erase::<Service>(&()),
        ChildKind::Deployment => ApiResource::erase::<Deployment>(&()),
        ChildKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        ChildKind::Autoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
    };
    Api::namespaced_with(ctx.client.clone(), pool.namespace(), &resource)
}

/// UID of an object of the pool that the store, which holds only objects with the pool's label, does not know. An object
/// that is not the pool's must not be applied over: what does not conflict would be mixed into it.
async fn namesake(
    api: &Api<DynamicObject>,
    pool: &ValidPool,
    kind: ChildKind,
    name: &str,
) -> Result<Option<String>, Error> {
    let what = format!("look for {} {}/{name}", kind.as_str(), pool.namespace());
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = call(&what, api.list(&only)).await?.items.into_iter().next();
    match found {
        None => Ok(None),
        Some(found) if is_ours(&found.metadata, pool.uid()) => Ok(found.metadata.uid),
        Some(_) => Err(Error::Blocked(vec![Blocked::NotOurs { kind, name: name.to_owned() }])),
    }
}

async fn delete(ctx: &Context, pool: &ValidPool, kind: ChildKind, name: &str, uid: &str) -> Result<(), Error> {
    let namespace = pool.namespace();
    let what = format!("delete {} {namespace}/{name}", kind.as_str());
    let before = version(ctx, pool, kind, name);
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let api = api(ctx, pool, kind);
    let done = call(&what, api.delete(name, &how)).await.map(|_| ());
    match done {
        Ok(()) => {
            ctx.metrics.wrote(kind.as_str());
            tracing::info!(pool = %pool.name(), namespace, object = kind.as_str(), name, "deleted");
        }
        // Somebody else has deleted it, which was the aim.
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    remember(ctx, pool, kind, name, before, None);
    Ok(())
}

/// Version of a child in the store: what it is before a write tells later whether the store has heard of the write.
fn version(ctx: &Context, pool: &ValidPool, kind: ChildKind, name: &str) -> Option<String> {
    ctx.stores.child(kind, pool.namespace(), name).and_then(|(_, version)| version)
}

fn remember(
    ctx: &Context,
    pool: &ValidPool,
    kind: ChildKind,
    name: &str,
    before: Option<String>,
    result: Option<Child>,
) {
    let key = (kind, pool.namespace().to_owned(), name.to_owned(), pool.uid().to_owned());
    ctx.written.wrote(key, before, result, Instant::now());
}
