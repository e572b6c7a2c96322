//! Pools and policies as they come from the API server, which may be some that we cannot read.

use api::{InferencePool, RoutePolicy};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;

/// A pool, or why it cannot be read.
pub(crate) type GuardedPool = DeserializeGuard<InferencePool>;
/// A policy, or why it cannot be read.
pub(crate) type GuardedPolicy = DeserializeGuard<RoutePolicy>;

/// Namespace and name.
pub(crate) fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// The pool of this name, for those who want it looked at.
pub(crate) fn pool_reference(namespace: &str, name: &str) -> ObjectRef<GuardedPool> {
    ObjectRef::new(name).within(namespace)
}
