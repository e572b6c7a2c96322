//! From a pool as it is stored to one that can be planned for.
//!
//! The CRD's rules refuse the same mistakes at `kubectl apply`, but objects stored before a rule existed never met it.

use std::collections::BTreeSet;
use std::fmt;

use api::{EnvVar, InferencePool, InferencePoolSpec, Scaling};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity;

/// A mistake in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, as a path from the object's root: `spec.engine.image`.
    pub path: String,
    /// What is wrong with it and what to do, to be read after the path.
    pub problem: String,
}

/// A pool whose spec has been checked, in the form the plan needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPool {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    /// What follows `vllm serve`.
    pub(super) model: String,
    /// Never empty.
    pub(super) served_names: Vec<String>,
    pub(super) image: String,
    pub(super) max_model_len: Option<i32>,
    pub(super) max_num_seqs: Option<i32>,
    pub(super) extra_args: Vec<String>,
    pub(super) env: Vec<EnvVar>,
    pub(super) gpu: Option<(String, Quantity)>,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) replicas: i32,
    pub(super) scaling: Option<Scaling>,
    pub(super) drain_seconds: i32,
}

/// Most characters of a pool's name: the names made from it add up to eleven, and must stay within a DNS label's 63.
const LONGEST_NAME: usize = 52;
const MOST_REPLICAS: i32 = 1000;
const LONGEST_STABILIZATION: i32 = 3600;
const LONGEST_DRAIN: i32 = 86_400;

/// Arguments of `vllm serve` that the operator sets, or that would cut it or the router off from the engine.
const OWNED_ARGUMENTS: [&str; 12] = [
    "--model",
    "--served-model-name",
    "--host",
    "--port",
    "--uds",
    "--shutdown-timeout",
    "--max-model-len",
    "--max-num-seqs",
    "--root-path",
    "--api-key",
    "--config",
    "--ssl-*",
];

/// Checks a pool.
///
/// # Errors
/// All the mistakes there are, in the order of the fields.
pub fn validate(pool: &InferencePool) -> Result<ValidPool, Vec<Invalid>> {
    let mut found = Vec::new();
    let spec = &pool.spec;
    let name = pool.metadata.name.clone().unwrap_or_default();
    check_name(&name, &mut found);
    let namespace = required(pool.metadata.namespace.as_deref(), "metadata.namespace", &mut found);
    let uid = required(pool.metadata.uid.as_deref(), "metadata.uid", &mut found);
    let model = model_argument(&spec.model.source, &mut found);
    let served_names = served_names(spec, &name, &mut found);
    check_image(&spec.engine.image, &mut found);
    check_engine_numbers(spec, &mut found);
    check_extra_args(&spec.engine.extra_args, &mut found);
    check_env(&spec.engine.env, &mut found);
    let gpu = gpu(spec, &mut found);
    let cpu = amount(spec.resources.cpu.as_deref(), quantity::cores, "spec.resources.cpu", CPU_HINT, &mut found);
    let memory =
        amount(spec.resources.memory.as_deref(), quantity::memory, "spec.resources.memory", MEMORY_HINT, &mut found);
    between(spec.replicas, 0, MOST_REPLICAS, "spec.replicas", &mut found);
    check_scaling(spec.scaling.as_ref(), &mut found);
    let drain_seconds = spec.drain.timeout.seconds();
    if !(1..=LONGEST_DRAIN).contains(&drain_seconds) {
        fault(&mut found, "spec.drain.timeout", "must lie between 1s and 24h");
    }
    if !found.is_empty() {
        return Err(found);
    }
    Ok(ValidPool {
        name,
        namespace,
        uid,
        generation: pool.metadata.generation,
        model,
        served_names,
        image: spec.engine.image.clone(),
        max_model_len: spec.engine.max_model_len,
        max_num_seqs: spec.engine.max_num_seqs,
        extra_args: spec.engine.extra_args.clone(),
        env: spec.engine.env.clone(),
        gpu,
        cpu,
        memory,
        replicas: spec.replicas,
        scaling: spec.scaling.clone(),
        drain_seconds,
    })
}

const CPU_HINT: &str = "must be a number of cores such as \"4\" or thousandths such as \"500m\"";
const MEMORY_HINT: &str = "must be a whole number with a unit Ki, Mi, Gi or Ti, for example \"24Gi\"";

fn fault(found: &mut Vec<Invalid>, path: impl Into<String>, problem: impl Into<String>) {
    found.push(Invalid { path: path.into(), problem: problem.into() });
}

fn required(value: Option<&str>, path: &str, found: &mut Vec<Invalid>) -> String {
    if value.is_none() {
        fault(found, path, "is missing, which no stored object's is");
    }
    value.unwrap_or_default().to_owned()
}

fn check_name(name: &str, found: &mut Vec<Invalid>) {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let shape = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(label) && !name.ends_with('-');
    if !shape {
        fault(found, "metadata.name", "must start with a letter and hold only lower-case letters, digits and '-'");
    }
    if name.len() > LONGEST_NAME {
        fault(found, "metadata.name", format!("must have at most {LONGEST_NAME} characters"));
    }
}

