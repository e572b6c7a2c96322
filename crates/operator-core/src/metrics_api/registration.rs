//! Whether the API server sends requests for the metrics API to us.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use crate::FIELD_MANAGER;

/// Who answers for `custom.metrics.k8s.io` in this cluster, as far as this operator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MetricsApi {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// This operator was told not to serve it.
    Off,
    /// We do.
    Ours,
    /// Nobody: the API server knows of no such API.
    Absent,
    /// Another server, or another program has settled whom the API server trusts.
    Foreign {
        /// The APIService.
        name: String,
        /// Who has it.
        owner: Owner,
    },
    /// We should, but the API server cannot reach us.
    Unreachable {
        /// The APIService.
        name: String,
        /// The API server's reason, in CamelCase.
        reason: String,
    },
}

/// Who has an APIService that we would need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It points to this Service, as `namespace/name`.
    Service(String),
    /// It points to the API server itself, where somebody defined resources by that name.
    Local,
    /// It points to us, but the authority that the API server trusts was written by this field manager.
    Manager(String),
}

/// What to do about an APIService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Write the authority of our certificate into it.
    Trust,
    /// Leave it alone; this is how things stand.
    Leave(MetricsApi),
}

/// A Service, by namespace and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceName<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl MetricsApi {
    /// How things stand with the whole API, from how they stand with its versions: the worst counts, but one version is
    /// enough to be there.
    #[must_use]
    pub fn of_versions(versions: impl IntoIterator<Item = Self>) -> Self {
        versions
            .into_iter()
            .fold(Self::Unknown, |worst, next| if next.weight() > worst.weight() { next } else { worst })
    }

    fn weight(&self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Absent => 1,
            Self::Off => 2,
            Self::Ours => 3,
            Self::Unreachable { .. } => 4,
            Self::Foreign { .. } => 5,
        }
    }

    /// Why pools may not be scaled by our figures, as a sentence for people that says what can be done. `None` when they are,
    /// or it is not known.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Ours => None,
            Self::Off => Some(
                "the operator does not serve custom.metrics.k8s.io (metricsApi.enabled is false), so another server must \
                 have the pool's load there: docs/autoscaling.md"
                    .to_owned(),
            ),
            Self::Absent => Some(
                "there is no APIService v1beta2.custom.metrics.k8s.io, so nobody can read the pool's load: install the \
                 chart with metricsApi.enabled=true"
                    .to_owned(),
            ),
            Self::Foreign { name, owner: owner @ Owner::Manager(_) } => Some(format!(
                "the spec.caBundle of APIService {name} was written by {owner}, and is left alone: remove that field, and \
                 the operator writes its own"
            )),
            Self::Foreign { name, owner } => Some(format!(
                "APIService {name} belongs to {owner}, and is left alone: let that server have the pool's load too, or \
                 remove it and install the chart again: docs/autoscaling.md"
            )),
            Self::Unreachable { name, reason } => Some(format!(
                "the API server cannot reach the operator for APIService {name} ({reason}): kubectl describe apiservice \
                 {name}"
            )),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "the Service {name}"),
            Self::Local => write!(f, "the API server itself"),
            Self::Manager(name) => write!(f, "{name:?}"),
        }
    }
}

/// Judges the APIService `name`: the API server finds a version of the metrics API by it. It is written only where it points
/// to our Service and nobody else has settled whom to trust.
#[must_use]
pub fn registration(
    name: &str,
    found: Option<&APIService>,
    ours: ServiceName<'_>,
    authority: &ByteString,
) -> Registration {
    let Some(found) = found else { return Registration::Leave(MetricsApi::Absent) };
    let foreign = |owner| Registration::Leave(MetricsApi::Foreign { name: name.to_owned(), owner });
    let spec = found.spec.clone().unwrap_or_default();
    let Some(at) = spec.service else { return foreign(Owner::Local) };
    let (namespace, service) = (at.namespace.unwrap_or_default(), at.name.unwrap_or_default());
    if (namespace.as_str(), service.as_str()) != (ours.namespace, ours.name) {
        return foreign(Owner::Service(format!("{namespace}/{service}")));
    }
    // Who trusts without looking needs no authority, and must not have one.
    let trusted = spec.insecure_skip_tls_verify == Some(true) || spec.ca_bundle.as_ref() == Some(authority);
    if !trusted {
        return match other_manager(found).filter(|_| spec.ca_bundle.is_some()) {
            Some(manager) => foreign(Owner::Manager(manager)),
            None => Registration::Trust,
        };
    }
    let conditions = found.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let broken = conditions.iter().find(|c| c.type_ == "Available" && c.status == "False");
    Registration::Leave(match broken {
        Some(why) => {
            let reason = why.reason.clone().unwrap_or_default();
            MetricsApi::Unreachable { name: name.to_owned(), reason }
        }
        None => MetricsApi::Ours,
    })
}

