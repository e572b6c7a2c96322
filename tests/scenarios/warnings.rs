//! Settings that are legal but unwise are named when a pool is written, and nothing is refused for them.

use e2e::{Namespace, PATIENCE, kubectl, wait_for, warnings};
use serde_json::{Value, json};

const POLICY: &str = "validatingadmissionpolicy/quartermaster-pool-advice";

/// A pool with a GPU that nobody need be warned of.
fn wise() -> Value {
    json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": "wise"},
        "spec": {
            "model": {"source": "hf://example/model"},
            "engine": {"image": "vllm/vllm-openai:v0.32.0", "maxNumSeqs": 128},
            "resources": {"gpu": {"count": 1}, "memory": "24Gi"},
            "scaling": {"minReplicas": 1, "maxReplicas": 4, "target": {"inFlightPerReplica": 64}},
        },
    })
}

/// `object` with the fields of `change` in it; null takes one away.
fn merged(mut object: Value, change: &Value) -> Value {
    let Some(fields) = change.as_object() else { return change.clone() };
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = merged(object[name].clone(), value);
        }
    }
    object
}

fn with(change: &Value) -> Value {
    merged(wise(), &json!({"spec": change}))
}

/// What kubectl warns of when it asks the API server whether it would take the pool.
fn said(ns: &Namespace, pool: &Value) -> Vec<String> {
    let words = format!("apply --server-side --force-conflicts --dry-run=server --namespace {} --filename -", ns.name);
    warnings(&words, &pool.to_string()).unwrap()
}

/// Each change of the wise pool, and words of the one warning that it gets; without words, it gets none.
fn table() -> Vec<(Value, &'static str)> {
    let env = |name: &str| json!({"engine": {"env": [{"name": name, "value": "clear"}]}});
    let image = |image: &str| json!({"engine": {"image": image}});
    let unpinned = json!({"engine": {"extraArgs": ["--trust-remote-code"]}});
    let pinned = json!({"revision": "0123456789abcdef0123456789abcdef01234567"});
    let last = json!({"rollout": {"onShortage": "ReplaceEvenLast"}});
    vec![
        (json!({}), ""),
        (json!({"scaling": {"minReplicas": 4}}), "spec.scaling.minReplicas equals maxReplicas"),
        (json!({"replicas": 3}), "spec.replicas is the autoscaler's to write"),
        (json!({"replicas": 3, "scaling": null}), ""),
        (json!({"engine": {"maxNumSeqs": 63}}), "inFlightPerReplica is above spec.engine.maxNumSeqs"),
        (json!({"engine": {"maxNumSeqs": null}}), ""),
        (json!({"scaling": {"scaleDownStabilization": "59s"}}), "scaleDownStabilization is under a minute"),
        (json!({"scaling": {"scaleDownStabilization": "59s"}, "resources": {"gpu": null}}), ""),
        (json!({"drain": {"timeout": "29s"}}), "spec.drain.timeout is under 30s"),
        (json!({"resources": {"memory": null}}), "spec.resources.memory is absent"),
        (json!({"resources": {"memory": null, "gpu": null}}), ""),
        (json!({"engine": {"startTimeout": "4m"}}), "spec.engine.startTimeout is under 5m"),
        (image("vllm/vllm-openai:nightly"), "a tag that moves"),
        (image("registry:5000/vllm:v0.32"), "a tag that moves"),
        (image("registry:5000/vllm:0.32.0-cu128"), ""),
        (image("vllm:main@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), ""),
        (json!({"engine": {"gpuMemoryUtilization": "0.971"}}), "gpuMemoryUtilization is above 0.97"),
        (json!({"engine": {"gpuMemoryUtilization": "0.97"}}), ""),
        (env("HF_TOKEN"), "holds HF_TOKEN in clear text"),
        (env("openai_api_key"), "holds openai_api_key in clear text"),
        (env("VLLM_SIM_TOKENS_PER_SECOND"), ""),
        (
            json!({"engine": {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}]}}),
            "",
        ),
        (unpinned.clone(), "--trust-remote-code runs code"),
        (merged(unpinned, &json!({"model": pinned})), ""),
        (json!({"disruption": {"maxUnavailable": 0}}), "spec.disruption.maxUnavailable is 0"),
        (last.clone(), "ReplaceEvenLast and the pool may have one replica"),
        (merged(last, &json!({"scaling": {"minReplicas": 2}})), ""),
    ]
}

#[test]
fn unwise_pools_are_taken_with_a_warning_each() {
    let checked: Value = serde_json::from_str(&kubectl(&format!("get {POLICY} --output json"))).unwrap();
    let mistakes = &checked["status"]["typeChecking"]["expressionWarnings"];
    assert_eq!(*mistakes, Value::Null, "an expression names a field that pools do not have");

    let ns = Namespace::new("warnings");
    let shaky = with(&json!({"drain": {"timeout": "1s"}}));
    wait_for("the policy is in force", PATIENCE, || match said(&ns, &shaky) {
        some if some.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for (change, words) in table() {
        let said = said(&ns, &with(&change));
        let as_wished = if words.is_empty() { said.is_empty() } else { said.len() == 1 && said[0].contains(words) };
        assert!(as_wished, "{change}: {words:?} is not what {said:?} says");
    }
}

/// Who applies the same manifest every few minutes, as GitOps tools do, is told once; who writes the number of replicas that
/// the autoscaler has set is told each time.
#[test]
fn warnings_come_with_the_change_that_deserves_them() {
    let ns = Namespace::new("warned");
    let shaky = with(&json!({"drain": {"timeout": "1s"}, "resources": {"gpu": null, "memory": "64Mi"}}));
    assert_eq!(said(&ns, &shaky).len(), 1);
    ns.must_apply(&shaky.to_string());
    assert_eq!(said(&ns, &shaky), Vec::<String>::new(), "nothing is new");
    let labelled = merged(shaky.clone(), &json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(said(&ns, &labelled), Vec::<String>::new(), "the spec is not new");

    ns.kubectl("scale inferencepools.quartermaster.dev/wise --replicas=2");
    let again = merged(shaky, &json!({"spec": {"replicas": 1, "drain": {"timeout": "30s"}}}));
    let said = said(&ns, &again);
    assert!(said.len() == 1 && said[0].contains("spec.replicas is the autoscaler's"), "{said:?}");
}

/// The samples are what people begin with.
#[test]
fn samples_are_wise() {
    let ns = Namespace::new("wise");
    for name in ["pool-sim", "pool-gpu"] {
        let pool: Value = serde_saphyr::from_str(&e2e::read(&format!("manifests/samples/{name}.yaml"))).unwrap();
        assert_eq!(said(&ns, &pool), Vec::<String>::new(), "{name}");
    }
}
