//! The pod of a replica: one engine, and nothing that it does not need.

mod arguments;
mod volumes;

use std::collections::BTreeMap;

use api::{ENGINE_PORT, TaintEffect, Toleration, TolerationOperator, TopologySpread, WhenUnsatisfiable};
use k8s_openapi::api::core::v1::{
    self, Capabilities, Container, ContainerPort, HTTPGetAction, Lifecycle, LifecycleHandler, LocalObjectReference,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, SleepAction,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::identity::{name, selector};
use super::service::PORT_NAME;
use super::validate::{ValidPool, Weights};
use crate::plan::ChildKind;

/// Name of the one container.
pub(super) const CONTAINER: &str = "engine";
/// From the moment a pod is marked for deletion to SIGTERM. In this time every router hears of it and sends no more; vLLM
/// would answer new requests with 500 while it drains.
const NOTICE_SECONDS: i64 = 5;
/// What an engine needs to end after its last request: three seconds were measured, GPU backends reserve up to fifteen.
const TEARDOWN_SECONDS: i64 = 15;
/// Nobody's user: not root, not in the image's own list, and the same that distroless images use.
const USER: i64 = 65_532;

/// All of it passes the Pod Security level `restricted`.
pub(super) fn of(pool: &ValidPool) -> PodSpec {
    let placement = &pool.spec.placement;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let node_selector: BTreeMap<_, _> =
        placement.node_selector.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    PodSpec {
        containers: vec![engine(pool)],
        service_account_name: Some(name(ChildKind::ServiceAccount, &pool.name)),
        automount_service_account_token: Some(false),
        // A Service called `vllm` anywhere in the namespace would otherwise set VLLM_PORT, which vLLM takes for its own.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A claim full of weights would otherwise be walked file by file at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(
            NOTICE_SECONDS + i64::from(pool.spec.drain.timeout.seconds()) + TEARDOWN_SECONDS,
        ),
        image_pull_secrets: list(pull_secrets(pool)),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        tolerations: list(placement.tolerations.iter().map(toleration).collect()),
        topology_spread_constraints: list(placement.topology_spread.iter().map(|s| spread(pool, s)).collect()),
        priority_class_name: some(&placement.priority_class_name),
        runtime_class_name: some(&placement.runtime_class_name),
        volumes: Some(volumes::of(pool)),
        ..PodSpec::default()
    }
}

fn engine(pool: &ValidPool) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(pool.image.clone()),
        args: Some(arguments::of(pool)),
        env: Some(arguments::environment(pool)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: ENGINE_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: resources(pool),
        volume_mounts: Some(volumes::mounts(pool)),
        // The engine writes to the folders mounted and nowhere else, so the rest of its file system can be read-only.
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        // Every second, because waiting for the next look is the one part of a start that costs nothing to shorten.
        startup_probe: Some(health(1, 1, pool.spec.engine.start_timeout.seconds())),
        readiness_probe: Some(health(2, 5, 3)),
        // Two minutes: an engine under full load may answer late, and killing it would lose all that it runs.
        liveness_probe: Some(health(10, 10, 12)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: NOTICE_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        // So that the reason of a failed start can be read from the pod without access to its logs.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// Memory is limited to what is requested, so that a replica is never killed for a neighbour's needs. Processor time is not
/// limited: imports and compiling use all there is at the start, and a limit would only make starts slow.
fn resources(pool: &ValidPool) -> Option<ResourceRequirements> {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    if let Some(cpu) = &pool.cpu {
        requests.insert("cpu".to_owned(), cpu.clone());
    }
    if let Some(memory) = &pool.memory {
        requests.insert("memory".to_owned(), memory.clone());
        limits.insert("memory".to_owned(), memory.clone());
    }
    if let Some((name, count)) = &pool.gpu {
        limits.insert(name.clone(), count.clone());
    }
    let some = |map: BTreeMap<_, _>| (!map.is_empty()).then_some(map);
    let (requests, limits) = (some(requests), some(limits));
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements { requests, limits, claims: None })
}

fn health(period_seconds: i32, timeout_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/health".to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// The engine's, and the one for an image of weights.
fn pull_secrets(pool: &ValidPool) -> Vec<LocalObjectReference> {
    let mut names = pool.spec.engine.image_pull_secrets.clone();
    if let (Weights::Image(_), Some(secret)) = (&pool.weights, &pool.spec.model.credentials_secret_ref)
        && !names.contains(&secret.name)
    {
        names.push(secret.name.clone());
    }
    names.into_iter().map(|name| LocalObjectReference { name }).collect()
}

fn toleration(from: &Toleration) -> v1::Toleration {
    let (equal, exists) = ("Equal", "Exists");
    let operator = match from.operator {
        TolerationOperator::Equal => equal,
        TolerationOperator::Exists => exists,
    };
    let effect = from.effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    v1::Toleration {
        key: from.key.clone(),
        operator: Some(operator.to_owned()),
        value: from.value.clone().filter(|value| !value.is_empty()),
        effect: effect.map(str::to_owned),
        toleration_seconds: from.toleration_seconds,
    }
}

fn spread(pool: &ValidPool, from: &TopologySpread) -> TopologySpreadConstraint {
    let otherwise = match from.when_unsatisfiable {
        WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
        WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
    };
    TopologySpreadConstraint {
        label_selector: Some(LabelSelector { match_labels: Some(selector(&pool.name)), ..LabelSelector::default() }),
        max_skew: from.max_skew,
        topology_key: from.topology_key.clone(),
        when_unsatisfiable: otherwise.to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

/// The API server drops empty lists, so we never send one.
fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
