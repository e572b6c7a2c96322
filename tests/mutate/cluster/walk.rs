//! A random life of a pool: two hundred operations by people and controllers, with no pause between most. What is there in the
//! end is what a pool made afresh from the last spec has.

use mutate::{Luck, mutations, walk};
use serde_json::{Value, json};

use crate::bases;
use crate::live::is_small;
use crate::objects::differing;
use crate::yard::{WITHOUT_PODS, Yard};

/// Operations.
const STEPS: usize = 200;
const POOL: &str = "walker";
/// Pods would only make it slow: what is compared are the objects that the operator writes.
const RESTING: i64 = 0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_life_ends_like_a_fresh_start() {
    let (rules, (_, mut base)) = (bases::rules(), bases::simulator());
    base["metadata"] = json!({"name": POOL});
    base["spec"]["replicas"] = json!(RESTING);
    let all = mutations(rules.schema(), &base, "spec");
    // A create drops a null in place of a list; an apply keeps it, and it is refused.
    let rests = |object: &Value| {
        is_small(&object["spec"]) && object["spec"]["replicas"] == RESTING && !has_null(&object["spec"])
    };
    let mut luck = Luck::new(42);
    let specs = walk(&base, &all, STEPS, &mut luck, |object| rests(object) && rules.judge(object).is_ok());
    assert_eq!(specs.len(), STEPS);

    let yard = Yard::open("walk").await;
    let mut refused = Vec::new();
    for spec in &specs {
        match luck.draw() % 8 {
            0 => yard.delete(POOL).await.unwrap(),
            1 => delete_a_child(&yard, &mut luck).await,
            2 => scale(&yard, &mut luck).await,
            _ => {}
        }
        refused.extend(yard.apply(POOL, &spec["spec"]).await.err());
    }
    assert_eq!(refused, [], "the local evaluation takes no object that the API server refuses");
    let last = &specs.last().unwrap()["spec"];
    let walked = yard.converge(POOL, last, WITHOUT_PODS).await.unwrap();
    yard.must_become_quiet().await;
    yard.delete(POOL).await.unwrap();
    let fresh = yard.converge(POOL, last, WITHOUT_PODS).await.unwrap();
    yard.delete(POOL).await.unwrap();
    yard.close().await;
    assert_eq!(differing(&walked, &fresh), Vec::<String>::new());
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.iter().any(has_null),
        Value::Object(all) => all.values().any(has_null),
        _ => false,
    }
}

/// Somebody deletes one of the pool's objects.
async fn delete_a_child(yard: &Yard, luck: &mut Luck) {
    let children = [
        ("apis/apps/v1", "deployments", POOL.to_owned()),
        ("api/v1", "services", format!("{POOL}-engine")),
        ("apis/autoscaling/v2", "horizontalpodautoscalers", POOL.to_owned()),
    ];
    if let Some((api, plural, name)) = luck.one_of(&children) {
        yard.server.delete(&format!("/{api}/namespaces/{}/{plural}/{name}", yard.namespace)).await;
    }
}

/// Somebody scales the pool by its subresource.
async fn scale(yard: &Yard, luck: &mut Luck) {
    let path = format!("{}/scale?fieldManager=somebody", yard.path(POOL));
    if let Some(mut scale) = yard.server.get(&path).await {
        scale["spec"]["replicas"] = json!(i64::from(luck.draw().is_multiple_of(2)));
        // The pool may have been written in between; then this person loses, as people do.
        let _ = yard.server.call("PUT", &path, &scale).await;
    }
}
