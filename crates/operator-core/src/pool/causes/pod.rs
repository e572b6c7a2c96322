//! What one pod's status says: does it serve, and if not, why not.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerStatus;

use super::container;
use super::look::{Look, left};
use super::rounded::age;
use super::scheduler;
use super::words::sentence;
use super::{Cause, Finding};

/// A node is often free as soon as the pod before has gone from it; a pod that waits no longer than this is not yet stuck.
const NODE_IS_FREED: Duration = Duration::from_secs(10);
/// A cluster that adds nodes on demand needs minutes for one with GPUs, and the cluster autoscaler itself gives up on a node
/// after this time (its `--max-node-provision-time`). A pod without a node for longer will not get one unaided.
const NODE_COMES: Duration = Duration::from_secs(15 * 60);
/// Attaching a network volume takes a minute or two; what takes longer than this is refused or missing.
const VOLUMES_COME: Duration = Duration::from_secs(5 * 60);
/// How far past its deadline a pod may be before its node is taken for dead.
const DEADLINE_MISSED: Duration = Duration::from_secs(60);

/// How long a pod that has ended is spoken of. Kubernetes keeps it for much longer.
const NEWS: Duration = Duration::from_secs(600);

/// Why the pod does not serve; `None` when it does.
pub(super) fn finding(look: Look<'_>) -> Option<Finding> {
    if look.pod.metadata.deletion_timestamp.is_some() {
        return Some(leaving(look));
    }
    if look.phase() == "Failed" || look.phase() == "Succeeded" {
        return Some(ended(look));
    }
    let ready = look.condition("Ready");
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let containers = look.containers();
    // The node's own word on the containers is the last it gave; only the control plane says that the pod is not ready.
    if ready.is_some() && !containers.is_empty() && containers.iter().all(|c| c.ready) && look.phase() == "Running" {
        return Some(node_lost(look));
    }
    if look.condition("PodScheduled").is_none_or(|c| c.status != "True") {
        return Some(unscheduled(look));
    }
    let init =
        look.init_containers().iter().filter(|c| !initialized(c)).find_map(|c| container::finding(look, c, true));
    let engine = || containers.iter().filter(|c| !c.ready).find_map(|c| container::finding(look, c, false));
    Some(init.or_else(engine).unwrap_or_else(|| initializing(look)))
}

/// Whether the pod ended so long ago that it explains nothing any more.
pub(super) fn is_past(look: Look<'_>) -> bool {
    let conditions = look.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let last = conditions.filter_map(|c| c.last_transition_time.as_ref()).chain(&look.pod.metadata.creation_timestamp);
    let ended = look.phase() == "Failed" || look.phase() == "Succeeded";
    ended && last.map(|then| look.since(Some(then))).min().is_some_and(|passed| passed > NEWS)
}

fn initialized(init: &ContainerStatus) -> bool {
    init.ready || init.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|end| end.exit_code == 0)
}

fn leaving(look: Look<'_>) -> Finding {
    let deadline = look.pod.metadata.deletion_timestamp.as_ref();
    let grace = look.pod.metadata.deletion_grace_period_seconds.unwrap_or(0).unsigned_abs();
    let overdue = look.since(deadline);
    if overdue > DEADLINE_MISSED {
        let (long, again) = age(overdue);
        let text = format!(
            "should have ended {long} ago, and its node{} does not say that it did; if the node is gone for good, delete it",
            look.node()
        );
        return Finding::new(Cause::NodeLost, text).again(again);
    }
    if let Some((cause, what)) = disrupted(look) {
        return Finding::new(cause, what.to_owned());
    }
    // Kubernetes stores when it must have ended.
    let (long, again) = match deadline.map(|deadline| look.now.0.duration_since(deadline.0).as_secs()) {
        Some(past) => age(Duration::from_secs(past.saturating_add_unsigned(grace).max(0).unsigned_abs())),
        None => age(Duration::ZERO),
    };
    Finding::new(Cause::Terminating, format!("finishing its requests for {long}; it has {grace} s for them"))
        .again(again)
}

