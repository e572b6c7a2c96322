//! The Deployment of a pool: one pod with one engine for each replica.

use api::SETTINGS_LABEL;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::identity::{RESTARTED, labels, metadata, selector};
use super::pod;
use super::rollout::Strategy;
use super::validate::ValidPool;
use crate::plan::ChildKind;

/// A rollout is called stuck when no pod got further for a whole start and this much longer.
const SLACK_SECONDS: i32 = 300;

pub(super) fn of(pool: &ValidPool, strategy: Strategy) -> Deployment {
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(&pool.name)), ..ObjectMeta::default() }),
        spec: Some(pod::of(pool)),
    };
    let name = settings(&template);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(SETTINGS_LABEL.to_owned(), name);
    Deployment {
        metadata: metadata(pool, ChildKind::Deployment),
        spec: Some(DeploymentSpec {
            replicas: Some(pool.spec.replicas),
            selector: LabelSelector { match_labels: Some(selector(&pool.name)), ..LabelSelector::default() },
            strategy: Some(strategy.to_deployment()),
            progress_deadline_seconds: Some(pool.spec.engine.start_timeout.seconds() + SLACK_SECONDS),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Whether `pod` runs the settings that the pool asks for, and not those of an earlier rollout of `live`.
pub(super) fn runs_current(pool: &ValidPool, live: Option<&Deployment>) -> impl Fn(&Pod) -> bool {
    let wanted = of(pool, Strategy::Surge).spec.map(|spec| spec.template.metadata.unwrap_or_default());
    let wanted = wanted.and_then(|metadata| metadata.labels?.remove(SETTINGS_LABEL));
    let template = live.and_then(|live| live.spec.as_ref()?.template.metadata.as_ref());
    let restarted = template.and_then(restarted).cloned();
    move |pod| {
        let name = pod.metadata.labels.as_ref().and_then(|labels| labels.get(SETTINGS_LABEL));
        name == wanted.as_ref() && restarted.as_ref() == self::restarted(&pod.metadata)
    }
}

fn restarted(metadata: &ObjectMeta) -> Option<&String> {
    metadata.annotations.as_ref()?.get(RESTARTED)
}

/// A name for the settings of a pod: the 64-bit FNV-1a hash of the template's JSON. The Deployment's own
/// `pod-template-hash` would do as well, but only its replica sets tell which of them is the current one.
fn settings(template: &PodTemplateSpec) -> String {
    let text = serde_json::to_vec(template).unwrap_or_default();
    let hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
