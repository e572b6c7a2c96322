//! What one container's status says.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus};

use super::look::{Look, left};
use super::rounded::{age, times};
use super::words::{complaint, hint, last, sentence};
use super::{Cause, Finding};

/// What is missing when pods are made at the same time as a Secret or a registry's login comes in this time.
const OTHERS_COME: Duration = Duration::from_secs(60);
/// The readiness probe is first asked some seconds after the startup probe was answered, and one late answer is no failure.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// A readiness probe that fails for longer will not pass by itself; engines under full load answer late, but sooner than this.
const ANSWER_COMES: Duration = Duration::from_secs(5 * 60);
/// A container that runs for this long after a restart has left what ended it behind.
const SETTLED: Duration = Duration::from_secs(60);
/// SIGTERM and SIGKILL, as exit codes.
const TERMINATED: i32 = 143;
const KILLED: i32 = 137;

/// Why the container does not serve, as far as its status says.
pub(super) fn finding(look: Look<'_>, status: &ContainerStatus, init: bool) -> Option<Finding> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = waiting.message.as_deref().unwrap_or_default();
        if let Some(found) = never_ran(look, status, reason, said) {
            return Some(found);
        }
    }
    let end = state.terminated.as_ref().or_else(|| status.last_state.as_ref()?.terminated.as_ref());
    let running = state.running.as_ref();
    let ran = look.since(running.and_then(|r| r.started_at.as_ref()));
    let started = status.started == Some(true) && running.is_some();
    match (end, running) {
        (Some(end), None) => Some(ended(look, status, end, init)),
        (Some(end), Some(_)) if !started || ran < SETTLED => Some(ended(look, status, end, init)),
        (_, Some(_)) if init => Some(preparing(status, ran)),
        (_, Some(_)) if started => Some(not_ready(look, ran)),
        (_, Some(_)) => Some(loading(look, status, ran)),
        (None, None) => None,
    }
}

/// A container that the node could not even start.
fn never_ran(look: Look<'_>, status: &ContainerStatus, reason: &str, said: &str) -> Option<Finding> {
    let scheduled = look.condition("PodScheduled").and_then(|c| c.last_transition_time.as_ref());
    let waited = look.since(scheduled);
    let late = |finding: Finding| finding.stuck_if(waited >= OTHERS_COME).again(left(OTHERS_COME, waited));
    match reason {
        "InvalidImageName" => {
            let text = format!("{:?} is no name of an image: {}", status.image, sentence(said));
            Some(Finding::new(Cause::ImagePullFailed, text).stuck_if(true))
        }
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" | "ImageInspectError" => {
            // While the node waits to try again, it puts its own words before the runtime's.
            let said = said.split_once("ErrImagePull: ").map_or(said, |(_, said)| said);
            let image = &status.image;
            let text = format!(
                "the image {image} cannot be fetched: {}; correct spec.engine.image, or let the nodes reach and log in to \
                 its registry; it is tried again until then",
                sentence(said)
            );
            Some(late(Finding::new(Cause::ImagePullFailed, text)))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "CreatePodSandboxError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Some(late(refused(status, said))),
        _ => None,
    }
}

fn refused(status: &ContainerStatus, said: &str) -> Finding {
    let missing = said.contains("not found") || said.contains("couldn't find key");
    let next = if missing { "make it; the container starts by itself then" } else { "it is tried again until then" };
    let text = format!("the container {} cannot be started: {}; {next}", status.name, sentence(said));
    Finding::new(Cause::CreateContainerFailed, text)
}

