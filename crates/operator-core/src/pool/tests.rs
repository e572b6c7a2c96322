use super::rollout::Strategy;
use super::*;
use api::InferencePool;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

const UID: &str = "pool-uid";

fn now() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

fn site() -> Site {
    Site { namespace: "quartermaster-system".to_owned(), scrapers: Vec::new() }
}

fn valid(spec: &Value) -> ValidPool {
    let mut object = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "ml", "uid": UID, "generation": 1},
        "spec": {"model": {"source": "hf://org/name"}, "engine": {"image": "engine:v1"}},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object: InferencePool = serde_json::from_value(object).unwrap();
    validate(&object).unwrap()
}

/// What is there after the plan for `pool` was carried out by an API server that gave each object the UID `live`.
fn carried_out(pool: &ValidPool) -> Observed {
    let mut made = children::of(pool, &site(), Strategy::Surge);
    for child in &mut made {
        child.metadata_mut().uid = Some("live".to_owned());
    }
    Observed { children: made, ..Observed::default() }
}

/// The child of this kind, to be tampered with.
fn part(seen: &mut Observed, kind: ChildKind) -> &mut Child {
    seen.children.iter_mut().find(|child| child.kind() == kind).unwrap()
}

fn scaling() -> Value {
    json!({"scaling": {"maxReplicas": 3, "target": {"inFlightPerReplica": 32}}})
}

/// The writes of a plan in short: `+Kind` makes, `~Kind path,path` changes, `^Kind path at version` takes
/// back, `-Kind uid` deletes, `!…` is blocked.
fn short(plan: &Plan) -> Vec<String> {
    let change = |change: &Change| match change {
        Change::Apply { child, uid: None, .. } => format!("+{}", child.kind().as_str()),
        Change::Apply { child, uid: Some(_), because, take_back: None } => {
            format!("~{} {}", child.kind().as_str(), because.join(","))
        }
        Change::Apply { child, because, take_back: Some(version), .. } => {
            format!("^{} {} at {version}", child.kind().as_str(), because.join(","))
        }
        Change::Delete { kind, uid, .. } => format!("-{} {uid}", kind.as_str()),
    };
    plan.changes.iter().map(change).chain(plan.blocked.iter().map(|why| format!("!{why}"))).collect()
}

fn check(seen: &Observed, pool: &ValidPool, want: &[&str]) -> Plan {
    let plan = plan(&now(), &site(), seen, pool);
    let got = short(&plan);
    assert!(
        got.len() == want.len() && got.iter().zip(want).all(|(got, want)| got.starts_with(want)),
        "{got:?}\n{want:?}"
    );
    plan
}

#[test]
fn writes_only_what_differs() {
    let (plain, scaled) = (valid(&json!({})), valid(&scaling()));
    check(
        &Observed::default(),
        &plain,
        &["+ServiceAccount", "+NetworkPolicy", "+Service", "+Deployment", "+PodDisruptionBudget"],
    );
    check(
        &Observed::default(),
        &scaled,
        &[
            "+ServiceAccount",
            "+NetworkPolicy",
            "+Service",
            "+Deployment",
            "+PodDisruptionBudget",
            "+HorizontalPodAutoscaler",
        ],
    );
    check(&carried_out(&plain), &plain, &[]);
    check(&carried_out(&scaled), &scaled, &[]);
    check(&carried_out(&plain), &scaled, &["+HorizontalPodAutoscaler"]);
    check(&carried_out(&scaled), &plain, &["-HorizontalPodAutoscaler live"]);
    check(&carried_out(&plain), &valid(&json!({"replicas": 3})), &["~Deployment .spec.replicas"]);
    let settings = ".spec.template.metadata.labels.quartermaster.dev/settings";
    let other = json!({"engine": {"image": "engine:v2"}});
    check(
        &carried_out(&plain),
        &valid(&other),
        &[&format!("~Deployment {settings},.spec.template.spec.containers[engine].image")],
    );
    let quick = json!({"drain": {"timeout": "1s"}});
    let want = format!(
        "~Deployment {settings},.spec.template.spec.containers[engine].args,\
         .spec.template.spec.terminationGracePeriodSeconds"
    );
    check(&carried_out(&plain), &valid(&quick), &[&want]);
}

