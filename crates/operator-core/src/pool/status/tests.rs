mod verdicts;

use super::*;
use crate::plan::Child;
use crate::pool::{Site, plan, validate};
use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

fn now() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

fn pool(replicas: i32) -> InferencePool {
    serde_json::from_value(json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "ml", "uid": "u", "generation": 4},
        "spec": {"model": {"source": "hf://org/name"}, "engine": {"image": "engine:v1"}, "replicas": replicas},
    }))
    .unwrap()
}

/// A pool with its objects in place, whose Deployment was told to have `told` replicas and has `pods` pods, of which
/// `updated` run the current settings and `ready` are ready.
fn world(told: i32, pods: i32, updated: i32, ready: i32) -> Observed {
    let mut seen = Observed::default();
    let made = plan(&now(), &Site::default(), &seen, &validate(&pool(told)).unwrap());
    for change in made.changes {
        if let Change::Apply { child, .. } = change {
            seen.children.push(*child);
        }
    }
    let deployment = deployment(&mut seen);
    deployment.metadata.generation = Some(2);
    deployment.status = Some(DeploymentStatus {
        observed_generation: Some(2),
        replicas: Some(pods),
        updated_replicas: Some(updated),
        ready_replicas: Some(ready),
        ..DeploymentStatus::default()
    });
    seen
}

fn deployment(seen: &mut Observed) -> &mut Deployment {
    seen.children
        .iter_mut()
        .find_map(|child| match child {
            Child::Deployment(deployment) => Some(deployment.as_mut()),
            _ => None,
        })
        .unwrap()
}

/// `seen` with real pods, which run the settings of the Deployment unless their name is preceded by "old ".
fn with_pods(mut seen: Observed, names: &[&str]) -> Observed {
    let all: BTreeMap<String, Pod> = serde_json::from_str(include_str!("../causes/tests/pods.json")).unwrap();
    let template = deployment(&mut seen).spec.clone().unwrap().template.metadata.unwrap();
    for name in names {
        let (name, old) = name.strip_prefix("old ").map_or((*name, false), |name| (name, true));
        let mut pod = all[name].clone();
        pod.metadata.labels = template.labels.clone().filter(|_| !old);
        seen.pods.push(Arc::new(pod));
    }
    seen
}

/// Eight minutes after most of those pods were made.
fn later() -> Time {
    "2026-11-21T14:42:26Z".parse::<Timestamp>().map(Time).unwrap()
}

fn with_condition(mut seen: Observed, type_: &str, status: &str, reason: &str) -> Observed {
    let deployment = deployment(&mut seen).status.as_mut().unwrap();
    deployment.conditions = Some(vec![DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some("the cause".to_owned()),
        ..DeploymentCondition::default()
    }]);
    seen
}

/// Conditions in short: `Ready=True:Reason`, sorted. What is known of the arguments has its own table below.
fn short(status: &InferencePoolStatus) -> Vec<String> {
    let mut list: Vec<String> = status
        .conditions
        .iter()
        .filter(|c| c.type_ != ARGUMENTS_KNOWN)
        .map(|c| format!("{}={}:{}", c.type_, c.status, c.reason))
        .collect();
    list.sort();
    list
}

fn check(seen: &Observed, desired: i32, counts: (i32, i32), want: &[&str]) {
    let status = plan(&now(), &Site::default(), seen, &validate(&pool(desired)).unwrap()).status;
    assert_eq!(short(&status), want, "{desired} desired, {:?}", seen.deployment().and_then(|d| d.status.clone()));
    assert_eq!((status.replicas, status.ready_replicas), counts);
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!(status.selector, "app.kubernetes.io/component=engine,quartermaster.dev/pool=llama");
}

