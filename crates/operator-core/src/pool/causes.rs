//! Why a pool's replicas do not serve, by name.
//!
//! Everything is read from the pods as the watch gives them: their conditions, their containers' states, and the last lines
//! of a container that ended (`terminationMessagePolicy: FallbackToLogsOnError` puts them there). Events are not read: there
//! are many, they are forgotten after an hour, and what they add is said better by `kubectl describe pod`.
//!
//! A message stays the same while nothing new has happened, so that a pool that waits or fails costs few writes: times and
//! counts are rounded, and what changes with each restart is left out.

mod container;
mod look;
mod pod;
mod redact;
mod rounded;
mod scheduler;
mod words;

use std::cmp::Reverse;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::identity::RESTARTED;
use look::Look;

/// Why a replica does not serve. Worse ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The image does not exist, or the node may not have it.
    ImagePullFailed,
    /// The node cannot start the container: a Secret or key is missing, the command does not exist.
    CreateContainerFailed,
    /// The container ends soon after its start, time and again.
    CrashLooping,
    /// The container was killed for passing its memory limit.
    OutOfMemory,
    /// The engine did not answer in the time that it has to start.
    StartTimedOut,
    /// No node has what the pod asks for.
    Unschedulable,
    /// The engine runs, and does not answer its probes.
    ProbeFailing,
    /// The pod's node does not answer any more.
    NodeLost,
    /// The node, or somebody through the eviction API, has ended the pod.
    Evicted,
    /// The pod gave way to one of higher priority.
    Preempted,
    /// The container ended once, and is starting again.
    Restarting,
    /// Volumes, network, image and init containers are being prepared.
    Initializing,
    /// The engine has started, and does not answer yet.
    Loading,
    /// The replica finishes its requests, and then goes.
    Terminating,
}

/// Which settings a replica runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settings {
    /// Those that the Deployment asks for now.
    New,
    /// Earlier ones.
    Old,
}

/// Why one replica does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// By name.
    pub cause: Cause,
    /// In words for people, to be read after the pod's name and a colon.
    pub text: String,
    /// Whether it will not pass unless somebody does something.
    pub stuck: bool,
    /// When the text will be another although nothing has happened.
    pub again: Option<Duration>,
    /// How long the pod has waited for a node, when another pod that goes could make room for it.
    pub waits_for_room: Option<Duration>,
}

/// One pod of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Name of the pod.
    pub pod: String,
    /// Which settings it runs.
    pub settings: Settings,
    /// Why it does not serve; `None` when it does.
    pub finding: Option<Finding>,
}

/// What all pods of a pool say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// In the order in which the pods were made.
    pub replicas: Vec<Replica>,
}

/// The worst cause of a pool, in the form that a condition takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// By name.
    pub cause: Cause,
    /// In words for people.
    pub message: String,
    /// Which settings the replica runs.
    pub settings: Settings,
    /// Whether it will not pass unless somebody does something.
    pub stuck: bool,
}

/// Looks at the pods of a pool. `is_new` tells which of them run the settings that the Deployment asks for now.
#[must_use]
pub fn survey<'a>(now: &Time, pods: impl IntoIterator<Item = &'a Pod>, is_new: impl Fn(&Pod) -> bool) -> Survey {
    let mut pods: Vec<&Pod> = pods.into_iter().filter(|pod| !pod::is_past(Look { pod, now })).collect();
    pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|t| t.0), pod.metadata.name.clone()));
    let replica = |pod: &Pod| Replica {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        settings: if is_new(pod) { Settings::New } else { Settings::Old },
        finding: pod::finding(Look { pod, now }),
    };
    Survey { replicas: pods.into_iter().map(replica).collect() }
}

/// Leaves of a pod only what is read here and by [`crate::load::replica`]: pods are by far the largest objects watched.
pub fn prune(pod: &mut Pod) {
    let meta = &mut pod.metadata;
    meta.managed_fields = None;
    // When `kubectl rollout restart` was called tells pods of the same settings apart.
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, _| name == RESTARTED);
    }
    meta.owner_references = None;
    if let Some(spec) = &mut pod.spec {
        let keep = std::mem::take(spec);
        spec.node_name = keep.node_name;
        spec.termination_grace_period_seconds = keep.termination_grace_period_seconds;
        spec.containers = keep.containers.into_iter().map(pruned).collect();
        spec.init_containers = keep.init_containers.map(|all| all.into_iter().map(pruned).collect());
    }
    if let Some(status) = &mut pod.status {
        status.resize = None;
        status.host_ips = None;
        status.resource_claim_statuses = None;
        status.ephemeral_container_statuses = None;
        let all = status.container_statuses.iter_mut().chain(&mut status.init_container_statuses).flatten();
        for container in all {
            container.resources = None;
            container.allocated_resources = None;
            container.allocated_resources_status = None;
            container.volume_mounts = None;
            container.container_id = None;
            container.image_id = String::new();
        }
    }
}

fn pruned(container: k8s_openapi::api::core::v1::Container) -> k8s_openapi::api::core::v1::Container {
    k8s_openapi::api::core::v1::Container {
        name: container.name,
        resources: container.resources,
        startup_probe: container.startup_probe,
        ..Default::default()
    }
}

impl Survey {
    /// The cause that people should read first: new settings before old, what is stuck before what passes, worse before
    /// better. A replica with old settings keeps nothing from going on; it is replaced anyway.
    #[must_use]
    pub fn headline(&self) -> Option<Headline> {
        let rank = |r: &Replica, f: &Finding| (r.settings, Reverse(f.stuck), f.cause);
        let all: Vec<(&Replica, &Finding)> =
            self.replicas.iter().filter_map(|r| Some((r, r.finding.as_ref()?))).collect();
        let (first, finding) = all.iter().copied().min_by_key(|(r, f)| rank(r, f))?;
        let alike = all.iter().filter(|(r, f)| rank(r, f) == rank(first, finding)).count();
        let who = match alike {
            1 => format!("pod {}", first.pod),
            n => format!("pod {} and {} more", first.pod, n - 1),
        };
        let stuck = finding.stuck && first.settings == Settings::New;
        let message = format!("{who}: {}", finding.text);
        Some(Headline { cause: finding.cause, message, settings: first.settings, stuck })
    }

    /// When the survey will say something else although nothing has happened.
    #[must_use]
    pub fn again(&self) -> Option<Duration> {
        self.replicas.iter().filter_map(|r| r.finding.as_ref()?.again).min()
    }
}

impl Finding {
    fn new(cause: Cause, text: String) -> Self {
        Self { cause, text, stuck: false, again: None, waits_for_room: None }
    }

    fn stuck_if(self, stuck: bool) -> Self {
        Self { stuck, ..self }
    }

    fn again(self, after: Duration) -> Self {
        Self { again: Some(after), ..self }
    }
}

impl Cause {
    /// The name, as the reason of a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImagePullFailed => "ImagePullFailed",
            Self::CreateContainerFailed => "CreateContainerFailed",
            Self::CrashLooping => "CrashLooping",
            Self::OutOfMemory => "OutOfMemory",
            Self::StartTimedOut => "StartTimedOut",
            Self::Unschedulable => "Unschedulable",
            Self::ProbeFailing => "ProbeFailing",
            Self::NodeLost => "NodeLost",
            Self::Evicted => "Evicted",
            Self::Preempted => "Preempted",
            Self::Restarting => "Restarting",
            Self::Initializing => "Initializing",
            Self::Loading => "Loading",
            Self::Terminating => "Terminating",
        }
    }
}

#[cfg(test)]
mod tests;