/// A container that ran and came to an end, and may be running again since, but does not serve.
fn ended(look: Look<'_>, status: &ContainerStatus, end: &ContainerStateTerminated, init: bool) -> Finding {
    let said = end.message.as_deref().unwrap_or_default();
    let reason = end.reason.as_deref().unwrap_or_default();
    if reason == "StartError" || reason == "ContainerCannotRun" {
        return refused(status, said).stuck_if(true);
    }
    let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
    let ends = status.restart_count + i32::from(!running);
    let lived = match (&end.started_at, &end.finished_at) {
        (Some(from), Some(to)) => Duration::from_secs(to.0.duration_since(from.0).as_secs().max(0).unsigned_abs()),
        _ => Duration::ZERO,
    };
    let limit = start_limit(look, status);
    let grace =
        look.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30).unsigned_abs();
    // It was given all the time to start and a grace to end, and lived longer: so it had served, and its earlier ends are past.
    let served = limit.is_some_and(|limit| lived > limit + Duration::from_secs(grace) + SETTLED);
    let again_and_again = ends > 1 && !served;
    let often = if again_and_again { times(ends) } else { String::new() };
    let words = last(said);
    let who = if init { format!("the init container {}", status.name) } else { "the engine".to_owned() };
    if reason == "OOMKilled" {
        let most = memory_limit(look, status).map_or_else(String::new, |most| format!(" of {most}"));
        let text = format!(
            "{who} was killed for passing its memory limit{most}{often}{}; raise spec.resources.memory",
            quoted(&words)
        );
        return Finding::new(Cause::OutOfMemory, text).stuck_if(again_and_again);
    }
    let asked_to_end = matches!(end.exit_code, 0 | TERMINATED);
    let by_force = asked_to_end || end.exit_code == KILLED;
    if let Some(limit) = limit.filter(|limit| by_force && !served && lived + SETTLED >= *limit && lived >= *limit / 2) {
        let text = format!(
            "the engine did not answer within {} s of its start and was started again{often}{}; raise \
             spec.engine.startTimeout if it only needs longer",
            limit.as_secs(),
            quoted(&complaint(said))
        );
        return Finding::new(Cause::StartTimedOut, text).stuck_if(true);
    }
    let now = if running { "it is starting again" } else { "it is started again" };
    if asked_to_end && !init {
        let text = format!(
            "the engine stopped answering its liveness probe and was started again{often}{}; {now}",
            quoted(&complaint(said))
        );
        return Finding::new(Cause::ProbeFailing, text).stuck_if(again_and_again);
    }
    let how = if end.exit_code == KILLED {
        "was killed".to_owned()
    } else {
        format!("ended with exit code {}", end.exit_code)
    };
    let next = hint(said).unwrap_or_else(|| {
        if again_and_again { "`kubectl logs --previous` has the rest".to_owned() } else { now.to_owned() }
    });
    let text = format!("{who} {how}{often}{}; {next}", quoted(&words));
    let cause = if again_and_again { Cause::CrashLooping } else { Cause::Restarting };
    Finding::new(cause, text).stuck_if(again_and_again)
}

fn quoted(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(", saying “{words}”") }
}

fn loading(look: Look<'_>, status: &ContainerStatus, ran: Duration) -> Finding {
    let (long, again) = age(ran);
    let most = start_limit(look, status)
        .map_or_else(String::new, |limit| format!("; it is started again if it has not by {} s", limit.as_secs()));
    Finding::new(Cause::Loading, format!("the engine has been loading for {long}{most}")).again(again)
}

fn preparing(status: &ContainerStatus, ran: Duration) -> Finding {
    let (long, again) = age(ran);
    Finding::new(Cause::Initializing, format!("the init container {} has been running for {long}", status.name))
        .again(again)
}

fn not_ready(look: Look<'_>, ran: Duration) -> Finding {
    let failing = look.since(look.condition("Ready").and_then(|c| c.last_transition_time.as_ref())).min(ran);
    let (long, again) = age(failing);
    if failing < FIRST_ANSWER {
        let text = "the engine has started, and is to pass its readiness probe".to_owned();
        return Finding::new(Cause::Loading, text).again(left(FIRST_ANSWER, failing));
    }
    let stuck = failing >= ANSWER_COMES;
    let text = format!("the engine runs, but has not passed its readiness probe for {long}");
    Finding::new(Cause::ProbeFailing, text).stuck_if(stuck).again(again.min(left(ANSWER_COMES, failing)))
}

/// How long the container may take to start, by its startup probe.
fn start_limit(look: Look<'_>, status: &ContainerStatus) -> Option<Duration> {
    let probe = spec(look, status)?.startup_probe.as_ref()?;
    let seconds = probe.period_seconds.unwrap_or(10) * probe.failure_threshold.unwrap_or(3)
        + probe.initial_delay_seconds.unwrap_or(0);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn memory_limit(look: Look<'_>, status: &ContainerStatus) -> Option<String> {
    let limits = spec(look, status)?.resources.as_ref()?.limits.as_ref()?;
    limits.get("memory").map(|quantity| quantity.0.clone())
}

fn spec<'a>(look: Look<'a>, status: &ContainerStatus) -> Option<&'a Container> {
    let spec = look.pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == status.name)
}
