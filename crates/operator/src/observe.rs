//! Reads what a pool's plan depends on, from the stores. Nothing is asked of the API server.

use std::time::Instant;

use api::InferencePool;
use kube::ResourceExt;
use operator_core::plan::{Child, ChildKind};
use operator_core::pool::{Observed, child_name};

use crate::context::Context;
use crate::relations;

/// Everything that the plan for `pool` depends on, besides its spec.
pub(crate) fn observe(ctx: &Context, pool: &InferencePool) -> Observed {
    let (namespace, name, now) = (pool.namespace().unwrap_or_default(), pool.name_any(), Instant::now());
    let stored = pool.status.clone().unwrap_or_default();
    let version = pool.metadata.resource_version.as_deref();
    let uid = pool.metadata.uid.clone().unwrap_or_default();
    let mut seen = Observed {
        status: ctx.reported.latest(&uid, version, Some(stored), now, |_| false).unwrap_or_default(),
        metrics_api: ctx.metrics_api.borrow().clone(),
        in_flight: ctx.loads.of(&namespace, &name, now).ok().map(|load| load.in_flight()),
        used_by: relations::users(&ctx.stores, pool),
        pods: ctx.stores.pods_of(&namespace, &name),
        ..Observed::default()
    };
    let gone = |child: &Child| child.metadata().uid.as_deref().is_some_and(|uid| ctx.stores.heard.gone.has(uid));
    for kind in ChildKind::ALL {
        let key = (kind, namespace.clone(), child_name(kind, &name), uid.clone());
        let (stored, version) = ctx.stores.child(kind, &namespace, &key.2).unzip();
        seen.children.extend(ctx.written.latest(&key, version.flatten().as_deref(), stored, now, gone));
    }
    seen
}
