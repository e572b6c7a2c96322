use super::*;
use serde_json::{Value, json};

/// A sound pool with the value at `path` (`/spec/replicas`) replaced.
fn pool(path: &str, value: &Value) -> InferencePool {
    let mut object = json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
        "metadata": {"name": "llama", "namespace": "ml", "uid": "u"},
        "spec": {
            "model": {"source": "hf://org/name", "servedNames": ["llama"]},
            "engine": {"image": "vllm/vllm-openai:v0.32.0", "maxModelLen": 8, "maxNumSeqs": 8, "extraArgs": [], "env": []},
            "resources": {"gpu": {"resourceName": "nvidia.com/gpu", "count": 1}, "cpu": "4", "memory": "24Gi"},
            "replicas": 1,
            "scaling": {
                "minReplicas": 1, "maxReplicas": 3, "target": {"inFlightPerReplica": 32}, "scaleDownStabilization": "5m",
            },
            "drain": {"timeout": "120s"},
        },
    });
    let (parent, field) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value.clone();
    serde_json::from_value(object).unwrap()
}

/// The mistakes found with `value` at `path`, as one text.
fn check(path: &str, value: &Value, want: &str) {
    let found = validate(&pool(path, value))
        .map_or_else(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), |_| String::new());
    if want.is_empty() {
        assert_eq!(found, "", "{path} = {value}");
    } else {
        assert!(found.starts_with(want), "{path} = {value}: {found}");
    }
}

#[test]
fn accepts() {
    check("/metadata/name", &json!("a"), "");
    check("/metadata/name", &json!("a".repeat(52)), "");
    check("/spec/model/source", &json!("file:///models/tiny"), "");
    check("/spec/model/source", &json!("hf://meta-llama/Llama-3.1-8B_x"), "");
    check("/spec/engine/image", &json!("registry:5000/a/b@sha256:0123"), "");
    check("/spec/engine/image", &json!("registry:5000/b:v1"), "");
    check("/spec/engine/extraArgs", &json!(["--enable-lora", "--max-loras=2", "--seed", "1"]), "");
    check("/spec/engine/env", &json!([{"name": "VLLM_SERVER_DEV_MODE", "value": "0"}]), "");
    check("/spec/replicas", &json!(0), "");
    check("/spec/resources", &json!({}), "");
}

