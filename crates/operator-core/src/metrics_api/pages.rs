//! The answers, as JSON.

use api::{GROUP as POOL_GROUP, VERSION as POOL_VERSION};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{GROUP, Kind, Metric, Query, VERSIONS, Version};

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The pool or pod that it is about.
    pub name: String,
    /// Its value, in thousandths.
    pub millis: i64,
    /// When the oldest of the answers that it is made of came in.
    pub at: Timestamp,
}

/// Answers [`super::Ask::Groups`].
#[must_use]
pub fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

/// Answers [`super::Ask::Group`].
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

/// Answers [`super::Ask::Resources`].
#[must_use]
pub fn resources(version: Version) -> Value {
    let of = |kind: Kind| {
        Metric::ALL.map(|metric| {
            json!({
                "name": format!("{}/{}", kind.resource(), metric.name()),
                "singularName": "",
                "namespaced": true,
                "kind": "MetricValueList",
                "verbs": ["get"],
            })
        })
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{}", version.as_str()),
        "resources": Kind::ALL.map(of).concat(),
    })
}

/// Answers [`super::Ask::Figures`].
#[must_use]
pub fn figures(query: &Query, figures: &[Figure]) -> Value {
    json!({
        "kind": "MetricValueList",
        "apiVersion": format!("{GROUP}/{}", query.version.as_str()),
        "metadata": {},
        "items": figures.iter().map(|figure| item(query, figure)).collect::<Vec<_>>(),
    })
}

fn item(query: &Query, figure: &Figure) -> Value {
    let (kind, version) = match query.kind {
        Kind::Pool => ("InferencePool", format!("{POOL_GROUP}/{POOL_VERSION}")),
        Kind::Pod => ("Pod", "v1".to_owned()),
    };
    let at = Timestamp::from_second(figure.at.as_second()).unwrap_or(figure.at);
    let mut item = json!({
        "describedObject": {"kind": kind, "namespace": query.namespace, "name": figure.name, "apiVersion": version},
        "timestamp": at.to_string(),
        "value": quantity(figure.millis),
    });
    match query.version {
        Version::V1Beta2 => item["metric"] = json!({"name": query.metric.name(), "selector": null}),
        Version::V1Beta1 => {
            item["metricName"] = json!(query.metric.name());
            item["selector"] = Value::Null;
        }
    }
    item
}

fn quantity(millis: i64) -> String {
    if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") }
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
    use crate::metrics_api::Which;

    #[test]
    fn has_the_shape_of_each_version() {
        let at: Timestamp = "2026-11-21T10:00:00.9Z".parse().unwrap();
        let pool = json!({
            "kind": "InferencePool", "namespace": "ml", "name": "llama", "apiVersion": "quartermaster.dev/v1alpha1",
        });
        let pod = json!({"kind": "Pod", "namespace": "ml", "name": "llama", "apiVersion": "v1"});
        let table = [
            (Version::V1Beta2, json!({"metric": {"name": "vllm_kv_cache_usage", "selector": null}})),
            (Version::V1Beta1, json!({"metricName": "vllm_kv_cache_usage", "selector": null})),
        ];
        for (version, named) in table {
            for (kind, object) in [(Kind::Pool, &pool), (Kind::Pod, &pod)] {
                for (millis, value) in [(437, "437m"), (37_000, "37"), (0, "0")] {
                    let mut item =
                        json!({"describedObject": object, "timestamp": "2026-11-21T10:00:00Z", "value": value});
                    item.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
                    let want = json!({
                        "kind": "MetricValueList", "apiVersion": format!("custom.metrics.k8s.io/{}", version.as_str()),
                        "metadata": {}, "items": [item],
                    });
                    let (namespace, which) = ("ml".to_owned(), Which::Named("llama".to_owned()));
                    let query = Query { version, namespace, kind, which, metric: Metric::CacheUsage };
                    assert_eq!(figures(&query, &[Figure { name: "llama".to_owned(), millis, at }]), want);
                }
            }
        }
        assert_eq!(group()["preferredVersion"]["groupVersion"], "custom.metrics.k8s.io/v1beta2");
        assert_eq!(Version::V1Beta1.api_service(), "v1beta1.custom.metrics.k8s.io");
    }

    #[test]
    fn lists_what_can_be_asked() {
        let page = resources(Version::V1Beta2);
        let names: Vec<&str> =
            page["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "inferencepools.quartermaster.dev/vllm_inflight_requests");
        assert_eq!(names[7], "pods/vllm_kv_cache_usage");
    }
}
