//! The engine's image, its figures, its further arguments and its environment.

use std::collections::BTreeSet;

use api::{Engine, EnvVar, InferencePoolSpec};

use super::Faults;
use crate::engine::{self as arguments, Version};

/// The image of a version for which no other is named.
const OFFICIAL_IMAGE: &str = "vllm/vllm-openai";
const LONGEST_START: i32 = 43_200;
const MOST_GPUS: i32 = 64;

/// What the plan needs to know of an engine besides its spec.
pub(super) struct Checked {
    pub(super) image: String,
    pub(super) version: Option<Version>,
    /// What may be wrong with its arguments, but is not known to be.
    pub(super) doubts: Vec<String>,
}

/// Checks the engine.
pub(super) fn check(engine: &Engine, found: &mut Faults) -> Checked {
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
    let doubts = check_arguments(engine, found);
    check_env(&engine.env, found);
    Checked { image, version: version(engine), doubts }
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

/// What must be so of every version, and what the engine's own says about the fields and the further arguments. Doubts, where
/// the version is newer than all that are known, are returned.
fn check_arguments(engine: &Engine, found: &mut Faults) -> Vec<String> {
    let version = version(engine);
    let mut doubts = Vec::new();
    for finding in arguments::check(version, &engine.extra_args) {
        let path = format!("spec.engine.extraArgs[{}]", finding.index);
        if finding.is_error() { found.add(path, finding.to_string()) } else { doubts.push(format!("{path} {finding}")) }
    }
    let Some(version) = version else { return doubts };
    let dtype = engine.dtype.map(|dtype| dtype.as_str().to_owned());
    let words = [
        ("--dtype", &dtype, "spec.engine.dtype"),
        ("--quantization", &engine.quantization, "spec.engine.quantization"),
        ("--kv-cache-dtype", &engine.kv_cache_dtype, "spec.engine.kvCacheDtype"),
        ("--tool-call-parser", &engine.tool_call_parser, "spec.engine.toolCallParser"),
        ("--reasoning-parser", &engine.reasoning_parser, "spec.engine.reasoningParser"),
    ];
    for (flag, word, path) in words {
        let Some(word) = word else { continue };
        let Some(finding) = arguments::check_value(version, flag, word, &engine.extra_args) else { continue };
        if finding.is_error() { found.add(path, finding.to_string()) } else { doubts.push(format!("{path} {finding}")) }
    }
    doubts
}

/// vLLM's version, as the spec says or the image's tag.
fn version(engine: &Engine) -> Option<Version> {
    let said = engine.version.as_deref().and_then(Version::parse);
    said.or_else(|| engine.image.as_deref().and_then(Version::of_image))
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
        // A variable with neither value nor source is set to the empty text.
        let value = if var.value_from.is_some() { None } else { Some(var.value.as_deref().unwrap_or_default()) };
        if let Some(problem) = arguments::check_env(&var.name, value) {
            found.add(&path, problem);
        }
        found.check(var.value.is_none() || var.value_from.is_none(), &path, "has both value and valueFrom; keep one");
    }
}