#[test]
fn refuses_with_the_path() {
    check("/metadata/name", &json!("Llama"), "metadata.name must start with a letter");
    check("/metadata/name", &json!("1a"), "metadata.name must start with a letter");
    check("/metadata/name", &json!("a-"), "metadata.name must start with a letter");
    check("/metadata/name", &json!("a".repeat(53)), "metadata.name must have at most 52");
    for source in [
        "",
        "llama",
        "hf://org",
        "hf://org/a/b",
        "hf:///a",
        "hf://-x/a",
        "file://models",
        "file:///",
        "s3://b",
        "ftp://a/b",
        "pvc://",
        "file:///a/../b",
    ] {
        check("/spec/model/source", &json!(source), "spec.model.source must be");
    }
    check("/spec/model/servedNames", &json!(["a", "--port"]), "spec.model.servedNames[1] must not be empty or start");
    for image in ["", "vllm", "vllm:latest", "registry:5000/vllm", "vllm:"] {
        check("/spec/engine/image", &json!(image), "spec.engine.image needs a fixed tag");
    }
    check("/spec/engine/maxModelLen", &json!(0), "spec.engine.maxModelLen must be at least 1");
    check("/spec/engine/maxNumSeqs", &json!(-1), "spec.engine.maxNumSeqs must be at least 1");
    for flag in ["--port=1", "--ssl-keyfile=k", "--served-model-name=x", "--api-key=x", "--max-num-seqs=4", "-tp=2"] {
        check("/spec/engine/extraArgs", &json!(["--async-scheduling", flag]), "spec.engine.extraArgs[1] ");
    }
    check("/spec/engine/extraArgs", &json!(["--enable_lora"]), "spec.engine.extraArgs[0] ");
    check("/spec/engine/extraArgs", &json!(["--no-such-flag"]), "spec.engine.extraArgs[0] ");
    check("/spec/engine/quantization", &json!("-x"), "spec.engine.quantization must be one word");
    check("/spec/engine/toolCallParser", &json!("no-such-parser"), "spec.engine.toolCallParser ");
    check("/spec/engine/gpuMemoryUtilization", &json!("1.2"), "spec.engine.gpuMemoryUtilization must be a decimal");
    check("/spec/engine/gpuMemoryUtilization", &json!("0.0"), "spec.engine.gpuMemoryUtilization must be a decimal");
    check(
        "/spec/engine/tensorParallelSize",
        &json!(2),
        "spec.resources.gpu.count must be spec.engine.tensorParallelSize",
    );
    check("/spec/engine/pipelineParallelSize", &json!(2), "spec.resources.gpu.count must be a multiple");
    check("/spec/engine/startTimeout", &json!("1s"), "spec.engine.startTimeout in seconds must lie");
    check("/spec/engine/chatTemplate", &json!({}), "spec.engine.chatTemplate needs exactly one");
    check("/spec/model/revision", &json!("-x"), "spec.model.revision must not be empty or start");
    check("/spec/model/credentialsSecretRef", &json!({"name": "a"}), "spec.model.credentialsSecretRef.key is needed");
    for key in ["a/b/c", "-a", "a..b/c", "/a"] {
        check("/spec/placement", &json!({"nodeSelector": {key: "d"}}), "spec.placement.nodeSelector holds");
    }
    check("/spec/placement", &json!({"tolerations": [{}]}), "spec.placement.tolerations[0] has no key");
    check("/spec/scaling/target", &json!({}), "spec.scaling.target needs at least one");
    check("/spec/disruption", &json!({"maxUnavailable": -1}), "spec.disruption.maxUnavailable must lie");
    check(
        "/spec/exposure",
        &json!({"namespaces": {"from": "Selector"}}),
        "spec.exposure.namespaces.selector goes with",
    );
    check("/spec/engine/env", &json!([{"name": "1A"}]), "spec.engine.env[0] must have a name");
    check("/spec/engine/env", &json!([{"name": "A"}, {"name": "A"}]), "spec.engine.env[1] sets A a second time");
    check(
        "/spec/engine/env",
        &json!([{"name": "VLLM_SERVER_DEV_MODE", "value": "1"}]),
        "spec.engine.env[0] must not set VLLM_S",
    );
    check(
        "/spec/engine/env",
        &json!([{"name": "VLLM_API_KEY", "value": "k"}]),
        "spec.engine.env[0] must not set VLLM_API_KEY",
    );
    check("/spec/resources/gpu/resourceName", &json!("gpu"), "spec.resources.gpu.resourceName must be");
    check("/spec/resources/gpu/count", &json!(0), "spec.resources.gpu.count must lie between 1 and 64");
    check("/spec/resources/cpu", &json!("four"), "spec.resources.cpu must be");
    check("/spec/resources/memory", &json!("24G"), "spec.resources.memory must be");
    check("/spec/replicas", &json!(-1), "spec.replicas must lie between 0 and 1000");
    check("/spec/scaling/minReplicas", &json!(0), "spec.scaling.minReplicas must lie between");
    check("/spec/scaling/minReplicas", &json!(4), "spec.scaling.minReplicas must not exceed");
    check("/spec/scaling/target/inFlightPerReplica", &json!(0), "spec.scaling.target.inFlightPerReplica must");
    check("/spec/scaling/scaleDownStabilization", &json!("61m"), "spec.scaling.scaleDownStabilization must be at most");
    check("/spec/drain/timeout", &json!("0s"), "spec.drain.timeout in seconds must lie between 1 and 86400");
    check("/spec/drain/timeout", &json!("25h"), "spec.drain.timeout in seconds must lie between 1 and 86400");
}

#[test]
fn tells_all_mistakes_at_once() {
    let mut wrong = pool("/spec/replicas", &json!(-1));
    wrong.spec.engine.image = Some("vllm".to_owned());
    wrong.metadata.uid = None;
    let paths: Vec<String> = validate(&wrong).unwrap_err().into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["metadata.uid", "spec.engine.image", "spec.replicas"]);
}

/// The CRD can only compare texts; what it refuses is what the catalogue of arguments refuses in every version.
#[test]
fn the_definition_refuses_the_arguments_that_the_catalogue_refuses() {
    let definition = serde_json::to_string(&api::all_crds()).unwrap();
    assert!(definition.contains(&crate::engine::refused_pattern()), "{}", crate::engine::refused_pattern());
    let (always, unless_off) = crate::engine::refused_env();
    for names in [always, unless_off] {
        let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        assert!(definition.contains(&format!("[{list}]")), "{list}");
    }
}

#[test]
fn doubts_are_no_mistakes() {
    let newer = validate(&pool("/spec/engine/version", &json!("0.99.0"))).unwrap();
    assert_eq!((newer.doubts.len(), newer.version), (0, Version::parse("0.99.0")));
    let mut doubtful = pool("/spec/engine/version", &json!("0.99.0"));
    doubtful.spec.engine.extra_args = vec!["--from-the-future".to_owned()];
    let doubtful = validate(&doubtful).unwrap();
    assert!(doubtful.doubts[0].starts_with("spec.engine.extraArgs[0] "), "{:?}", doubtful.doubts);
}

#[test]
fn a_manifest_takes_no_replica_from_the_autoscalers_minimum() {
    for (asked, least, want) in [(1, 2, 2), (3, 2, 3), (0, 2, 0), (2, 2, 2)] {
        let mut pool = pool("/spec/scaling/minReplicas", &json!(least));
        pool.spec.replicas = asked;
        assert_eq!(validate(&pool).unwrap().spec.replicas, want, "{asked} of at least {least}");
    }
    let mut plain = pool("/spec/replicas", &json!(1));
    plain.spec.scaling = None;
    assert_eq!(validate(&plain).unwrap().spec.replicas, 1);
}
