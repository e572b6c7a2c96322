//! The pages of `custom.metrics.k8s.io`, through which the autoscaler asks how loaded pools and their replicas are.
//!
//! What is asked is read from a request's path and query; answers have the shape of the types in `k8s.io/metrics`, whose two
//! versions differ in how the metric is named.

mod pages;
mod registration;
mod request;
mod selector;

use crate::load::Load;

pub use pages::{Figure, failure, figures, group, groups, resources};
pub use registration::{MetricsApi, Owner, Registration, ServiceName, registration};
pub use request::{Ask, Query, Refusal, Which, ask};
pub use selector::Selector;

/// Group of the metrics API.
pub const GROUP: &str = "custom.metrics.k8s.io";

/// Versions of the metrics API, the preferred one first.
pub const VERSIONS: [Version; 2] = [Version::V1Beta2, Version::V1Beta1];

/// A version of the metrics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `v1beta2`: what the autoscaler prefers.
    V1Beta2,
    /// `v1beta1`: for older clients.
    V1Beta1,
}

/// What figures are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pool: the sum, or the mean, of its ready replicas.
    Pool,
    /// One pod of a pool.
    Pod,
}

/// What can be asked about a pool or a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests running and waiting.
    InFlight,
    /// Requests that are being computed.
    Running,
    /// Requests in the engines' queues.
    Waiting,
    /// How full the KV caches are, from 0 to 1.
    CacheUsage,
}

impl Version {
    /// As it stands in paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta2 => "v1beta2",
            Self::V1Beta1 => "v1beta1",
        }
    }

    /// Name of the APIService object through which the API server finds this version.
    #[must_use]
    pub fn api_service(self) -> String {
        format!("{}.{GROUP}", self.as_str())
    }
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pool, Self::Pod];

    /// As it stands in paths: the resource, with its group if it has one.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Pool => "inferencepools.quartermaster.dev",
            Self::Pod => "pods",
        }
    }
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::InFlight, Self::Running, Self::Waiting, Self::CacheUsage];

    /// As it stands in paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InFlight => api::IN_FLIGHT_METRIC,
            Self::Running => api::RUNNING_METRIC,
            Self::Waiting => api::WAITING_METRIC,
            Self::CacheUsage => api::CACHE_USAGE_METRIC,
        }
    }

    /// This metric of a load, in thousandths; `None` when the engines do not tell it.
    #[must_use]
    pub fn millis_of(self, load: &Load) -> Option<i64> {
        match self {
            Self::InFlight => Some(load.in_flight().saturating_mul(1000)),
            Self::Running => Some(load.running.saturating_mul(1000)),
            Self::Waiting => Some(load.waiting.saturating_mul(1000)),
            Self::CacheUsage => load.cache_millis,
        }
    }
}
