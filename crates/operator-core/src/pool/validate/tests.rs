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
    *object.pointer_mut(path).unwrap() = value.clone();
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
    check("/spec/engine/extraArgs", &json!(["--enable-lora", "--gpu-memory-utilization=0.9", "x_y", "-tp"]), "");
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
    for flag in ["--port", "--port=1", "--ssl-keyfile=k", "--served-model-name", "--api-key=x", "--config"] {
        check("/spec/engine/extraArgs", &json!(["-x", flag]), "spec.engine.extraArgs[1] sets --");
    }
    check("/spec/engine/extraArgs", &json!(["--max_model_len=2"]), "spec.engine.extraArgs[0] must be spelt");
    check("/spec/engine/env", &json!([{"name": "1A"}]), "spec.engine.env[0] must have a name");
    check("/spec/engine/env", &json!([{"name": "A"}, {"name": "A"}]), "spec.engine.env[1] sets A a second time");
    check("/spec/engine/env", &json!([{"name": "VLLM_SERVER_DEV_MODE", "value": "1"}]), "spec.engine.env[0] sets VLLM");
    check("/spec/engine/env", &json!([{"name": "VLLM_API_KEY", "value": "k"}]), "spec.engine.env[0] sets VLLM_API_KEY");
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
