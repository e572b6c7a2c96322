//! A pod as it is looked at: what its status holds, and how long ago things happened.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A pod and the moment it is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) pod: &'a Pod,
    pub(super) now: &'a Time,
}

/// Time left of `all`; an hour when nothing is, because other figures decide then.
pub(super) fn left(all: Duration, passed: Duration) -> Duration {
    all.checked_sub(passed).filter(|left| !left.is_zero()).unwrap_or(Duration::from_secs(3600))
}

impl<'a> Look<'a> {
    pub(super) fn phase(self) -> &'a str {
        self.pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
    }

    pub(super) fn condition(self, type_: &str) -> Option<&'a PodCondition> {
        self.pod.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
    }

    pub(super) fn containers(self) -> &'a [ContainerStatus] {
        self.pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default()
    }

    pub(super) fn init_containers(self) -> &'a [ContainerStatus] {
        self.pod.status.as_ref().and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default()
    }

    /// Time since then; zero when it is not known or still to come.
    pub(super) fn since(self, then: Option<&Time>) -> Duration {
        let passed = then.map_or(0, |then| self.now.0.duration_since(then.0).as_secs());
        Duration::from_secs(passed.max(0).unsigned_abs())
    }

    pub(super) fn node(self) -> String {
        let name = self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        name.map_or_else(String::new, |name| format!(" {name}"))
    }

    /// A resource with the amount that the pod asks for: `2 nvidia.com/gpu`, `24Gi memory`.
    pub(super) fn requested(self, name: &str) -> String {
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        let resources = containers.filter_map(|c| c.resources.as_ref());
        let mut amounts = resources.filter_map(|r| {
            let of = |map: &'a Option<std::collections::BTreeMap<String, _>>| map.as_ref().and_then(|m| m.get(name));
            of(&r.requests).or_else(|| of(&r.limits))
        });
        amounts.next().map_or_else(|| name.to_owned(), |amount| format!("{} {name}", amount.0))
    }
}