#[test]
fn leaves_what_is_not_its_own() {
    let pool = valid(&json!({}));
    let mut seen = carried_out(&pool);
    part(&mut seen, ChildKind::Service).metadata_mut().owner_references = None;
    let plan = check(&seen, &pool, &["!Service llama-engine exists, but was not made for this pool"]);
    let stalled = plan.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "Blocked"));

    // A pool of the same name that was deleted: its children are on their way out, and not this pool's.
    let mut seen = carried_out(&pool);
    part(&mut seen, ChildKind::Deployment).metadata_mut().owner_references.as_mut().unwrap()[0].uid =
        "earlier".to_owned();
    check(&seen, &pool, &["!Deployment llama exists"]);

    // An autoscaler that a person made for a pool without `scaling`.
    let mut seen = carried_out(&valid(&scaling()));
    part(&mut seen, ChildKind::Autoscaler).metadata_mut().owner_references = None;
    check(&seen, &pool, &[]);
}

#[test]
fn takes_back_replicas_and_fights_for_nothing_else() {
    let pool = valid(&json!({"replicas": 3}));
    let check = |fields: Value, change: fn(&mut Deployment), want: &str| {
        let mut seen = carried_out(&pool);
        let Child::Deployment(deployment) = part(&mut seen, ChildKind::Deployment) else { unreachable!() };
        deployment.metadata.resource_version = Some("7".to_owned());
        deployment.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
            manager: Some("kubectl".to_owned()),
            operation: Some("Update".to_owned()),
            subresource: Some("scale".to_owned()),
            fields_v1: Some(FieldsV1(json!({"f:spec": fields}))),
            ..ManagedFieldsEntry::default()
        }]);
        change(deployment);
        check(&seen, &pool, &[want]);
    };
    let scale = |deployment: &mut Deployment| deployment.spec.as_mut().unwrap().replicas = Some(1);
    let hurry = |deployment: &mut Deployment| deployment.spec.as_mut().unwrap().progress_deadline_seconds = Some(1);
    let both = |deployment: &mut Deployment| {
        let spec = deployment.spec.as_mut().unwrap();
        (spec.replicas, spec.progress_deadline_seconds) = (Some(1), Some(1));
    };
    let deadline = "!Deployment llama: .spec.progressDeadlineSeconds was set by \"kubectl\"";
    check(json!({"f:replicas": {}}), scale, "^Deployment .spec.replicas at 7");
    check(json!({"f:progressDeadlineSeconds": {}}), hurry, deadline);
    check(json!({"f:replicas": {}, "f:progressDeadlineSeconds": {}}), both, "!Deployment llama");
    // What nobody claims is simply written.
    check(json!({"f:paused": {}}), scale, "~Deployment .spec.replicas");
}

#[test]
fn waits_for_what_is_being_deleted() {
    let pool = valid(&json!({"replicas": 3}));
    let mut seen = carried_out(&valid(&json!({})));
    part(&mut seen, ChildKind::Deployment).metadata_mut().deletion_timestamp = Some(now());
    let plan = check(&seen, &pool, &[]);
    let reasons: Vec<_> = plan.status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    assert!(reasons.contains(&("Reconciling", "True")) && reasons.contains(&("Ready", "False")), "{reasons:?}");
}

#[test]
fn a_second_plan_for_the_same_world_is_the_same() {
    let pool = valid(&scaling());
    let seen = Observed { in_flight: Some(3), ..carried_out(&pool) };
    let first = plan(&now(), &site(), &seen, &pool);
    assert_eq!(first, plan(&now(), &site(), &seen, &pool));
    let later = Time(Timestamp::from_second(60).unwrap());
    let again = plan(&later, &site(), &Observed { status: first.status.clone(), ..seen }, &pool);
    assert_eq!(again.status, first.status, "time alone changes nothing");
    assert!(notes(&first.status, &again.status).is_empty());
}

#[test]
fn names_cannot_collide() {
    let pools = ["a", "a-engine", "a-engine-engine", "engine"];
    for kind in ChildKind::ALL {
        let mut names: Vec<String> = pools.iter().map(|pool| child_name(kind, pool)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), pools.len());
        assert!(child_name(kind, &"a".repeat(52)).len() <= 63);
    }
}

#[test]
fn no_variable_is_put_into_an_argument() {
    let pool = valid(&json!({"engine": {"image": "engine:v1", "extraArgs": ["--seed", "$(SEED)", "$$(SEED)"]}}));
    let made = children::of(&pool, &site(), Strategy::Surge);
    let text = made.iter().map(|child| child.to_json().to_string()).collect::<String>();
    assert!(text.contains(r#""--seed","$$(SEED)","$$$$(SEED)""#), "{text}");
}
