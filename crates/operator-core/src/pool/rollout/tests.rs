use super::*;
use crate::pool::causes::{Cause, Finding, Replica};
use crate::pool::validate;
use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

/// A Deployment in the middle of things.
#[derive(Clone, Copy)]
struct Live {
    strategy: Strategy,
    /// Pods, and how many of them run the new settings.
    pods: (i32, i32),
    /// Whether its controller has seen the last change.
    current: bool,
    /// Seconds that a pod with new settings has waited for room.
    waited: Option<u64>,
}

const ROLLING: Live = Live { strategy: Strategy::Surge, pods: (3, 1), current: true, waited: Some(31) };
const REPLACING: Live = Live { strategy: Strategy::InPlace(1), pods: (2, 1), waited: None, ..ROLLING };
const DONE: Live = Live { pods: (2, 2), ..REPLACING };

fn decided(live: Live, replicas: i32, on_shortage: &str, max_unavailable: i32, settings: Settings) -> Decision {
    let pool = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "ml", "uid": "u", "generation": 1},
        "spec": {
            "model": {"source": "hf://org/name"}, "engine": {"image": "engine:v1"}, "replicas": replicas,
            "rollout": {"onShortage": on_shortage}, "disruption": {"maxUnavailable": max_unavailable},
        },
    });
    let pool = validate(&serde_json::from_value(pool).unwrap()).unwrap();
    let deployment = Deployment {
        metadata: ObjectMeta { generation: Some(5), ..ObjectMeta::default() },
        spec: Some(DeploymentSpec { strategy: Some(live.strategy.to_deployment()), ..DeploymentSpec::default() }),
        status: Some(DeploymentStatus {
            observed_generation: Some(if live.current { 5 } else { 4 }),
            replicas: Some(live.pods.0),
            updated_replicas: Some(live.pods.1),
            ..DeploymentStatus::default()
        }),
    };
    let finding = live.waited.map(|seconds| Finding {
        cause: Cause::Unschedulable,
        text: String::new(),
        stuck: false,
        again: None,
        waits_for_room: Some(Duration::from_secs(seconds)),
    });
    let survey = Survey { replicas: vec![Replica { pod: "new".to_owned(), settings, finding }] };
    decide(Some(&deployment), &survey, &pool)
}

fn check(live: Live, replicas: i32, on_shortage: &str, max_unavailable: i32, want: Strategy, reason: Option<&str>) {
    let got = decided(live, replicas, on_shortage, max_unavailable, Settings::New);
    let told = got.special.as_ref().map(|(reason, _)| *reason);
    assert_eq!((got.strategy, told), (want, reason), "{replicas} {on_shortage} {max_unavailable}: {:?}", got.special);
}

#[test]
fn old_replicas_make_room_only_when_that_helps() {
    let replacing = Some(reason::REPLACING_ONE_BY_ONE);
    let surge = Strategy::Surge;
    check(ROLLING, 2, "ReplaceOneByOne", 1, Strategy::InPlace(1), replacing);
    check(Live { waited: None, ..ROLLING }, 2, "ReplaceOneByOne", 1, surge, None);
    // Nothing is being rolled out, or that is not known yet: a pool that grows past its room.
    check(Live { pods: (3, 3), ..ROLLING }, 3, "ReplaceOneByOne", 1, surge, None);
    check(Live { current: false, ..ROLLING }, 2, "ReplaceOneByOne", 1, surge, None);
    // It is an old replica that has no node.
    let old = decided(ROLLING, 2, "ReplaceOneByOne", 1, Settings::Old);
    assert_eq!((old.strategy, old.special), (surge, None));
    let early = decided(Live { waited: Some(29), ..ROLLING }, 2, "ReplaceOneByOne", 1, Settings::New);
    assert_eq!((early.strategy, early.special, early.again), (surge, None, Some(Duration::from_secs(1))));
}

#[test]
fn as_many_leave_as_the_pool_allows() {
    let replacing = Some(reason::REPLACING_ONE_BY_ONE);
    let waiting = Some(reason::WAITING_FOR_ROOM);
    for (replicas, allowed, want) in [(4, 1, 1), (4, 2, 2), (4, 0, 1), (4, 4, 3), (2, 5, 1)] {
        check(ROLLING, replicas, "ReplaceOneByOne", allowed, Strategy::InPlace(want), replacing);
    }
    check(ROLLING, 1, "ReplaceOneByOne", 1, Strategy::Surge, waiting);
    check(ROLLING, 1, "ReplaceEvenLast", 1, Strategy::InPlace(1), replacing);
    check(ROLLING, 2, "ReplaceEvenLast", 5, Strategy::InPlace(2), replacing);
    check(ROLLING, 2, "Wait", 1, Strategy::Surge, waiting);
}

#[test]
fn it_goes_on_until_no_old_replica_is_left() {
    let replacing = Some(reason::REPLACING_ONE_BY_ONE);
    check(REPLACING, 2, "ReplaceOneByOne", 1, Strategy::InPlace(1), replacing);
    check(Live { current: false, ..DONE }, 2, "ReplaceOneByOne", 1, Strategy::InPlace(1), replacing);
    check(DONE, 2, "ReplaceOneByOne", 1, Strategy::Surge, None);
    // The pool was changed meanwhile.
    check(REPLACING, 2, "Wait", 1, Strategy::Surge, Some(reason::WAITING_FOR_ROOM));
    check(REPLACING, 1, "ReplaceOneByOne", 1, Strategy::Surge, Some(reason::WAITING_FOR_ROOM));
    check(REPLACING, 4, "ReplaceOneByOne", 2, Strategy::InPlace(2), replacing);
}
