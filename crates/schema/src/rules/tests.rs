use super::*;
use kube::CustomResourceExt;
use serde_json::json;

fn rules() -> Rules {
    let schema = json!({
        "type": "object", "required": ["spec"],
        "properties": {"spec": {
            "type": "object", "required": ["a"],
            "x-kubernetes-validations": [{"rule": "!has(self.most) || self.least <= self.most", "message": "least above most"}],
            "properties": {
                "a": {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-zä]+$"},
                "least": {"type": "integer", "format": "int32", "minimum": 0.0, "maximum": 9.0, "default": 1},
                "most": {"type": "integer", "nullable": true},
                "flag": {"type": "boolean"},
                "mode": {"type": "string", "nullable": true, "enum": ["X", "Y"]},
                "any": {"x-kubernetes-int-or-string": true},
                "box": {"type": "object", "default": {}, "properties": {"time": {"type": "string", "default": "2m",
                    "x-kubernetes-validations": [{"rule": "duration(self) <= duration('1h')", "message": "too long"}]}}},
                "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
                "list": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            },
        }},
    });
    Rules::new(&schema).unwrap()
}

/// `want` is the start of the first fault's path and a part of its message; nothing when the spec is accepted.
fn check(rules: &Rules, spec: &Value, want: Option<(&str, &str)>) {
    let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec});
    let got = rules.judge(&object).map_err(|faults| faults[0].clone()).err();
    let same = match (&got, want) {
        (None, None) => true,
        (Some(fault), Some((path, message))) => fault.path == path && fault.message.contains(message),
        _ => false,
    };
    assert!(same, "{spec}: {got:?}, not {want:?}");
}

#[test]
fn verdicts() {
    let rules = rules();
    for good in [
        json!({"a": "a"}),
        json!({"a": "äää"}),
        json!({"a": "a", "least": null}),
        json!({"a": "a", "most": null}),
        json!({"a": "a", "least": 9, "most": 9}),
        json!({"a": "a", "any": 7, "map": {"k": 1}, "flag": false, "mode": "Y"}),
        json!({"a": "a", "map": {"k": null}}),
        json!({"a": "a", "list": [{"name": "x"}, {"name": "y"}]}),
    ] {
        check(&rules, &good, None);
    }
    for (bad, path, message) in [
        (json!({}), "spec.a", "required"),
        (json!({"a": null}), "spec.a", "required"),
        (json!({"a": "a", "list": [null]}), "spec.list[0]", "null"),
        (json!({"a": ""}), "spec.a", "too few"),
        (json!({"a": "aaaa"}), "spec.a", "too many"),
        (json!({"a": "A"}), "spec.a", "pattern"),
        (json!({"a": 1}), "spec.a", "type"),
        (json!({"a": "a", "b": 1}), "spec.b", "unknown"),
        (json!({"a": "a", "box": {"b": 1}}), "spec.box.b", "unknown"),
        (json!({"a": "a", "least": -1}), "spec.least", "minimum"),
        (json!({"a": "a", "least": 10}), "spec.least", "maximum"),
        (json!({"a": "a", "least": 1.5}), "spec.least", "whole"),
        (json!({"a": "a", "least": u64::MAX}), "spec.least", "whole"),
        (json!({"a": "a", "least": 4_294_967_296_u64}), "spec.least", "32 bits"),
        (json!({"a": "a", "mode": "Z"}), "spec.mode", "not one of"),
        (json!({"a": "a", "mode": null}), "spec.mode", "null"),
        (json!({"a": "a", "any": 0.5}), "spec.any", "type"),
        (json!({"a": "a", "map": {"k": 1, "l": 2}}), "spec.map", "too many"),
        (json!({"a": "a", "map": {"k": "v"}}), "spec.map.k", "type"),
        (json!({"a": "a", "list": [{"name": "x"}, {"name": "x"}]}), "spec.list[1]", "twice"),
        // The default of `least` is seen by the rule.
        (json!({"a": "a", "most": 0}), "spec", "least above most"),
        (json!({"a": "a", "box": {"time": "2h"}}), "spec.box.time", "too long"),
    ] {
        check(&rules, &bad, Some((path, message)));
    }
}

#[test]
fn defaults_are_stored_at_every_depth() {
    let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "spec": {"a": "a", "least": null}});
    let stored = rules().judge(&object).unwrap();
    assert_eq!(stored["spec"], json!({"a": "a", "least": 1, "box": {"time": "2m"}}));
}

#[test]
fn rules_that_cannot_be_read_are_told() {
    let broken = |part: Value| Rules::new(&json!({"type": "object", "properties": {"a": part}})).err().map(|f| f.path);
    assert_eq!(broken(json!({"type": "string", "pattern": "("})).as_deref(), Some("("));
    let rule = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self ==", "message": "m"}]});
    assert_eq!(broken(rule).as_deref(), Some("x-kubernetes-validations"));
    assert_eq!(broken(json!({"type": "string"})), None);
}