fn model_argument(source: &str, found: &mut Vec<Invalid>) -> String {
    let segment = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let argument = match (source.strip_prefix("hf://"), source.strip_prefix("file://")) {
        (Some(id), _) => id.split_once('/').filter(|(who, what)| segment(who) && segment(what)).map(|_| id),
        (_, Some(path)) => Some(path).filter(|path| path.len() > 1 && path.starts_with('/') && !path.contains(' ')),
        _ => None,
    };
    if argument.is_none() {
        fault(found, "spec.model.source", "must be hf://organisation/name or file:///absolute/path");
    }
    argument.unwrap_or_default().to_owned()
}

fn served_names(spec: &InferencePoolSpec, pool: &str, found: &mut Vec<Invalid>) -> Vec<String> {
    let names = &spec.model.served_names;
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || name.starts_with('-') {
            fault(found, format!("spec.model.servedNames[{i}]"), "must not be empty or start with '-'");
        }
    }
    if names.is_empty() { vec![pool.to_owned()] } else { names.clone() }
}

fn check_image(image: &str, found: &mut Vec<Invalid>) {
    let last = image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if !image.contains('@') && !tag.is_some_and(|tag| !tag.is_empty() && tag != "latest") {
        fault(found, "spec.engine.image", "needs a fixed tag or digest, for example vllm/vllm-openai:v0.32.0");
    }
}

fn check_engine_numbers(spec: &InferencePoolSpec, found: &mut Vec<Invalid>) {
    let numbers =
        [(spec.engine.max_model_len, "spec.engine.maxModelLen"), (spec.engine.max_num_seqs, "spec.engine.maxNumSeqs")];
    for (number, path) in numbers {
        if number.is_some_and(|n| n < 1) {
            fault(found, path, "must be at least 1");
        }
    }
}

fn check_extra_args(args: &[String], found: &mut Vec<Invalid>) {
    for (i, arg) in args.iter().enumerate() {
        let path = || format!("spec.engine.extraArgs[{i}]");
        let flag = arg.split('=').next().unwrap_or_default();
        if flag.starts_with("--") && flag.contains('_') {
            fault(found, path(), "must be spelt with '-', not '_'");
        }
        let owned = OWNED_ARGUMENTS.iter().any(|own| match own.strip_suffix('*') {
            Some(prefix) => flag.starts_with(prefix),
            None => flag == *own,
        });
        if owned {
            fault(
                found,
                path(),
                format!("sets {flag}, which the operator owns; use the pool's field for it, or leave it out"),
            );
        }
    }
}

fn check_env(env: &[EnvVar], found: &mut Vec<Invalid>) {
    let mut seen = BTreeSet::new();
    for (i, var) in env.iter().enumerate() {
        let path = || format!("spec.engine.env[{i}]");
        let shape = var.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && var.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !shape {
            fault(found, path(), "must have a name of letters, digits and '_' that does not start with a digit");
        }
        if !seen.insert(&var.name) {
            fault(found, path(), format!("sets {} a second time", var.name));
        }
        if var.name == "VLLM_SERVER_DEV_MODE" && var.value != "0" {
            fault(
                found,
                path(),
                "sets VLLM_SERVER_DEV_MODE, which opens the engine's administration to all who reach the pod",
            );
        }
        if var.name == "VLLM_API_KEY" {
            fault(found, path(), "sets VLLM_API_KEY, which would lock the router out; remove it");
        }
    }
}

fn gpu(spec: &InferencePoolSpec, found: &mut Vec<Invalid>) -> Option<(String, Quantity)> {
    let gpu = spec.resources.gpu.as_ref()?;
    let shape = gpu.resource_name.split_once('/').is_some_and(|(domain, name)| {
        let domain_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        let name_ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !domain.is_empty() && domain.bytes().all(domain_ok) && !name.is_empty() && name.bytes().all(name_ok)
    });
    if !shape {
        fault(found, "spec.resources.gpu.resourceName", "must be a name with a domain such as nvidia.com/gpu");
    }
    between(gpu.count, 1, 64, "spec.resources.gpu.count", found);
    Some((gpu.resource_name.clone(), quantity::number(i64::from(gpu.count))))
}

fn amount(
    text: Option<&str>,
    read: fn(&str) -> Option<Quantity>,
    path: &str,
    hint: &str,
    found: &mut Vec<Invalid>,
) -> Option<Quantity> {
    let read = read(text?);
    if read.is_none() {
        fault(found, path, hint);
    }
    read
}

fn check_scaling(scaling: Option<&Scaling>, found: &mut Vec<Invalid>) {
    let Some(scaling) = scaling else { return };
    between(scaling.min_replicas, 1, MOST_REPLICAS, "spec.scaling.minReplicas", found);
    between(scaling.max_replicas, 1, MOST_REPLICAS, "spec.scaling.maxReplicas", found);
    if scaling.min_replicas > scaling.max_replicas {
        fault(
            found,
            "spec.scaling.minReplicas",
            "must not exceed spec.scaling.maxReplicas; raise maxReplicas or lower minReplicas",
        );
    }
    between(scaling.target.in_flight_per_replica, 1, 100_000, "spec.scaling.target.inFlightPerReplica", found);
    if scaling.scale_down_stabilization.seconds() > LONGEST_STABILIZATION {
        fault(found, "spec.scaling.scaleDownStabilization", "must be at most 1h");
    }
}

fn between(value: i32, least: i32, most: i32, path: &str, found: &mut Vec<Invalid>) {
    if !(least..=most).contains(&value) {
        fault(found, path, format!("must lie between {least} and {most}"));
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.problem)
    }
}

#[cfg(test)]
mod tests;
