//! The engine's image, its figures, its further arguments and its environment.

use std::collections::BTreeSet;

use api::{Engine, EnvVar, InferencePoolSpec};

use super::Faults;

/// The image of a version for which no other is named.
const OFFICIAL_IMAGE: &str = "vllm/vllm-openai";
const LONGEST_START: i32 = 43_200;
const MOST_GPUS: i32 = 64;

/// Checks the engine, and says which image it is.
pub(super) fn check(engine: &Engine, found: &mut Faults) -> String {
    let image = image(engine, found);
    let numbers = [
        (engine.max_model_len, "spec.engine.maxModelLen"),
        (engine.max_num_seqs, "spec.engine.maxNumSeqs"),
        (engine.max_num_batched_tokens, "spec.engine.maxNumBatchedTokens"),
        (engine.tensor_parallel_size, "spec.engine.tensorParallelSize"),
        (engine.pipeline_parallel_size, "spec.engine.pipelineParallelSize"),
    ];
    for (number, path) in numbers {
        found.check(number.is_none_or(|n| n >= 1), path, "must be at least 1");
    }
    if let Some(share) = &engine.gpu_memory_utilization {
        found.check(
            is_share(share),
            "spec.engine.gpuMemoryUtilization",
            "must be a decimal above 0 and at most 1 with up to three places, for example \"0.92\"",
        );
    }
    let words = [
        (&engine.quantization, "spec.engine.quantization"),
        (&engine.kv_cache_dtype, "spec.engine.kvCacheDtype"),
        (&engine.tool_call_parser, "spec.engine.toolCallParser"),
        (&engine.reasoning_parser, "spec.engine.reasoningParser"),
    ];
    for (word, path) in words {
        let sound = word.as_ref().is_none_or(|word| {
            word.starts_with(|c: char| c.is_ascii_alphanumeric()) && !word.contains(|c: char| c.is_whitespace())
        });
        found.check(sound, path, "must be one word that starts with a letter or digit");
    }
    if let Some(template) = &engine.chat_template {
        found.check(
            template.path.is_some() != template.config_map_key_ref.is_some(),
            "spec.engine.chatTemplate",
            "needs exactly one of path and configMapKeyRef",
        );
        let absolute = template.path.as_ref().is_none_or(|path| path.starts_with('/'));
        found.check(absolute, "spec.engine.chatTemplate.path", "must be absolute");
    }
    found.between(engine.start_timeout.seconds(), 10, LONGEST_START, "spec.engine.startTimeout in seconds");
    check_extra_args(&engine.extra_args, found);
    check_env(&engine.env, found);
    image
}

fn image(engine: &Engine, found: &mut Faults) -> String {
    match (&engine.image, &engine.version) {
        (Some(image), _) => {
            let last = image.rsplit('/').next().unwrap_or_default();
            let tag = last.split_once(':').map(|(_, tag)| tag);
            found.check(
                image.contains('@') || tag.is_some_and(|tag| !tag.is_empty() && tag != "latest"),
                "spec.engine.image",
                "needs a fixed tag or digest, for example vllm/vllm-openai:v0.32.0",
            );
            image.clone()
        }
        (None, Some(version)) => format!("{OFFICIAL_IMAGE}:v{}", version.trim_start_matches('v')),
        (None, None) => {
            found.add("spec.engine", "needs image or version, for example version: 0.32.0");
            String::new()
        }
    }
}

/// `--tensor-parallel-size` and `--pipeline-parallel-size`. What is not said follows from the GPUs of a replica: each is used
/// once.
pub(super) fn parallel(spec: &InferencePoolSpec, found: &mut Faults) -> (Option<i32>, Option<i32>) {
    let (tensor, pipeline) = (spec.engine.tensor_parallel_size, spec.engine.pipeline_parallel_size);
    let gpus = spec.resources.gpu.as_ref().map(|gpu| gpu.count.clamp(1, MOST_GPUS));
    let groups = pipeline.unwrap_or(1).max(1);
    let tensor = match (tensor, gpus) {
        (Some(tensor), Some(gpus)) => {
            found.check(
                tensor.checked_mul(groups) == Some(gpus),
                "spec.resources.gpu.count",
                "must be spec.engine.tensorParallelSize times spec.engine.pipelineParallelSize",
            );
            tensor
        }
        (None, Some(gpus)) => {
            found.check(
                gpus % groups == 0,
                "spec.resources.gpu.count",
                "must be a multiple of spec.engine.pipelineParallelSize",
            );
            gpus / groups
        }
        (tensor, None) => tensor.unwrap_or(1),
    };
    (Some(tensor).filter(|n| *n > 1), pipeline.filter(|n| *n > 1))
}

fn is_share(text: &str) -> bool {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = !places.is_empty() && places.len() <= 3 && places.bytes().all(|b| b.is_ascii_digit());
    let zero = places.bytes().all(|b| b == b'0');
    digits && matches!((whole, zero), ("0", false) | ("1", true))
}

/// Arguments of `vllm serve` that the operator sets, or that would cut it or the router off from the engine.
const OWNED_ARGUMENTS: [&str; 9] = [
    "--model",
    "--served-model-name",
    "--host",
    "--port",
    "--uds",
    "--shutdown-timeout",
    "--root-path",
    "--api-key",
    "--config",
];

fn check_extra_args(args: &[String], found: &mut Faults) {
    for (i, arg) in args.iter().enumerate() {
        let path = format!("spec.engine.extraArgs[{i}]");
        let flag = arg.split('=').next().unwrap_or_default();
        found.check(!flag.starts_with("--") || !flag.contains('_'), &path, "must be spelt with '-', not '_'");
        if OWNED_ARGUMENTS.contains(&flag) || flag.starts_with("--ssl-") {
            found.add(path, format!("sets {flag}, which the operator owns; leave it out"));
        }
    }
}

fn check_env(env: &[EnvVar], found: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (i, var) in env.iter().enumerate() {
        let path = format!("spec.engine.env[{i}]");
        let shape = var.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && var.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        found.check(shape, &path, "must have a name of letters, digits and '_' that does not start with a digit");
        if !seen.insert(&var.name) {
            found.add(&path, format!("sets {} a second time", var.name));
        }
        if var.name == "VLLM_SERVER_DEV_MODE" && var.value.as_deref() != Some("0") {
            found.add(
                &path,
                "sets VLLM_SERVER_DEV_MODE, which opens the engine's administration to all who reach the pod",
            );
        }
        if var.name == "VLLM_API_KEY" {
            found.add(&path, "sets VLLM_API_KEY, which would lock the router out; remove it");
        }
        found.check(var.value.is_none() || var.value_from.is_none(), &path, "has both value and valueFrom; keep one");
    }
}