#[test]
fn tells_how_the_pool_is_getting_on() {
    let nothing = Observed::default();
    let none = [
        "Available=False:NoReplicaReady",
        "Ready=False:NoReplicaReady",
        "Reconciling=True:NoReplicaReady",
        "Scaled=False:ScalingUp",
    ];
    check(&nothing, 2, (0, 0), &none);
    check(&world(2, 2, 2, 0), 2, (2, 0), &none);
    let up =
        ["Available=True:Serving", "Ready=False:ScalingUp", "Reconciling=True:ScalingUp", "Scaled=False:ScalingUp"];
    check(&world(2, 2, 2, 1), 2, (2, 1), &up);
    // Just told to grow: the write is part of this plan.
    check(&world(1, 1, 1, 1), 3, (1, 1), &up);
    let down = [
        "Available=True:Serving",
        "Ready=False:ScalingDown",
        "Reconciling=True:ScalingDown",
        "Scaled=False:ScalingDown",
    ];
    check(&world(3, 3, 3, 3), 1, (3, 3), &down);
    check(&world(1, 3, 3, 3), 1, (1, 3), &down);
    let rest = ["Available=True:Serving", "Ready=True:AllReplicasReady", "Scaled=True:Settled"];
    check(&world(2, 2, 2, 2), 2, (2, 2), &rest);
    check(
        &world(0, 0, 0, 0),
        0,
        (0, 0),
        &["Available=False:ScaledToZero", "Ready=True:ScaledToZero", "Scaled=True:Settled"],
    );
}

#[test]
fn tells_of_rollouts() {
    let rolling =
        ["Available=True:Serving", "Ready=False:RollingOut", "Reconciling=True:RollingOut", "Scaled=True:Settled"];
    // A surge pod beside the old ones; and the last old one on its way out. Neither is a replica to the autoscaler.
    check(&world(2, 3, 1, 2), 2, (2, 2), &rolling);
    check(&world(2, 3, 2, 3), 2, (2, 3), &rolling);
    check(&world(2, 2, 1, 2), 2, (2, 2), &rolling);
    // New settings are in this plan, or not yet seen by the Deployment's controller.
    let mut seen = world(2, 2, 2, 2);
    deployment(&mut seen).metadata.generation = Some(3);
    check(&seen, 2, (2, 2), &rolling);
}

/// What a pool of two says, as `Ready`'s reason, whether it is stalled, and the beginning of the message.
fn check_cause(seen: &Observed, reason: &str, stuck: bool, message: &str) {
    let plan = plan(&later(), &Site::default(), seen, &validate(&pool(2)).unwrap());
    let of = |type_: &str| plan.status.conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let ready = plan.status.conditions.iter().find(|c| c.type_ == READY).unwrap();
    assert_eq!((ready.reason.as_str(), of(STALLED).is_some()), (reason, stuck), "{}", ready.message);
    assert!(ready.message.contains(message), "{:?}\n{message:?}", ready.message);
    assert_eq!(of(RECONCILING).is_some(), !stuck);
    let why = of(STALLED).or_else(|| of(RECONCILING)).unwrap();
    assert_eq!((&why.reason, &why.message), (&ready.reason, &ready.message));
}

#[test]
fn tells_what_keeps_a_replica() {
    let starting = || world(2, 2, 2, 1);
    let loading = with_pods(starting(), &["ready", "loading"]);
    check_cause(
        &loading,
        "Loading",
        false,
        "1 of 2 replicas are ready; pod loading: the engine has been loading for more",
    );
    let crash = with_pods(starting(), &["ready", "crash"]);
    let words = "--foo: remove it from spec.engine.extraArgs; 1 replica goes on serving";
    check_cause(&crash, "CrashLooping", true, words);
    let none = with_pods(world(2, 2, 2, 0), &["pull", "pull"]);
    check_cause(&none, "ImagePullFailed", true, "pod pull and 1 more: the image localhost:1/nothing/here:v2 cannot be");
    check_cause(&none, "ImagePullFailed", true, "nothing serves meanwhile");
    let full = with_pods(starting(), &["ready", "full-node"]);
    check_cause(&full, "Unschedulable", false, "no node has 1 nvidia.com/gpu free for more than 5 minutes");
    // What Kubernetes says is told where the replicas say nothing that is stuck.
    let late = |seen: Observed| with_condition(seen, "Progressing", "False", "ProgressDeadlineExceeded");
    check_cause(&late(crash), "CrashLooping", true, "exit code 2");
    check_cause(
        &late(loading.clone()),
        "ProgressDeadlineExceeded",
        true,
        "the cause; 1 of 2 replicas are ready; pod loading",
    );
    let again = plan(&later(), &Site::default(), &loading, &validate(&pool(2)).unwrap()).requeue;
    assert_eq!(again.as_secs(), 447, "when it has been loading for 20 minutes, and the message says so");
    // A pool that is complete has nothing to say about a pod that somebody made by hand.
    let plan =
        plan(&later(), &Site::default(), &with_pods(world(2, 2, 2, 2), &["crash"]), &validate(&pool(2)).unwrap());
    assert!(short(&plan.status).contains(&"Ready=True:AllReplicasReady".to_owned()));
}

