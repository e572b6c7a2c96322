//! A pool answers its own namespace, and others only when it says so; and it says who uses it.

use e2e::{Chat, Namespace, PATIENCE, unscaled, wait_for};
use serde_json::{Value, json};

/// Status and reason of a condition: `False:PoolNotExposed`.
fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == kind).cloned().unwrap_or_default();
    format!("{}:{}", found["status"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default())
}

#[test]
fn another_team_uses_a_pool_only_while_it_is_open_to_them() {
    let (owner, guest) = (Namespace::new("exposure"), Namespace::new("exposure-guest"));
    owner.pool("shared", "exposure-own", unscaled);
    owner.wait_replicas("shared", 1);
    guest.must_apply(&format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: borrowed}}\n\
         spec: {{models: [exposure-borrowed], targets: [{{name: local, pool: {{name: shared, namespace: {}}}}}],
         access: {{anonymous: true}}}}\n",
        owner.name
    ));
    let chat = Chat::new();
    let expect = |resolved: &str, answered: bool, users: &[&str]| {
        wait_for(&format!("the policy is {resolved}"), PATIENCE, || {
            match condition(&guest.get("routepolicies.quartermaster.dev/borrowed")?, "ResolvedRefs") {
                found if found == resolved => Ok(()),
                found => Err(found),
            }
        });
        wait_for(&format!("the router answers: {answered}"), PATIENCE, || {
            let reply = chat.ask("exposure-borrowed", 2)?;
            if (reply.status == 200) == answered { Ok(()) } else { Err(format!("{reply:?}")) }
        });
        wait_for(&format!("the pool is used by {users:?}"), PATIENCE, || {
            let used_by = owner.look("shared")?["status"]["usedBy"].clone();
            if used_by == json!(users) { Ok(()) } else { Err(used_by.to_string()) }
        });
    };
    let expose = |exposure: &Value| {
        let patch = json!({"spec": {"exposure": {"namespaces": exposure}}});
        owner.kubectl(&format!("patch inferencepools.quartermaster.dev shared --type=merge --patch={patch}"));
    };
    let selector = |team: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}});
    let (own, both) = (format!("{}/shared", owner.name), format!("{}/borrowed", guest.name));

    expect("False:PoolNotExposed", false, &[&own]);
    expose(&json!({"from": "All"}));
    expect("True:Resolved", true, &[&both, &own]);
    expose(&selector("a"));
    expect("False:PoolNotExposed", false, &[&own]);
    e2e::kubectl(&format!("label namespace {} team=a", guest.name));
    expect("True:Resolved", true, &[&both, &own]);
    e2e::kubectl(&format!("label namespace {} team-", guest.name));
    expect("False:PoolNotExposed", false, &[&own]);
    assert_eq!(chat.ask("exposure-own", 2).unwrap().status, 200, "its own namespace was served all along");
}