/// A sound pool with `value` at `pointer`, judged by the rules of the kind. `want` is a part of the first fault; nothing when
/// the pool is accepted.
fn check_pool(rules: &Rules, pointer: &str, value: &Value, want: &str) {
    let mut pool = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": "llama"},
        "spec": {
            "model": {"source": "hf://org/name", "servedNames": ["llama"], "credentialsSecretRef": {"name": "hub", "key": "token"}},
            "engine": {"image": "vllm/vllm-openai:v0.32.0", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}], "extraArgs": ["--seed=1"]},
            "resources": {"gpu": {"resourceName": "nvidia.com/gpu", "count": 1}, "cpu": "4", "memory": "24Gi"},
            "placement": {"nodeSelector": {"a": "b"}, "priorityClassName": "p", "runtimeClassName": "r"},
            "replicas": 1, "scaling": {"maxReplicas": 3, "target": {"inFlightPerReplica": 32}},
        },
    });
    *pool.pointer_mut(pointer).unwrap() = value.clone();
    let got = rules.judge(&pool).map_err(|faults| format!("{}: {}", faults[0].path, faults[0].message)).err();
    match &got {
        None => assert_eq!(want, "", "{pointer} = {value} is accepted"),
        Some(got) => assert!(!want.is_empty() && got.contains(want), "{pointer} = {value}: {got}, not {want}"),
    }
}

/// Each of these was accepted once, and then could not be carried out; or is near to one that was.
#[test]
fn pools_that_cannot_be_carried_out_are_refused() {
    let schema = serde_json::to_value(api::InferencePool::crd()).unwrap();
    let rules = Rules::new(&schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]).unwrap();
    let check = |pointer: &str, value: Value, want: &str| check_pool(&rules, pointer, &value, want);
    check("/metadata/name", json!("llama"), "");
    check("/metadata/name", json!("4llama"), "must start with a letter");
    for (pointer, path) in [
        ("/spec/model/credentialsSecretRef/name", "spec.model.credentialsSecretRef.name"),
        ("/spec/engine/env/0/valueFrom/secretKeyRef/name", "spec.engine.env[0].valueFrom.secretKeyRef.name"),
        ("/spec/placement/priorityClassName", "spec.placement.priorityClassName"),
        ("/spec/placement/runtimeClassName", "spec.placement.runtimeClassName"),
    ] {
        check(pointer, json!("a.b-c"), "");
        for name in ["a..b", "-a", "a-", "A", "a.-b"] {
            check(pointer, json!(name), path);
        }
    }
    for key in ["-a", "a/b/c", "/a", "a..b/c", ""] {
        check("/spec/placement/nodeSelector", json!({key: "b"}), "spec.placement.nodeSelector");
    }
    check("/spec/placement/nodeSelector", json!({"nvidia.com/gpu.product": "H100"}), "");
    for name in ["../a", "a", "a..b/c", "nvidia.com/"] {
        check("/spec/resources/gpu/resourceName", json!(name), "spec.resources.gpu.resourceName");
    }
    check("/spec/engine/image", json!("vllm/vllm-openai:v1\u{0}"), "spec.engine.image");
    check("/spec/engine/extraArgs", json!(["--api-key=x"]), "spec.engine.extraArgs");
    for args in [json!(["--seed 1"]), json!(["--enable-lora "]), json!(["--a\tb"])] {
        check("/spec/engine/extraArgs", args, "spec.engine.extraArgs");
    }
    check("/spec/engine/extraArgs", json!(["--seed", "1", "--override-generation-config={\"a\": 1}"]), "");
    check("/spec/scaling", json!(null), "");
}

/// What the kind says of a provider that lacks something, or has what is for another one.
#[test]
fn providers_are_told_what_they_lack() {
    let crd = serde_json::to_value(api::RoutePolicy::crd()).unwrap();
    let rules = Rules::new(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]).unwrap();
    let aws =
        json!({"kind": "Bedrock", "model": "m", "region": "eu-central-1", "credentialsSecretRef": {"name": "aws"}});
    let open = json!({"kind": "OpenAI", "model": "m", "credentialsSecretRef": {"name": "s", "key": "k"}});
    let with = |provider: &Value, field: &str, value: Value| {
        let mut provider = provider.clone();
        provider[field] = value;
        provider
    };
    let without = |provider: &Value, field: &str| {
        let mut provider = provider.clone();
        provider.as_object_mut().unwrap().remove(field);
        provider
    };
    let cases = [
        (aws.clone(), None),
        (with(&aws, "credentialsSecretRef", json!({"name": "aws", "key": "api-key"})), None),
        (with(&aws, "baseUrl", json!("https://vpce-1.example")), None),
        (open.clone(), None),
        (without(&aws, "region"), Some("region is needed for Bedrock")),
        (with(&aws, "region", json!("Frankfurt")), Some("pattern")),
        (
            without(&aws, "credentialsSecretRef"),
            Some("credentialsSecretRef is needed for Anthropic, Bedrock and OpenAI"),
        ),
        (with(&aws, "apiVersion", json!("1")), Some("apiVersion is for Azure only")),
        (with(&open, "region", json!("eu-central-1")), Some("has no use for other kinds")),
        (with(&open, "credentialsSecretRef", json!({"name": "s"})), Some("credentialsSecretRef.key is needed")),
    ];
    for (provider, want) in cases {
        let spec = json!({"models": ["m"], "targets": [{"name": "a", "provider": provider}]});
        let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec});
        let faults = rules.judge(&object).err().unwrap_or_default();
        match want {
            None => assert!(faults.is_empty(), "{provider}: {faults:?}"),
            Some(want) => assert!(faults.iter().any(|fault| fault.message.contains(want)), "{provider}: {faults:?}"),
        }
    }
}
