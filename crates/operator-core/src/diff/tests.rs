use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
use serde_json::json;

const US: &str = "operator";

fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some(operation.to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }
}

fn ours(paths: &[&str]) -> Difference {
    Difference::Ours(paths.iter().map(|path| (*path).to_owned()).collect())
}

fn check(desired: &Value, live: &Value, managed: &[ManagedFieldsEntry], want: &Difference) {
    assert_eq!(&compare(desired, live, managed, US), want, "{desired}\n{live}");
    let mut kept = ObjectMeta { managed_fields: Some(managed.to_vec()), ..ObjectMeta::default() };
    for times in 1..3 {
        pack(&mut kept);
        let packed = kept.managed_fields.as_deref().unwrap();
        assert!(packed.iter().all(|entry| entry.fields_v1.as_ref().is_none_or(|fields| fields.0.is_string())));
        assert_eq!(&compare(desired, live, packed, US), want, "packed {times} times: {desired}\n{live}");
    }
}

#[test]
fn what_others_added_does_not_count() {
    let desired =
        json!({"spec": {"containers": [{"name": "engine", "args": ["a"], "env": [{"name": "A", "value": ""}]}]}});
    let live = json!({
        "metadata": {"annotations": {"theirs": "x"}},
        "spec": {
            "containers": [
                {"name": "sidecar"},
                {"name": "engine", "args": ["a"], "imagePullPolicy": "Always", "env": [{"name": "A"}, {"name": "B", "value": "b"}]},
            ],
            "dnsPolicy": "ClusterFirst",
        },
    });
    check(&desired, &live, &[], &Difference::Same);
}

#[test]
fn what_we_want_otherwise_counts() {
    let with = |spec: Value| json!({"spec": spec});
    let table = [
        (json!({"replicas": 3}), json!({"replicas": 1}), ".spec.replicas"),
        (json!({"replicas": 3}), json!({}), ".spec.replicas"),
        (json!({"emptyDir": {}}), json!({}), ".spec.emptyDir"),
        (json!({"args": ["a", "b"]}), json!({"args": ["a"]}), ".spec.args"),
        (json!({"args": ["a"]}), json!({"args": ["a", "b"]}), ".spec.args"),
        (json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]}), ".spec.args"),
        (
            json!({"containers": [{"name": "e", "image": "x"}]}),
            json!({"containers": [{"name": "e", "image": "y"}]}),
            ".spec.containers[e].image",
        ),
        (json!({"containers": [{"name": "e"}]}), json!({"containers": [{"name": "f"}]}), ".spec.containers[e]"),
        (json!({"metrics": [{"type": "Object"}]}), json!({"metrics": [{"type": "Pods", "more": 1}]}), ".spec.metrics"),
    ];
    for (desired, live, path) in table {
        check(&with(desired), &with(live), &[], &ours(&[path]));
    }
}

#[test]
fn what_we_applied_and_want_no_longer_counts() {
    let managed = |fields: Value| vec![entry(US, "Apply", fields)];
    let spec = json!({"f:spec": {"f:a": {}, "f:b": {}, "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}}});
    let live = json!({"spec": {"a": 1, "b": 2, "env": [{"name": "A", "value": "x"}]}});
    check(&live, &live, &managed(spec.clone()), &Difference::Same);
    check(
        &json!({"spec": {"a": 1, "env": [{"name": "A", "value": "x"}]}}),
        &live,
        &managed(spec.clone()),
        &ours(&[".spec.b"]),
    );
    check(
        &json!({"spec": {"a": 1, "b": 2, "env": []}}),
        &live,
        &managed(spec.clone()),
        &ours(&[".spec.env[{\"name\":\"A\"}]"]),
    );
    check(
        &json!({"spec": {"a": 1, "b": 2, "env": [{"name": "A"}]}}),
        &live,
        &managed(spec.clone()),
        &ours(&[".spec.env[{\"name\":\"A\"}].value"]),
    );
    // What another manager applied, or what came from our status writes, is not ours to give up.
    let others = [entry("kubectl", "Apply", spec.clone()), entry(US, "Update", spec)];
    check(&json!({"spec": {"a": 1}}), &live, &others, &Difference::Same);
    // A key field that we leave to its default is still the same item.
    let port =
        json!({"f:ports": {"k:{\"containerPort\":8000,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}});
    let desired = json!({"ports": [{"name": "http", "containerPort": 8000}]});
    check(&desired, &desired, &managed(port), &Difference::Same);
}

#[test]
fn what_belongs_to_others_is_left_to_them() {
    let foreign =
        |path: &str, manager: &str| Difference::Foreign { path: path.to_owned(), manager: manager.to_owned() };
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let (desired, live) = (json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 1}}));
    check(&desired, &live, &[entry("kubectl", "Update", replicas.clone())], &foreign(".spec.replicas", "kubectl"));
    check(&desired, &desired, &[entry("kubectl", "Update", replicas.clone())], &Difference::Same);
    check(&desired, &live, &[entry(US, "Apply", replicas.clone())], &ours(&[".spec.replicas"]));
    check(
        &desired,
        &live,
        &[entry("x", "Update", json!({"f:spec": {".": {}, "f:paused": {}}}))],
        &ours(&[".spec.replicas"]),
    );
    // The same name with another operation is another manager to the API server.
    check(&desired, &live, &[entry(US, "Update", replicas)], &foreign(".spec.replicas", US));

    let image = json!({"f:containers": {"k:{\"name\":\"e\"}": {"f:image": {}}}});
    let desired = json!({"containers": [{"name": "e", "image": "x"}]});
    let live = json!({"containers": [{"name": "e", "image": "y"}]});
    check(&desired, &live, &[entry("kubectl", "Update", image)], &foreign(".containers[e].image", "kubectl"));
}
