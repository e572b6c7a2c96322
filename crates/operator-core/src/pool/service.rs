//! The Service of a pool: the name of its replicas, and the reason that they have endpoints.

use api::ENGINE_PORT;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::identity::{metadata, selector};
use super::validate::ValidPool;
use crate::plan::ChildKind;

/// Name of the port, in the Service and in the pods.
pub(super) const PORT_NAME: &str = "http";

/// Endpoint slices take over the Service's labels, which is how the router tells which pool an endpoint is of.
pub(super) fn of(pool: &ValidPool) -> Service {
    let port = ServicePort {
        name: Some(PORT_NAME.to_owned()),
        port: ENGINE_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(pool, ChildKind::Service),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector(&pool.name)),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
