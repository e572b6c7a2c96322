use super::*;
use k8s_openapi::jiff::SignedDuration;
use std::collections::BTreeMap;

/// Pods as a Kubernetes 1.36 had them, cut down to what is read; each was broken in the way that its name says.
fn pods() -> BTreeMap<String, Pod> {
    serde_json::from_str(include_str!("tests/pods.json")).unwrap()
}

/// What two pods went through, one after the other, from their making on.
fn series(name: &str) -> Vec<Pod> {
    let mut all: BTreeMap<String, Vec<Pod>> = serde_json::from_str(include_str!("tests/series.json")).unwrap();
    all.remove(name).unwrap()
}

fn after(pod: &Pod, seconds: i64) -> Time {
    Time(pod.metadata.creation_timestamp.as_ref().unwrap().0 + SignedDuration::from_secs(seconds))
}

fn look(pod: &Pod, seconds: i64) -> Survey {
    survey(&after(pod, seconds), [pod], |_| true)
}

/// Looks at a pod this long after it was made.
fn check(name: &str, seconds: i64, cause: Cause, stuck: bool, words: &[&str]) {
    let mut pod = pods().remove(name).unwrap();
    let found = look(&pod, seconds);
    let headline = found.headline().unwrap();
    assert_eq!((headline.cause, headline.stuck), (cause, stuck), "{name} after {seconds} s: {}", headline.message);
    for word in words {
        assert!(headline.message.contains(word), "{name}: {:?} lacks {word:?}", headline.message);
    }
    assert!(headline.message.starts_with(&format!("pod {name}: ")) && headline.message.len() < 1000);
    // Only for what passes or gets worse by itself is there a moment to look again.
    if !stuck && cause != Cause::Restarting {
        assert!(found.again().is_some() || matches!(cause, Cause::Evicted | Cause::Preempted), "{name}");
    }
    prune(&mut pod);
    assert_eq!(look(&pod, seconds), found, "{name}: something that is read is pruned");
}

#[test]
fn what_the_scheduler_cannot_place() {
    let name = Cause::Unschedulable;
    check("too-many-gpus", 9, Cause::Initializing, false, &["no node has 5 nvidia.com/gpu"]);
    check("too-many-gpus", 10, name, false, &["no node has 5 nvidia.com/gpu, even if it were empty", "0/1 nodes are"]);
    check("too-many-gpus", 1000, name, true, &["more than 10 minutes", "add nodes, free some, or ask for less"]);
    check("too-much-memory", 70, name, false, &["500 cpu and 900Gi memory", "more than a minute"]);
    check("full-node", 70, name, false, &["no node has 1 nvidia.com/gpu free", "it starts as soon as"]);
    check(
        "no-such-node",
        1000,
        name,
        true,
        &["no node may take it", "didn't match Pod's node affinity", "labels and taints"],
    );
    check("missing-claim", 10, name, false, &["persistentvolumeclaim \"weights\" not found"]);
    check("gated", 10, name, false, &["scheduling gate"]);
    let waits =
        |name: &str| look(&pods()[name], 40).replicas[0].finding.clone().unwrap().waits_for_room.map(|d| d.as_secs());
    assert_eq!(waits("full-node"), Some(40));
    for hopeless in ["too-many-gpus", "too-much-memory", "no-such-node", "missing-claim"] {
        assert_eq!(waits(hopeless), None, "{hopeless}: no pod that goes makes room");
    }
}

#[test]
fn what_the_node_cannot_start() {
    let refused = "localhost:1/nothing/here:v2 cannot be fetched: failed to pull";
    check("pull", 5, Cause::ImagePullFailed, false, &[refused, "connection refused", "spec.engine.image"]);
    check("pull", 60, Cause::ImagePullFailed, true, &[refused]);
    check("invalid-name", 1, Cause::ImagePullFailed, true, &["\"UPPER/Case:v1\" is no name of an image"]);
    let create = Cause::CreateContainerFailed;
    check("missing-secret", 10, create, false, &["engine cannot be started: secret \"hf\" not found; make it"]);
    check("missing-secret", 60, create, true, &["secret \"hf\" not found"]);
    check("missing-key", 60, create, true, &["couldn't find key token in Secret f/empty; make it"]);
    check("bad-command", 60, create, true, &["exec: \"/no/such/program\""]);
    check(
        "missing-volume",
        70,
        Cause::Initializing,
        false,
        &["setting up its volumes and network for more than a minute"],
    );
    check("missing-volume", 300, Cause::Initializing, true, &["`kubectl describe pod`"]);
    check(
        "init-running",
        130,
        Cause::Initializing,
        false,
        &["init container fetch has been running for more than 2 minutes"],
    );
}

