//! What protects a pool's replicas: an account without rights, a budget for disruptions, and a fence around their network.

use std::collections::BTreeMap;

use api::ENGINE_PORT;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Site;
use super::identity::{metadata, selector};
use super::validate::{ValidPool, Weights};
use crate::plan::ChildKind;

/// The label that every namespace carries, with its name as the value.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label and value of our own pods, the router's and the operator's, as the charts set them.
const OUR_PODS: (&str, &str) = ("app.kubernetes.io/name", "quartermaster");

/// Where clouds hand out the rights of the node to whoever asks: AWS, Azure and GCP, the containers of ECS, AWS by IPv6. An
/// engine runs code that comes with weights, and must not become the node.
const METADATA_SERVICES: [&str; 2] = ["169.254.169.254/32", "169.254.170.2/32"];
const METADATA_SERVICES_6: [&str; 1] = ["fd00:ec2::254/128"];

/// The account that the replicas run as. It has no rights here; a cloud can give it some by an annotation, which stays.
pub(super) fn service_account(pool: &ValidPool) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(pool, ChildKind::ServiceAccount),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// How many replicas may be away because nodes are drained. One that never became ready holds no drain up.
pub(super) fn disruption_budget(pool: &ValidPool) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(pool, ChildKind::PodDisruptionBudget),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(pool.spec.disruption.max_unavailable)),
            selector: Some(of_pool(pool)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Who may call the engines, and where they may go. An engine asks nobody for a password, and several of its pages change
/// what it does; so only the router, the operator and whoever reads its metrics come in.
pub(super) fn network_policy(pool: &ValidPool, site: &Site) -> NetworkPolicy {
    let mut from = vec![NetworkPolicyPeer {
        namespace_selector: Some(namespace(&site.namespace)),
        pod_selector: Some(labelled([(OUR_PODS.0.to_owned(), OUR_PODS.1.to_owned())].into())),
        ..NetworkPolicyPeer::default()
    }];
    from.extend(
        site.scrapers.iter().map(|name| NetworkPolicyPeer {
            namespace_selector: Some(namespace(name)),
            ..NetworkPolicyPeer::default()
        }),
    );
    if pool.spec.exposure.direct_access {
        let everyone = Some(LabelSelector::default());
        from.push(NetworkPolicyPeer { pod_selector: everyone, ..NetworkPolicyPeer::default() });
    }
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(ENGINE_PORT)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicy {
        metadata: metadata(pool, ChildKind::NetworkPolicy),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(of_pool(pool)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port]) }]),
            egress: Some(vec![NetworkPolicyEgressRule { to: Some(outside(pool)), ports: None }]),
        }),
    }
}

/// Everywhere but the metadata services. Pods are named apart, because some networks do not count them among addresses.
fn outside(pool: &ValidPool) -> Vec<NetworkPolicyPeer> {
    // Object storage without credentials of its own can only be opened with the rights that these services give.
    let by_node = matches!(pool.weights, Weights::Bucket(_)) && pool.spec.model.credentials_secret_ref.is_none();
    let addresses = |cidr: &str, but: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!by_node).then(|| but.iter().map(|&block| block.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    let pods = Some(LabelSelector::default());
    vec![
        NetworkPolicyPeer { namespace_selector: pods, ..NetworkPolicyPeer::default() },
        addresses("0.0.0.0/0", &METADATA_SERVICES),
        addresses("::/0", &METADATA_SERVICES_6),
    ]
}

fn of_pool(pool: &ValidPool) -> LabelSelector {
    labelled(selector(&pool.name))
}

fn namespace(name: &str) -> LabelSelector {
    labelled([(NAMESPACE_NAME.to_owned(), name.to_owned())].into())
}

fn labelled(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
