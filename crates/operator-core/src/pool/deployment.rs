//! The Deployment of a pool: one pod with one engine for each replica.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::children::{labels, metadata, selector};
use super::pod;
use super::validate::ValidPool;
use crate::plan::ChildKind;

/// A rollout is called stuck when no pod got further for a whole start and this much longer.
const SLACK_SECONDS: i32 = 300;

pub(super) fn of(pool: &ValidPool) -> Deployment {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(&pool.name)), ..ObjectMeta::default() }),
        spec: Some(pod::of(pool)),
    };
    Deployment {
        metadata: metadata(pool, ChildKind::Deployment),
        spec: Some(DeploymentSpec {
            replicas: Some(pool.spec.replicas),
            selector: LabelSelector { match_labels: Some(selector(&pool.name)), ..LabelSelector::default() },
            strategy: Some(surge()),
            progress_deadline_seconds: Some(pool.spec.engine.start_timeout.seconds() + SLACK_SECONDS),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// A new replica is ready before an old one leaves.
fn surge() -> DeploymentStrategy {
    let rolling =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(1)), max_unavailable: Some(IntOrString::Int(0)) };
    DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) }
}
