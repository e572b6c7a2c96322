//! Tells in its own status that an object cannot be read, and why.
//!
//! What the watch gives of such an object is its metadata only, so it is fetched as it is stored. That costs one call for
//! each look at it, of which there are few: when it changes, and every ten minutes.
//!
//! The API server checks the whole object even when only its status is written. Where it refuses the status for the sake of
//! the spec, an event is all that can be left at the object; it is renewed every ten minutes, because events are forgotten.

use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Resource, ResourceExt};
use operator_core::FIELD_MANAGER;
use operator_core::plan::Note;
use operator_core::unreadable::{Written, conditions, fault};
use serde_json::{Value, json};

use crate::call::call;
use crate::context::Context;
use crate::error::Error;
use crate::report::tell;

/// Writes the conditions of an object that cannot be read, if they are not there already.
pub(crate) async fn report_unreadable<K>(ctx: &Context, guarded: &DeserializeGuard<K>) -> Result<(), Error>
where
    K: Written + Resource<DynamicType = ()>,
{
    let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
    let (kind, resource) = (K::kind(&()), ApiResource::erase::<K>(&()));
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), &namespace, &resource);
    let what = format!("read {kind} {namespace}/{name}");
    // Listed and not fetched, because to list the kind is a right that the operator has anyway.
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = call(&what, api.list(&only)).await?.items.into_iter().next();
    // Deleted since we looked.
    let Some(stored) = found else { return Ok(()) };
    let stored = serde_json::to_value(stored).unwrap_or_default();
    // It may have been corrected since; then the watch tells of that.
    let Some(fault) = fault::<K>(&stored) else { return Ok(()) };
    let told = conditions::<K>(&(ctx.clock)(), &stored, &fault);
    let known = &stored["status"]["conditions"];
    if *known == serde_json::to_value(&told).unwrap_or_default() {
        return Ok(());
    }
    let what = format!("write the status of {kind} {namespace}/{name}");
    let generation = &stored["metadata"]["generation"];
    let patch: Value = json!({
        "metadata": {"uid": stored["metadata"]["uid"]},
        "status": {"observedGeneration": generation, "conditions": told},
    });
    let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match call(&what, api.patch_status(&name, &by, &Patch::Merge(patch))).await {
        Ok(_) => ctx.metrics.wrote(&format!("{kind}/status")),
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) if error.is_invalid() => {
            tracing::debug!(%error, "the status of an unreadable object is refused as well");
        }
        Err(error) => return Err(error),
    }
    if let Some(why) = told.into_iter().find(|c| c.type_ == api::conditions::STALLED) {
        tell(ctx, guarded, Note { warning: true, reason: why.reason, message: why.message }).await;
    }
    Ok(())
}
