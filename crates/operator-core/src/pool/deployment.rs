//! The Deployment of a pool: one pod with one engine for each replica.

use std::collections::BTreeMap;

use api::ENGINE_PORT;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
    SleepAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::children::{labels, metadata, selector};
use super::service::PORT_NAME;
use super::validate::ValidPool;
use crate::plan::ChildKind;

const CONTAINER: &str = "engine";

/// The one folder that outlives an engine's restart within its pod: weights, compiled kernels, and whatever else looks for
/// a home.
const CACHE: &str = "/cache";

/// An engine that answers no health check for this long after its start is started again. Large models take many minutes to
/// download and compile, and an engine killed at it would begin from nothing.
const LONGEST_START_SECONDS: i32 = 1800;
/// A rollout is called stuck when no pod got further for this long: longer than a start, so that a slow one is not.
const PROGRESS_DEADLINE_SECONDS: i32 = LONGEST_START_SECONDS + 300;
/// From the moment a pod is marked for deletion to SIGTERM. In this time every router hears of it and sends no more; vLLM
/// would answer new requests with 500 while it drains.
const NOTICE_SECONDS: i64 = 5;
/// What an engine needs to end after its last request: three seconds were measured, GPU backends reserve up to fifteen.
const TEARDOWN_SECONDS: i64 = 15;
/// Nobody's user: not root, not in the image's own list, and the same that distroless images use.
const USER: i64 = 65_532;

pub(super) fn of(pool: &ValidPool) -> Deployment {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(&pool.name)), ..ObjectMeta::default() }),
        spec: Some(pod(pool)),
    };
    let rolling =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(1)), max_unavailable: Some(IntOrString::Int(0)) };
    Deployment {
        metadata: metadata(pool, ChildKind::Deployment),
        spec: Some(DeploymentSpec {
            replicas: Some(pool.replicas),
            selector: LabelSelector { match_labels: Some(selector(&pool.name)), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(rolling),
            }),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn pod(pool: &ValidPool) -> PodSpec {
    PodSpec {
        containers: vec![engine(pool)],
        automount_service_account_token: Some(false),
        // A Service called `vllm` anywhere in the namespace would otherwise set VLLM_PORT, which vLLM takes for its own.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(NOTICE_SECONDS + i64::from(pool.drain_seconds) + TEARDOWN_SECONDS),
        volumes: Some(vec![empty_dir("cache", None), empty_dir("tmp", None), empty_dir("shm", Some("Memory"))]),
        ..PodSpec::default()
    }
}

fn engine(pool: &ValidPool) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(pool.image.clone()),
        args: Some(arguments(pool)),
        env: Some(environment(pool)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: ENGINE_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: resources(pool),
        volume_mounts: Some(vec![mount("cache", CACHE), mount("tmp", "/tmp"), mount("shm", "/dev/shm")]),
        // The engine writes to the folders mounted above and nowhere else, so the rest of its file system can be read-only.
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        startup_probe: Some(health(1, 1, LONGEST_START_SECONDS)),
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

/// What follows `vllm serve`. The arguments of the spec come last.
fn arguments(pool: &ValidPool) -> Vec<String> {
    let mut args = vec![pool.model.clone(), "--served-model-name".to_owned()];
    args.extend(pool.served_names.iter().cloned());
    let mut set = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    set("--host", "0.0.0.0".to_owned());
    set("--port", ENGINE_PORT.to_string());
    set("--shutdown-timeout", pool.drain_seconds.to_string());
    if let Some(tokens) = pool.max_model_len {
        set("--max-model-len", tokens.to_string());
    }
    if let Some(requests) = pool.max_num_seqs {
        set("--max-num-seqs", requests.to_string());
    }
    args.extend(pool.extra_args.iter().cloned());
    args
}

/// Ours first, then the spec's; of two with one name the spec's holds.
fn environment(pool: &ValidPool) -> Vec<EnvVar> {
    let defaults = [
        ("HOME", CACHE.to_owned()),
        ("HF_HOME", format!("{CACHE}/huggingface")),
        ("VLLM_CACHE_ROOT", format!("{CACHE}/vllm")),
        // The kernel compiler names its folder after the user, and a user without an entry in the image has no name.
        ("USER", CONTAINER.to_owned()),
        ("VLLM_NO_USAGE_STATS", "1".to_owned()),
    ];
    let ours = defaults.into_iter().filter(|(name, _)| pool.env.iter().all(|var| var.name != *name));
    let ours = ours.map(|(name, value)| (name.to_owned(), value));
    let theirs = pool.env.iter().map(|var| (var.name.clone(), var.value.clone()));
    ours.chain(theirs).map(|(name, value)| EnvVar { name, value: Some(value), value_from: None }).collect()
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

fn empty_dir(name: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: medium.map(str::to_owned), size_limit: None }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