#[test]
fn tells_what_keeps_a_rollout() {
    let rolling = || world(2, 3, 1, 2);
    let crash = with_pods(rolling(), &["old ready", "old ready", "crash"]);
    let words = "the rollout waits until then, or until the earlier spec is applied again; 2 replicas go on serving";
    check_cause(&crash, "CrashLooping", true, words);
    let loading = with_pods(rolling(), &["old ready", "old ready", "loading"]);
    check_cause(
        &loading,
        "RollingOut",
        false,
        "1 of 2 replicas run the new settings; pod loading: the engine has been",
    );
    // What is wrong with the old ones is being replaced.
    let cured = with_pods(rolling(), &["old crash", "old ready", "loading"]);
    check_cause(&cured, "RollingOut", false, "pod loading");
    let begun = with_pods(world(2, 2, 0, 1), &["old crash", "old ready"]);
    check_cause(&begun, "RollingOut", false, "0 of 2 replicas run the new settings; pod crash");
    let full = with_pods(rolling(), &["old ready", "old ready", "full-node"]);
    check_cause(
        &full,
        "ReplacingOneByOne",
        false,
        "no room for one more replica, so one at a time of the old ones leaves",
    );
    let hopeless = with_pods(rolling(), &["old ready", "old ready", "too-many-gpus"]);
    check_cause(&hopeless, "Unschedulable", false, "no node has 5 nvidia.com/gpu, even if it were empty");
}

#[test]
fn tells_when_a_person_is_needed() {
    let late = with_condition(world(2, 2, 1, 1), "Progressing", "False", "ProgressDeadlineExceeded");
    let want = |reason: &str| {
        vec![
            "Available=True:Serving".to_owned(),
            format!("Ready=False:{reason}"),
            "Scaled=False:ScalingUp".to_owned(),
            format!("Stalled=True:{reason}"),
        ]
    };
    let status = plan(&now(), &Site::default(), &late, &validate(&pool(2)).unwrap()).status;
    assert_eq!(short(&status), want("ProgressDeadlineExceeded"));
    let failing = with_condition(world(2, 1, 1, 1), "ReplicaFailure", "True", "FailedCreate");
    let status = plan(&now(), &Site::default(), &failing, &validate(&pool(2)).unwrap()).status;
    assert_eq!(short(&status), want("ReplicaFailure"));
    assert!(status.conditions.iter().any(|c| c.type_ == READY && c.message.starts_with("the cause; ")));
    // A deadline that was missed but made up for.
    let fine = with_condition(world(2, 2, 2, 2), "Progressing", "False", "ProgressDeadlineExceeded");
    check(&fine, 2, (2, 2), &["Available=True:Serving", "Ready=True:AllReplicasReady", "Scaled=True:Settled"]);
}

#[test]
fn a_new_replica_does_not_blank_the_load() {
    let at = |seen: &Observed| plan(&now(), &Site::default(), seen, &validate(&pool(2)).unwrap()).status;
    let before = InferencePoolStatus { in_flight: Some(7), ready_replicas: 1, ..InferencePoolStatus::default() };
    let just = Observed { status: before, ..world(2, 2, 2, 2) };
    let then = at(&just);
    assert_eq!(then.in_flight, Some(7));
    let still = Observed { status: then, ..world(2, 2, 2, 2) };
    assert_eq!(at(&still).in_flight, None, "not known for longer than it takes to ask");
    assert_eq!(at(&Observed { in_flight: Some(9), ..just.clone() }).in_flight, Some(9));
    assert_eq!(at(&Observed { children: world(2, 2, 2, 0).children, ..just }).in_flight, None);
}