/// The field manager, other than ours, that wrote the authority.
fn other_manager(found: &APIService) -> Option<String> {
    let wrote = |fields: &serde_json::Value| fields.pointer("/f:spec/f:caBundle").is_some();
    let entries = found.metadata.managed_fields.iter().flatten();
    let of_authority = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| wrote(&fields.0)));
    of_authority.filter_map(|entry| entry.manager.clone()).find(|manager| manager != FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NAME: &str = "v1beta2.custom.metrics.k8s.io";

    #[test]
    fn only_what_is_ours_is_written() {
        let authority = ByteString(b"ours".to_vec());
        let check = |change: serde_json::Value, want: Registration| {
            let mut service = json!({
                "metadata": {"name": NAME},
                "spec": {"service": {"namespace": "system", "name": "operator"}, "group": "custom.metrics.k8s.io",
                         "version": "v1beta2", "groupPriorityMinimum": 100, "versionPriority": 200},
            });
            for (part, fields) in change.as_object().unwrap() {
                if service[part].is_null() {
                    service[part] = json!({});
                }
                service[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
            let service: APIService = serde_json::from_value(service).unwrap();
            let ours = ServiceName { namespace: "system", name: "operator" };
            assert_eq!(registration(NAME, Some(&service), ours, &authority), want, "{change}");
        };
        let foreign = |owner| Registration::Leave(MetricsApi::Foreign { name: NAME.to_owned(), owner });
        let by = |manager: &str| json!([{"manager": manager, "fieldsV1": {"f:spec": {"f:caBundle": {}}}}]);
        let (own, other) = (json!({"caBundle": "b3Vycw=="}), json!({"caBundle": "b3RoZXI="}));
        let available =
            |status: &str| json!([{"type": "Available", "status": status, "reason": "FailedDiscoveryCheck"}]);

        check(json!({}), Registration::Trust);
        check(json!({"spec": other}), Registration::Trust);
        check(json!({"spec": other, "metadata": {"managedFields": by(FIELD_MANAGER)}}), Registration::Trust);
        check(
            json!({"spec": other, "metadata": {"managedFields": by("cainjector")}}),
            foreign(Owner::Manager("cainjector".to_owned())),
        );
        check(json!({"metadata": {"managedFields": by("cainjector")}}), Registration::Trust);
        check(
            json!({"spec": {"service": {"namespace": "monitoring", "name": "adapter"}}}),
            foreign(Owner::Service("monitoring/adapter".to_owned())),
        );
        check(json!({"spec": {"service": null}}), foreign(Owner::Local));
        check(json!({"spec": own}), Registration::Leave(MetricsApi::Ours));
        check(json!({"spec": {"insecureSkipTLSVerify": true}}), Registration::Leave(MetricsApi::Ours));
        check(json!({"spec": own, "status": {"conditions": available("True")}}), Registration::Leave(MetricsApi::Ours));
        let reason = "FailedDiscoveryCheck".to_owned();
        check(
            json!({"spec": own, "status": {"conditions": available("False")}}),
            Registration::Leave(MetricsApi::Unreachable { name: NAME.to_owned(), reason }),
        );
        let ours = ServiceName { namespace: "system", name: "operator" };
        assert_eq!(registration(NAME, None, ours, &authority), Registration::Leave(MetricsApi::Absent));
    }

    #[test]
    fn the_worst_version_counts() {
        let foreign = MetricsApi::Foreign { name: NAME.to_owned(), owner: Owner::Service("a/b".to_owned()) };
        let table = [
            (vec![], MetricsApi::Unknown),
            (vec![MetricsApi::Absent, MetricsApi::Absent], MetricsApi::Absent),
            (vec![MetricsApi::Absent, MetricsApi::Ours], MetricsApi::Ours),
            (vec![MetricsApi::Ours, foreign.clone()], foreign),
        ];
        for (versions, want) in table {
            assert_eq!(MetricsApi::of_versions(versions.clone()), want, "{versions:?}");
        }
    }

    #[test]
    fn an_obstacle_says_who_and_what_to_do() {
        let foreign = |owner| MetricsApi::Foreign { name: NAME.to_owned(), owner }.obstacle().unwrap();
        let text = foreign(Owner::Service("monitoring/adapter".to_owned()));
        assert!(text.contains(NAME) && text.contains("Service monitoring/adapter") && text.contains("docs/"), "{text}");
        assert!(foreign(Owner::Manager("cainjector".to_owned())).contains("\"cainjector\""));
        assert_eq!(MetricsApi::Ours.obstacle(), None);
    }
}
