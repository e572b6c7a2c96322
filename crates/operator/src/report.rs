//! Writes a status when it says something new, and tells people of what changed.

use std::time::{Duration, Instant};

use api::{InferencePool, InferencePoolStatus};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use operator_core::FIELD_MANAGER;
use operator_core::plan::Note;
use operator_core::pool::{Writing, notes, writing};
use serde_json::{Value, json};

use crate::call::call;
use crate::context::Context;
use crate::error::Error;

/// Writes `new` over `old` if need be. Returns how long to wait before it is due, when it is not yet.
pub(crate) async fn report(
    ctx: &Context,
    pool: &InferencePool,
    old: &InferencePoolStatus,
    new: &InferencePoolStatus,
) -> Result<Option<Duration>, Error> {
    let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let uid = pool.metadata.uid.clone().unwrap_or_default();
    match writing(old, new, ctx.since_report(&uid)) {
        Writing::Never => return Ok(None),
        Writing::In(wait) => return Ok(Some(wait)),
        Writing::Now => {}
    }
    let api = Api::<InferencePool>::namespaced(ctx.client.clone(), &namespace);
    let what = format!("write the status of InferencePool {namespace}/{name}");
    let patch = Patch::Merge(patch(&uid, new));
    let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match call(&what, api.patch_status(&name, &by, &patch)).await {
        Ok(_) => {}
        // Deleted since we looked.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    ctx.metrics.wrote("InferencePool/status");
    ctx.note_report(&uid);
    ctx.reported.wrote(uid, pool.metadata.resource_version.clone(), Some(new.clone()), Instant::now());
    for note in notes(old, new) {
        tell(ctx, pool, note).await;
    }
    Ok(None)
}

/// The status as a merge patch: what is absent must be taken away. The UID keeps it from a namesake made since.
fn patch(uid: &str, status: &InferencePoolStatus) -> Value {
    let mut body = json!({"metadata": {"uid": uid}, "status": status});
    if status.in_flight.is_none() {
        body["status"]["inFlight"] = Value::Null;
    }
    if status.used_by.is_empty() {
        body["status"]["usedBy"] = Value::Null;
    }
    body
}

/// An event that cannot be written is only logged: the condition says the same.
pub(crate) async fn tell<K: Resource<DynamicType = ()>>(ctx: &Context, object: &K, note: Note) {
    let type_ = if note.warning { EventType::Warning } else { EventType::Normal };
    let (kind, namespace, name) = (K::kind(&()), object.namespace().unwrap_or_default(), object.name_any());
    tracing::info!(%kind, namespace, name, reason = note.reason, note = note.message, "told");
    let event =
        Event { type_, reason: note.reason, note: Some(note.message), action: "Report".to_owned(), secondary: None };
    if let Err(error) = call("write an event", ctx.events.publish(&event, &object.object_ref(&()))).await {
        tracing::warn!(%error, "an event is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_gone_is_taken_away() {
        let status = InferencePoolStatus { replicas: 2, ..InferencePoolStatus::default() };
        let want = json!({
            "metadata": {"uid": "u"},
            "status": {
                "replicas": 2, "readyReplicas": 0, "updatedReplicas": 0,
                "inFlight": null, "usedBy": null,
            },
        });
        assert_eq!(patch("u", &status), want);
        let busy = InferencePoolStatus { in_flight: Some(7), ..status };
        assert_eq!(patch("u", &busy)["status"]["inFlight"], 7);
    }
}
