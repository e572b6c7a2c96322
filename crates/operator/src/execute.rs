//! Carries out the writes of a plan, in its order.
//!
//! Applies are server-side, under one field manager and never forced: what somebody else has set stays, and the API server
//! says so. Each names the UID of the object it was planned for, so that neither an apply nor a delete meets a namesake.

use std::fmt::Debug;
use std::time::Instant;

use api::InferencePool;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource};
use operator_core::FIELD_MANAGER;
use operator_core::plan::{Blocked, Change, Child, ChildKind};
use operator_core::pool::{ValidPool, is_ours};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::call::call;
use crate::context::Context;
use crate::error::Error;

/// Makes the changes one after the other, and stops at the first that fails.
pub(crate) async fn execute(ctx: &Context, pool: &ValidPool, changes: &[Change]) -> Result<(), Error> {
    let makes = |change: &Change| matches!(change, Change::Apply { uid: None, .. });
    if changes.iter().any(makes) && !exists(ctx, pool).await? {
        tracing::info!(pool = %pool.name(), namespace = %pool.namespace(), "deleted meanwhile; nothing is made for it");
        return Ok(());
    }
    for change in changes {
        match change {
            Change::Apply { child, uid, because } => apply(ctx, pool, child, uid.as_deref(), because).await?,
            Change::Delete { kind, name, uid } => delete(ctx, pool, *kind, name, uid).await?,
        }
    }
    Ok(())
}

/// Whether the pool is still there, by the API server and not by a watch. The children of a deleted pool go after it, each
/// kind's watch tells of that in its own time, and what was made again for a pool that is gone would start replicas for
/// nothing.
async fn exists(ctx: &Context, pool: &ValidPool) -> Result<bool, Error> {
    let api = Api::<InferencePool>::namespaced(ctx.client.clone(), pool.namespace());
    let what = format!("look for InferencePool {}/{}", pool.namespace(), pool.name());
    let only = ListParams::default().fields(&format!("metadata.name={}", pool.name()));
    let found = call(&what, api.list_metadata(&only)).await?.items;
    let same =
        |metadata: &ObjectMeta| metadata.uid.as_deref() == Some(pool.uid()) && metadata.deletion_timestamp.is_none();
    Ok(found.iter().any(|found| same(&found.metadata)))
}

async fn apply(
    ctx: &Context,
    pool: &ValidPool,
    child: &Child,
    uid: Option<&str>,
    because: &[String],
) -> Result<(), Error> {
    let (kind, name, body) = (child.kind(), child.name(), child.to_json());
    let before = version(ctx, pool, kind, name);
    let written = match kind {
        ChildKind::Service => Child::Service(apply_as::<Service>(ctx, pool, kind, name, uid, body).await?),
        ChildKind::Deployment => {
            Child::Deployment(Box::new(apply_as::<Deployment>(ctx, pool, kind, name, uid, body).await?))
        }
        ChildKind::Autoscaler => {
            Child::Autoscaler(apply_as::<HorizontalPodAutoscaler>(ctx, pool, kind, name, uid, body).await?)
        }
    };
    let action = if uid.is_some() { "changed" } else { "made" };
    tracing::info!(
        pool = %pool.name(), namespace = %pool.namespace(), object = kind.as_str(), name, ?because, "{action}"
    );
    remember(ctx, pool, kind, name, before, Some(written));
    Ok(())
}

async fn apply_as<K>(
    ctx: &Context,
    pool: &ValidPool,
    kind: ChildKind,
    name: &str,
    uid: Option<&str>,
    mut body: Value,
) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::namespaced(ctx.client.clone(), pool.namespace());
    let what = format!("apply {} {}/{name}", kind.as_str(), pool.namespace());
    let uid = match uid {
        Some(uid) => Some(uid.to_owned()),
        None => namesake(&api, pool, kind, name).await?,
    };
    if let Some(uid) = uid {
        body["metadata"]["uid"] = json!(uid);
    }
    let written = call(&what, api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(body))).await?;
    ctx.metrics.wrote(kind.as_str());
    Ok(written)
}

/// UID of an object of the pool that the store, which holds only objects with the pool's label, does not know. An object
/// that is not the pool's must not be applied over: what does not conflict would be mixed into it.
async fn namesake<K>(api: &Api<K>, pool: &ValidPool, kind: ChildKind, name: &str) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let what = format!("look for {} {}/{name}", kind.as_str(), pool.namespace());
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = call(&what, api.list(&only)).await?.items.into_iter().next();
    match found {
        None => Ok(None),
        Some(found) if is_ours(found.meta(), pool.uid()) => Ok(found.meta().uid.clone()),
        Some(_) => Err(Error::Blocked(vec![Blocked::NotOurs { kind, name: name.to_owned() }])),
    }
}

async fn delete(ctx: &Context, pool: &ValidPool, kind: ChildKind, name: &str, uid: &str) -> Result<(), Error> {
    let namespace = pool.namespace();
    let what = format!("delete {} {namespace}/{name}", kind.as_str());
    let before = version(ctx, pool, kind, name);
    let done = match kind {
        ChildKind::Service => delete_as::<Service>(ctx, namespace, &what, name, uid).await,
        ChildKind::Deployment => delete_as::<Deployment>(ctx, namespace, &what, name, uid).await,
        ChildKind::Autoscaler => delete_as::<HorizontalPodAutoscaler>(ctx, namespace, &what, name, uid).await,
    };
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

async fn delete_as<K>(ctx: &Context, namespace: &str, what: &str, name: &str, uid: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let how = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    call(what, api.delete(name, &how)).await.map(|_| ())
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
    let key = (kind, pool.namespace().to_owned(), name.to_owned());
    ctx.written.wrote(key, before, result, Instant::now());
}