/// Such a pod does not come back; its replica set makes another.
fn ended(look: Look<'_>) -> Finding {
    let status = look.pod.status.as_ref();
    let why = status.and_then(|s| s.reason.as_deref()).unwrap_or_default();
    let said = status.and_then(|s| s.message.as_deref()).unwrap_or_default();
    let said = if said.is_empty() { "no reason was given".to_owned() } else { sentence(said) };
    let (cause, what) = match why {
        "Preempting" => (Cause::Preempted, "gave way to a pod of higher priority"),
        "NodeLost" => (Cause::NodeLost, "lost its node"),
        "NodeShutdown" | "Terminated" => (Cause::Evicted, "was ended because its node shut down"),
        "Evicted" => (Cause::Evicted, "was evicted"),
        _ => disrupted(look).unwrap_or((Cause::Evicted, "was refused or ended by its node")),
    };
    Finding::new(cause, format!("{what}: {said}; another is made in its place"))
}

/// Why Kubernetes ends the pod, when it is not for the pool's sake.
fn disrupted(look: Look<'_>) -> Option<(Cause, &'static str)> {
    let target = look.condition("DisruptionTarget").filter(|c| c.status == "True")?;
    match target.reason.as_deref().unwrap_or_default() {
        "PreemptionByScheduler" => Some((Cause::Preempted, "gives way to a pod of higher priority")),
        "DeletionByTaintManager" | "DeletionByPodGC" => {
            Some((Cause::NodeLost, "goes because its node is lost or tainted"))
        }
        "EvictionByEvictionAPI" | "TerminationByKubelet" => Some((Cause::Evicted, "is being evicted from its node")),
        _ => None,
    }
}

fn node_lost(look: Look<'_>) -> Finding {
    let (long, again) = age(look.since(look.condition("Ready").and_then(|c| c.last_transition_time.as_ref())));
    let text = format!(
        "its node{} has not answered for {long}; Kubernetes makes another replica after some minutes",
        look.node()
    );
    Finding::new(Cause::NodeLost, text).again(again)
}

fn unscheduled(look: Look<'_>) -> Finding {
    let Some(condition) = look.condition("PodScheduled") else {
        return Finding::new(Cause::Initializing, "waiting for the scheduler".to_owned());
    };
    let said = condition.message.as_deref().unwrap_or_default();
    let waited = look.since(condition.last_transition_time.as_ref());
    let (long, again) = age(waited);
    if condition.reason.as_deref() == Some("SchedulingGated") {
        let text = format!("held back by a scheduling gate for {long}: {}", sentence(said));
        return Finding::new(Cause::Unschedulable, text).again(again);
    }
    let no_node = scheduler::read(said);
    let short: Vec<String> = no_node.short_of.iter().map(|name| look.requested(name)).collect();
    let what = if short.is_empty() {
        "no node may take it".to_owned()
    } else if no_node.room_can_be_made {
        format!("no node has {} free", short.join(" and "))
    } else {
        format!("no node has {}, even if it were empty", short.join(" and "))
    };
    let stuck = waited >= NODE_COMES;
    let next = match (stuck, short.is_empty()) {
        (false, _) => "it starts as soon as there is a node for it",
        (true, true) => "see spec.placement and the nodes' labels and taints",
        (true, false) => "add nodes, free some, or ask for less in spec.resources",
    };
    let text = format!("{what} for {long} ({}); {next}", sentence(&no_node.words));
    let again = again.min(left(NODE_COMES, waited)).min(left(NODE_IS_FREED, waited));
    let cause = if waited < NODE_IS_FREED { Cause::Initializing } else { Cause::Unschedulable };
    let mut finding = Finding::new(cause, text).stuck_if(stuck).again(again);
    finding.waits_for_room = no_node.room_can_be_made.then_some(waited);
    finding
}

/// Everything from the choice of the node to the start of the first container.
fn initializing(look: Look<'_>) -> Finding {
    let waited = look.since(look.condition("PodScheduled").and_then(|c| c.last_transition_time.as_ref()));
    let (long, again) = age(waited);
    let sandbox = look.condition("PodReadyToStartContainers").is_some_and(|c| c.status == "True");
    if sandbox {
        return Finding::new(Cause::Initializing, format!("its node has been fetching the image for {long}"))
            .again(again);
    }
    let stuck = waited >= VOLUMES_COME;
    let what = format!("its node has been setting up its volumes and network for {long}");
    let text = if stuck { format!("{what}; `kubectl describe pod` says what is missing") } else { what };
    Finding::new(Cause::Initializing, text).stuck_if(stuck).again(again.min(left(VOLUMES_COME, waited)))
}
