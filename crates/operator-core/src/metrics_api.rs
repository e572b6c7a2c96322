//! The pages of `custom.metrics.k8s.io`, through which the autoscaler asks for a pool's load.
//!
//! Only what that needs is there: discovery, and one metric of one kind. Answers have the shape of the types in
//! `k8s.io/metrics`, whose two versions differ in how the metric is named.

use api::{GROUP as POOL_GROUP, IN_FLIGHT_METRIC, VERSION as POOL_VERSION};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

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

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether the server is up.
    Health,
    /// The groups that this server has.
    Groups,
    /// The versions of the one group.
    Group,
    /// What a version offers.
    Resources(Version),
    /// The load of a pool.
    InFlight {
        /// In which shape to answer.
        version: Version,
        /// Namespace of the pool.
        namespace: String,
        /// Name of the pool.
        pool: String,
    },
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

    fn read(text: &str) -> Option<Self> {
        VERSIONS.into_iter().find(|version| version.as_str() == text)
    }
}

/// Reads a request's path. `None` when there is no such page.
#[must_use]
pub fn ask(path: &str) -> Option<Ask> {
    let resource = format!("inferencepools.{POOL_GROUP}");
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["healthz" | "livez" | "readyz"] => Some(Ask::Health),
        ["apis"] => Some(Ask::Groups),
        ["apis", GROUP] => Some(Ask::Group),
        ["apis", GROUP, version] => Version::read(version).map(Ask::Resources),
        ["apis", GROUP, version, "namespaces", namespace, kind, pool, IN_FLIGHT_METRIC] if kind == resource => {
            let version = Version::read(version)?;
            Some(Ask::InFlight { version, namespace: namespace.to_owned(), pool: pool.to_owned() })
        }
        _ => None,
    }
}

/// Answers [`Ask::Groups`].
#[must_use]
pub fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

/// Answers [`Ask::Group`].
#[must_use]
pub fn group() -> Value {
    let version = |v: Version| json!({"groupVersion": format!("{GROUP}/{}", v.as_str()), "version": v.as_str()});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": VERSIONS.map(version),
        "preferredVersion": version(VERSIONS[0]),
    })
}

/// Answers [`Ask::Resources`].
#[must_use]
pub fn resources(version: Version) -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{}", version.as_str()),
        "resources": [{
            "name": format!("inferencepools.{POOL_GROUP}/{IN_FLIGHT_METRIC}"),
            "singularName": "",
            "namespaced": true,
            "kind": "MetricValueList",
            "verbs": ["get"],
        }],
    })
}

/// Answers [`Ask::InFlight`]: the requests in flight in the pool as of `at`.
#[must_use]
pub fn in_flight(version: Version, namespace: &str, pool: &str, in_flight: i64, at: Timestamp) -> Value {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let mut item = json!({
        "describedObject": {
            "kind": "InferencePool",
            "namespace": namespace,
            "name": pool,
            "apiVersion": format!("{POOL_GROUP}/{POOL_VERSION}"),
        },
        "timestamp": at.to_string(),
        "value": in_flight.to_string(),
    });
    match version {
        Version::V1Beta2 => item["metric"] = json!({"name": IN_FLIGHT_METRIC, "selector": null}),
        Version::V1Beta1 => {
            item["metricName"] = json!(IN_FLIGHT_METRIC);
            item["selector"] = Value::Null;
        }
    }
    json!({
        "kind": "MetricValueList",
        "apiVersion": format!("{GROUP}/{}", version.as_str()),
        "metadata": {},
        "items": [item],
    })
}

/// An answer that is not what was asked for, in the form that every Kubernetes client understands.
#[must_use]
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_page() {
        let v2 = "/apis/custom.metrics.k8s.io/v1beta2";
        let pool =
            |version, pool: &str| Some(Ask::InFlight { version, namespace: "ml".to_owned(), pool: pool.to_owned() });
        let metric = "inferencepools.quartermaster.dev/llama/vllm_inflight_requests";
        let table = [
            ("/healthz".to_owned(), Some(Ask::Health)),
            ("/apis".to_owned(), Some(Ask::Groups)),
            ("/apis/".to_owned(), Some(Ask::Groups)),
            ("/apis/custom.metrics.k8s.io".to_owned(), Some(Ask::Group)),
            (v2.to_owned(), Some(Ask::Resources(Version::V1Beta2))),
            ("/apis/custom.metrics.k8s.io/v1".to_owned(), None),
            (format!("{v2}/namespaces/ml/{metric}"), pool(Version::V1Beta2, "llama")),
            (format!("{}/namespaces/ml/{metric}", v2.replace("beta2", "beta1")), pool(Version::V1Beta1, "llama")),
            (
                format!("{v2}/namespaces/ml/inferencepools.inference.networking.k8s.io/llama/vllm_inflight_requests"),
                None,
            ),
            (format!("{v2}/namespaces/ml/inferencepools.quartermaster.dev/llama/other"), None),
            ("/openapi/v2".to_owned(), None),
            ("/".to_owned(), None),
        ];
        for (path, want) in table {
            assert_eq!(ask(&path), want, "{path}");
        }
    }

    #[test]
    fn has_the_shape_of_each_version() {
        let at: Timestamp = "2026-11-21T10:00:00.9Z".parse().unwrap();
        let object = json!({
            "kind": "InferencePool", "namespace": "ml", "name": "llama", "apiVersion": "quartermaster.dev/v1alpha1",
        });
        for (version, named) in [
            (Version::V1Beta2, json!({"metric": {"name": "vllm_inflight_requests", "selector": null}})),
            (Version::V1Beta1, json!({"metricName": "vllm_inflight_requests", "selector": null})),
        ] {
            let mut item = json!({"describedObject": object, "timestamp": "2026-11-21T10:00:00Z", "value": "37"});
            item.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
            let want = json!({
                "kind": "MetricValueList", "apiVersion": format!("custom.metrics.k8s.io/{}", version.as_str()),
                "metadata": {}, "items": [item],
            });
            assert_eq!(in_flight(version, "ml", "llama", 37, at), want);
        }
        assert_eq!(group()["preferredVersion"]["groupVersion"], "custom.metrics.k8s.io/v1beta2");
        assert_eq!(Version::V1Beta1.api_service(), "v1beta1.custom.metrics.k8s.io");
    }
}