#[test]
fn what_ends_or_does_not_answer() {
    let crash = [
        "the engine ended with exit code 2, at least 5 times",
        "unrecognized arguments: --foo”",
        "spec.engine.extraArgs",
    ];
    check("crash", 480, Cause::CrashLooping, true, &crash);
    check("init-crash", 480, Cause::CrashLooping, true, &["the init container fetch ended with exit code 2"]);
    check(
        "oom",
        480,
        Cause::OutOfMemory,
        true,
        &["memory limit of 32Mi", "“loading weights”", "raise spec.resources.memory"],
    );
    check("never-started", 780, Cause::StartTimedOut, true, &["within 15 s", "spec.engine.startTimeout"]);
    check("loading", 200, Cause::Loading, false, &["loading for more than 2 minutes", "by 6000 s"]);
    check("liveness", 480, Cause::ProbeFailing, true, &["stopped answering its liveness probe", "at least 5 times"]);
    check("not-ready", 14, Cause::Loading, false, &["is to pass its readiness probe"]);
    check("not-ready", 20, Cause::ProbeFailing, false, &["has not passed its readiness probe for less than a minute"]);
    check("not-ready", 400, Cause::ProbeFailing, true, &["for more than 5 minutes"]);
}

#[test]
fn what_goes() {
    check("preempted", 510, Cause::Preempted, false, &["gives way to a pod of higher priority"]);
    check("preempted", 1000, Cause::NodeLost, false, &["should have ended more than 5 minutes ago", "node-1"]);
    check("too-late", 5, Cause::Evicted, false, &["Node didn't have enough resource: nvidia.com/gpu"]);
    check(
        "overtime",
        5,
        Cause::Evicted,
        false,
        &["longer than the specified deadline", "another is made in its place"],
    );
    check("lost", 900, Cause::NodeLost, false, &["its node node-1 has not answered for"]);
    let mut drained = pods().remove("preempted").unwrap();
    drained.status.as_mut().unwrap().conditions.as_mut().unwrap().retain(|c| c.type_ != "DisruptionTarget");
    let headline = look(&drained, 510).headline().unwrap();
    assert_eq!(headline.cause, Cause::Terminating);
    assert!(
        headline.message.contains("finishing its requests for less than a minute; it has 20 s"),
        "{}",
        headline.message
    );
    assert_eq!(look(&pods()["ready"], 60).headline(), None);
}

/// The states that a pod goes through again and again must not make a story of their own.
#[test]
fn a_cause_that_lasts_is_told_once() {
    let told = |name: &str| {
        let mut told: Vec<(Cause, bool, String)> = Vec::new();
        for pod in &series(name) {
            let Some(headline) = look(pod, 100).headline() else { continue };
            let new = (headline.cause, headline.stuck, headline.message);
            if told.last() != Some(&new) {
                told.push(new);
            }
        }
        told
    };
    let causes = |name: &str| told(name).into_iter().map(|(cause, stuck, _)| (cause, stuck)).collect::<Vec<_>>();
    let mut crash = causes("crash");
    crash.dedup();
    let want = [
        (Cause::Initializing, false),
        (Cause::Loading, false),
        (Cause::Restarting, false),
        (Cause::CrashLooping, true),
    ];
    assert_eq!(crash, want);
    assert_eq!(causes("crash").len(), 7, "at least 2 times, and 3: {:?}", told("crash"));
    let pull = causes("pull");
    assert_eq!(pull.iter().filter(|(cause, _)| *cause == Cause::ImagePullFailed).count(), 1, "{:?}", told("pull"));
}

#[test]
fn the_worst_is_told_first() {
    let all = pods();
    let now = after(&all["crash"], 480);
    let check = |names: &[&str], new: &str, want: Option<(Cause, &str)>| {
        let survey =
            survey(&now, names.iter().map(|name| &all[*name]), |pod| pod.metadata.name.as_deref() == Some(new));
        let got = survey.headline().map(|h| (h.cause, h.message));
        assert_eq!(got.as_ref().map(|(cause, _)| *cause), want.map(|(cause, _)| cause), "{names:?}");
        if let (Some((_, message)), Some((_, start))) = (got, want) {
            assert!(message.starts_with(start), "{names:?}: {message}");
        }
    };
    check(&["ready"], "", None);
    check(&["ready", "loading"], "", Some((Cause::Loading, "pod loading: ")));
    check(&["loading", "crash"], "", Some((Cause::CrashLooping, "pod crash: ")));
    check(&["loading", "full-node"], "", Some((Cause::Unschedulable, "pod full-node: ")));
    check(&["pull", "crash"], "crash", Some((Cause::CrashLooping, "pod crash: ")));
    check(&["pull", "crash"], "pull", Some((Cause::ImagePullFailed, "pod pull: ")));
    check(&["missing-key", "missing-secret"], "", Some((Cause::CreateContainerFailed, "pod missing-key and 1 more: ")));
    check(&["preempted", "loading"], "", Some((Cause::Preempted, "pod preempted: ")));
}

/// A crash long after the start is told, but it is no loop: the engine had served.
#[test]
fn one_crash_in_weeks_is_no_loop() {
    let mut pod = pods().remove("crash").unwrap();
    let status = &mut pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0];
    let end = status.last_state.as_mut().unwrap().terminated.as_mut().unwrap();
    end.started_at = Some(Time(end.finished_at.as_ref().unwrap().0 - SignedDuration::from_hours(24)));
    let headline = look(&pod, 480).headline().unwrap();
    assert_eq!((headline.cause, headline.stuck), (Cause::Restarting, false), "{}", headline.message);
}