#[test]
fn a_bad_spec_is_told_and_the_running_replicas_still_counted() {
    let faults = [Invalid { path: "spec.x".to_owned(), problem: "must be y".to_owned() }];
    let status = refused(&now(), &world(2, 2, 2, 2), &pool(2), &faults);
    assert_eq!(short(&status), ["Available=True:Serving", "Ready=False:InvalidSpec", "Stalled=True:InvalidSpec"]);
    assert_eq!((status.ready_replicas, status.observed_generation), (2, Some(4)));
    assert!(status.conditions.iter().any(|c| c.type_ == STALLED && c.message == "spec.x must be y"));
}

#[test]
fn notes_are_of_transitions() {
    let at = |seen: &Observed| plan(&now(), &Site::default(), seen, &validate(&pool(2)).unwrap()).status;
    let (fresh, starting, ready) = (InferencePoolStatus::default(), at(&world(2, 2, 2, 0)), at(&world(2, 2, 2, 2)));
    let stuck = at(&with_condition(world(2, 2, 1, 1), "Progressing", "False", "ProgressDeadlineExceeded"));
    let of = |name: &str| {
        let seen = with_pods(world(2, 2, 2, 0), &[name]);
        plan(&later(), &Site::default(), &seen, &validate(&pool(2)).unwrap()).status
    };
    let (loading, full, crash, pull) = (of("loading"), of("full-node"), of("crash"), of("pull"));
    let table = [
        (&fresh, &starting, vec![]),
        (&starting, &ready, vec![(false, "AllReplicasReady")]),
        (&ready, &ready, vec![]),
        (&ready, &starting, vec![(false, "NoReplicaReady")]),
        (&ready, &stuck, vec![(true, "ProgressDeadlineExceeded")]),
        (&stuck, &stuck, vec![]),
        (&stuck, &ready, vec![(false, "AllReplicasReady")]),
        (&starting, &loading, vec![]),
        (&starting, &full, vec![(false, "Unschedulable")]),
        (&full, &full, vec![]),
        (&full, &starting, vec![]),
        (&starting, &crash, vec![(true, "CrashLooping")]),
        (&crash, &pull, vec![(true, "ImagePullFailed")]),
    ];
    for (old, new, want) in table {
        let got: Vec<_> = notes(old, new).into_iter().map(|n| (n.warning, n.reason)).collect();
        let want: Vec<_> = want.into_iter().map(|(warning, reason)| (warning, reason.to_owned())).collect();
        assert_eq!(got, want);
    }
}

#[test]
fn a_mere_change_of_load_is_written_seldom() {
    let base = InferencePoolStatus { replicas: 1, ..InferencePoolStatus::default() };
    let busier = InferencePoolStatus { in_flight: Some(9), ..base.clone() };
    let bigger = InferencePoolStatus { replicas: 2, in_flight: Some(9), ..base.clone() };
    let seconds = Duration::from_secs;
    let table = [
        (&base, seconds(0), Writing::Never),
        (&busier, seconds(2), Writing::In(Duration::from_secs(3))),
        (&busier, seconds(5), Writing::Now),
        (&busier, seconds(60), Writing::Now),
        (&bigger, seconds(0), Writing::Now),
    ];
    for (new, since, want) in table {
        assert_eq!(writing(&base, new, since), want, "{new:?} after {since:?}");
    }
}

#[test]
fn tells_whether_the_arguments_are_known() {
    let check = |engine: &serde_json::Value, want: &str, message: &str| {
        let mut pool = pool(1);
        pool.spec.engine = serde_json::from_value(engine.clone()).unwrap();
        let status = plan(&now(), &Site::default(), &Observed::default(), &validate(&pool).unwrap()).status;
        let found = status.conditions.iter().find(|c| c.type_ == ARGUMENTS_KNOWN).unwrap();
        assert_eq!(format!("{}:{}", found.status, found.reason), want, "{engine}");
        assert!(found.message.contains(message), "{}", found.message);
    };
    check(&json!({"version": "0.32.0", "extraArgs": ["--enable-lora"]}), "True:Valid", "knows every argument");
    check(&json!({"image": "engine:v1"}), "False:VersionUnknown", "spec.engine.version");
    check(&json!({"version": "0.9.1"}), "False:VersionUnknown", "only the arguments of vLLM 0.15 to 0.");
    let odd = json!({"version": "0.99.0", "extraArgs": ["--from-the-future"]});
    check(&odd, "False:ArgumentsDoubtful", "spec.engine.extraArgs[0] ");
}
