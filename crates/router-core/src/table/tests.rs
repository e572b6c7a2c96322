use super::*;
use crate::pick::tests::want;
use crate::remote::Pause;
use crate::remote::tests::remote;
use crate::{Attempt, Want};

/// A policy `namespace/name` of some age with one target for each pool.
pub(crate) fn policy(path: &str, created: i64, models: &[&str], pools: &[&str]) -> PolicyInput {
    let (namespace, name) = path.split_once('/').unwrap();
    let target = |pool: &&str| TargetInput::new(format!("to-{pool}"), namespace, *pool);
    PolicyInput {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        created,
        models: models.iter().map(|m| (*m).to_owned()).collect(),
        targets: pools.iter().map(target).collect(),
        session_header: None,
        access: Access::anyone(),
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    }
}

pub(crate) fn pool(path: &str) -> PoolInput {
    let (namespace, name) = path.split_once('/').unwrap();
    PoolInput { namespace: namespace.to_owned(), name: name.to_owned(), served_model: name.to_owned() }
}

pub(crate) fn endpoint(path: &str, address: &str, ready: bool) -> EndpointInput {
    let (namespace, pool) = path.split_once('/').unwrap();
    EndpointInput { namespace: namespace.to_owned(), pool: pool.to_owned(), address: address.parse().unwrap(), ready }
}

fn winner(table: &Table, model: &str) -> Option<String> {
    table.policy_for(model).map(|at| format!("{}/{}", table.policies()[at].namespace, table.policies()[at].name))
}

#[test]
fn one_policy_wins_each_name() {
    let policies = vec![
        policy("b/young", 20, &["same", "gpt-*"], &["p"]),
        policy("b/old", 10, &["same", "gpt-4o*", "*"], &["p"]),
        policy("a/old", 10, &["same", "gpt-4o*"], &["p"]),
        policy("c/exact", 30, &["gpt-4o-mini", "gpt-4o*"], &["p"]),
    ];
    let cases = [
        ("same", Some("a/old")),
        ("gpt-4o-mini", Some("c/exact")),
        ("gpt-4o", Some("a/old")),
        ("gpt-4o-2024", Some("a/old")),
        ("gpt-3", Some("b/young")),
        ("gpt-4o*", Some("a/old")),
        ("other", Some("b/old")),
        ("", Some("b/old")),
    ];
    let mut reversed = policies.clone();
    reversed.reverse();
    for policies in [policies, reversed] {
        let table = Table::build(policies, vec![], vec![], &Table::default(), Moment(0));
        for (model, want) in cases {
            assert_eq!(winner(&table, model).as_deref(), want, "{model}");
        }
        assert_eq!(table.models(), [("gpt-4o-mini", 30), ("same", 10)]);
    }
    let table = Table::build(vec![policy("a/one", 1, &["m"], &["p"])], vec![], vec![], &Table::default(), Moment(0));
    assert_eq!(winner(&table, "M"), None);
}

#[test]
fn endpoints_find_their_pool_once() {
    let endpoints = vec![
        endpoint("a/p", "10.0.0.2:8000", true),
        endpoint("a/p", "10.0.0.1:8000", false),
        endpoint("a/p", "10.0.0.1:8000", true),
        endpoint("a/p", "10.0.0.3:8000", false),
        endpoint("a/p", "10.0.0.3:8000", false),
        endpoint("b/p", "10.0.0.4:8000", true),
        endpoint("a/gone", "10.0.0.5:8000", true),
    ];
    let table = Table::build(
        vec![policy("a/r", 1, &["m"], &["p", "missing"])],
        vec![pool("b/p"), pool("a/q"), pool("a/p")],
        endpoints,
        &Table::default(),
        Moment(0),
    );
    let ready = |at: usize| table.pools()[at].ready.iter().map(|e| e.address.to_string()).collect::<Vec<_>>();
    assert_eq!((&*table.pools()[0].name, table.pools()[0].not_ready), ("p", 1));
    assert_eq!(ready(0), ["10.0.0.1:8000", "10.0.0.2:8000"]);
    assert!(ready(1).is_empty());
    assert_eq!(ready(2), ["10.0.0.4:8000"]);
    let place = |target: &Target| if let To::Pool { at, .. } = target.to { at } else { None };
    let places: Vec<_> = table.policies()[0].targets.iter().map(place).collect();
    assert_eq!(places, [Some(0), None]);
}

#[test]
fn load_and_age_survive_a_new_table() {
    let build = |before: &Table, now: u64| {
        let endpoints = vec![endpoint("a/p", "10.0.0.1:8000", true)];
        Table::build(vec![], vec![pool("a/p")], endpoints, before, Moment(now))
    };
    let old = build(&Table::default(), 1);
    let under_way = Attempt::begin(&old.pools()[0].ready, &[], &Want { now: Moment(2), ..want(0) });
    let new = build(&old, 3);
    drop(old);
    let endpoint = &new.pools()[0].ready[0];
    assert_eq!((endpoint.load.in_flight(), endpoint.ready_since), (1, Moment(1)));
    drop(under_way);
    assert_eq!(endpoint.load.in_flight(), 0);
    let gone = Table::build(vec![], vec![pool("a/p")], vec![], &new, Moment(4));
    assert_eq!(build(&gone, 5).pools()[0].ready[0].ready_since, Moment(5), "one that comes back is new");
}

#[test]
fn a_remote_keeps_its_record_until_it_changes_and_its_key_is_shared() {
    let build = |before: &Table, change: &dyn Fn(&mut RemoteInput)| {
        let mut one = remote("a.example", Some("s"));
        change(&mut one);
        let other = RemoteInput { model: Some("other".to_owned()), ..one.clone() };
        let stranger = remote("b.example", Some("s"));
        let mut policy = policy("ml/r", 1, &["m"], &[]);
        policy.targets = vec![
            TargetInput::remote("one", one),
            TargetInput::remote("other", other),
            TargetInput::remote("stranger", stranger),
        ];
        Table::build(vec![policy], vec![], vec![], before, Moment(0))
    };
    let at = |table: &Table, target: usize| {
        let remote = table.policies()[0].targets[target].remote().unwrap();
        (Arc::clone(&remote.endpoint), remote.rest.left(Moment(0)).is_some())
    };
    let old = build(&Table::default(), &|_| {});
    old.policies()[0].targets[0].remote().unwrap().rest.until(Moment(9), Pause::Pace);
    for (change, keeps) in [
        (&(|_: &mut RemoteInput| {}) as &dyn Fn(&mut RemoteInput), true),
        (&|r: &mut RemoteInput| r.path = "/v2".to_owned(), false),
        (&|r: &mut RemoteInput| r.key_version = 2, false),
    ] {
        let new = build(&old, change);
        assert_eq!(Arc::ptr_eq(&at(&old, 0).0, &at(&new, 0).0), keeps);
        let same_key = new.policies()[0].targets[0].remote().unwrap().input.key_version == 1;
        assert_eq!((at(&new, 0).1, at(&new, 1).1, at(&new, 2).1), (same_key, same_key, false));
    }
}
