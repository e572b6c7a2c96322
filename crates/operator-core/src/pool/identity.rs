//! What all children of a pool share, and are known by: names, labels, owner.
//!
//! No two pools of a namespace can make children of one name and kind: each kind's names are the pool's name, or the pool's
//! name with one suffix that is the same for all.

use std::collections::BTreeMap;

use api::{GROUP, POOL_LABEL, VERSION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::validate::ValidPool;
use crate::plan::ChildKind;

/// Says which part of a pool a pod is. It is in every selector, so that a later part of a pool (a warm one, say) can have
/// its own Deployment without either taking the other's pods.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const COMPONENT: &str = "engine";

/// The annotation by which `kubectl rollout restart` makes new pods of the same settings.
pub(super) const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// Name of a pool's child of this kind.
#[must_use]
pub fn name(kind: ChildKind, pool: &str) -> String {
    match kind {
        ChildKind::Deployment | ChildKind::Autoscaler => pool.to_owned(),
        // Kubernetes hands every pod of a namespace `<SERVICE>_PORT`, and vLLM refuses to start when VLLM_PORT is a URL: so
        // a Service must never be called just `vllm`. Nor may a pool called `default` lay claim to the namespace's own
        // ServiceAccount.
        ChildKind::Service | ChildKind::ServiceAccount | ChildKind::PodDisruptionBudget | ChildKind::NetworkPolicy => {
            format!("{pool}-engine")
        }
    }
}

pub(super) fn metadata(pool: &ValidPool, kind: ChildKind) -> ObjectMeta {
    ObjectMeta {
        name: Some(name(kind, &pool.name)),
        namespace: Some(pool.namespace.clone()),
        labels: Some(labels(&pool.name)),
        owner_references: Some(vec![owner(pool)]),
        ..ObjectMeta::default()
    }
}

pub(super) fn labels(pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(pool);
    for (name, value) in [("name", "vllm"), ("instance", pool), ("managed-by", "quartermaster")] {
        labels.insert(format!("app.kubernetes.io/{name}"), value.to_owned());
    }
    labels
}

/// What the pods of a pool's engines are found by. A Deployment's selector cannot be changed later.
pub(super) fn selector(pool: &str) -> BTreeMap<String, String> {
    [(POOL_LABEL, pool), (COMPONENT_LABEL, COMPONENT)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// [`selector`] as one line, for the `scale` subresource.
pub(super) fn selector_text(pool: &str) -> String {
    selector(pool).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Deleting the pool deletes what it owns; no finalizer is needed.
fn owner(pool: &ValidPool) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "InferencePool".to_owned(),
        name: pool.name.clone(),
        uid: pool.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether the object with this metadata was made for the pool with this UID.
#[must_use]
pub fn is_ours(metadata: &ObjectMeta, pool_uid: &str) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == pool_uid)
}
