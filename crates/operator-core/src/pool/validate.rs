//! From a pool as it is stored to one that can be planned for.
//!
//! The CRD's rules refuse the same mistakes at `kubectl apply`, but objects stored before a rule existed never met it.

mod engine;
mod model;
mod place;

use std::fmt;

use api::{InferencePool, InferencePoolSpec, NamespacesFrom, Scaling};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::engine::Version;

pub(super) use model::Weights;

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
    /// The spec, for what is used as it stands there. Its `replicas` are lifted to the autoscaler's minimum.
    pub(super) spec: InferencePoolSpec,
    pub(super) weights: Weights,
    /// Never empty.
    pub(super) served_names: Vec<String>,
    pub(super) image: String,
    /// vLLM's version in it, where that can be told.
    pub(super) version: Option<Version>,
    /// What may be wrong with the engine's arguments, each with its field. Empty when all are known.
    pub(super) doubts: Vec<String>,
    /// `--tensor-parallel-size` and `--pipeline-parallel-size`, where they are not 1.
    pub(super) tensor_parallel: Option<i32>,
    pub(super) pipeline_parallel: Option<i32>,
    pub(super) gpu: Option<(String, Quantity)>,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
}

/// Most characters of a pool's name: the names made from it add up to eleven, and must stay within a DNS label's 63.
const LONGEST_NAME: usize = 52;
const MOST_REPLICAS: i32 = 1000;
const LONGEST_STABILIZATION: i32 = 3600;
const LONGEST_DRAIN: i32 = 86_400;

/// Checks a pool.
///
/// # Errors
/// All the mistakes there are, in the order of the fields.
pub fn validate(pool: &InferencePool) -> Result<ValidPool, Vec<Invalid>> {
    let mut found = Faults::default();
    let spec = &pool.spec;
    let name = pool.metadata.name.clone().unwrap_or_default();
    check_name(&name, &mut found);
    let namespace = required(pool.metadata.namespace.as_deref(), "metadata.namespace", &mut found);
    let uid = required(pool.metadata.uid.as_deref(), "metadata.uid", &mut found);
    let weights = model::weights(&spec.model, &mut found);
    let served_names = model::served_names(&spec.model, &name, &mut found);
    let engine::Checked { image, version, doubts } = engine::check(&spec.engine, &mut found);
    let (tensor_parallel, pipeline_parallel) = engine::parallel(spec, &mut found);
    let (gpu, cpu, memory) = place::resources(&spec.resources, &mut found);
    place::check(&spec.placement, &mut found);
    found.between(spec.replicas, 0, MOST_REPLICAS, "spec.replicas");
    check_scaling(spec.scaling.as_ref(), &mut found);
    found.between(spec.drain.timeout.seconds(), 1, LONGEST_DRAIN, "spec.drain.timeout in seconds");
    found.between(spec.disruption.max_unavailable, 0, MOST_REPLICAS, "spec.disruption.maxUnavailable");
    check_exposure(spec, &mut found);
    if !found.0.is_empty() {
        return Err(found.0);
    }
    Ok(ValidPool {
        name,
        namespace,
        uid,
        generation: pool.metadata.generation,
        spec: lifted(spec),
        weights,
        served_names,
        image,
        version,
        doubts,
        tensor_parallel,
        pipeline_parallel,
        gpu,
        cpu,
        memory,
    })
}

/// The spec, with no fewer replicas than the autoscaler would have at its next look. A number below its minimum comes from a
/// manifest that names one beside `scaling`; to follow it would stop replicas that are started again seconds later.
fn lifted(spec: &InferencePoolSpec) -> InferencePoolSpec {
    let mut spec = spec.clone();
    if let Some(scaling) = spec.scaling.as_ref().filter(|_| spec.replicas > 0) {
        spec.replicas = spec.replicas.max(scaling.min_replicas);
    }
    spec
}

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<Invalid>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Invalid { path: path.into(), problem: problem.into() });
    }

    fn check(&mut self, sound: bool, path: &str, problem: &str) {
        if !sound {
            self.add(path, problem);
        }
    }

    fn between(&mut self, value: i32, least: i32, most: i32, path: &str) {
        if !(least..=most).contains(&value) {
            self.add(path, format!("must lie between {least} and {most}"));
        }
    }
}

fn required(value: Option<&str>, path: &str, found: &mut Faults) -> String {
    found.check(value.is_some(), path, "is missing, which no stored object's is");
    value.unwrap_or_default().to_owned()
}

fn check_name(name: &str, found: &mut Faults) {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let shape = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(label) && !name.ends_with('-');
    found.check(shape, "metadata.name", "must start with a letter and hold only lower-case letters, digits and '-'");
    if name.len() > LONGEST_NAME {
        found.add("metadata.name", format!("must have at most {LONGEST_NAME} characters"));
    }
}

fn check_scaling(scaling: Option<&Scaling>, found: &mut Faults) {
    let Some(scaling) = scaling else { return };
    found.between(scaling.min_replicas, 1, MOST_REPLICAS, "spec.scaling.minReplicas");
    found.between(scaling.max_replicas, 1, MOST_REPLICAS, "spec.scaling.maxReplicas");
    found.check(
        scaling.min_replicas <= scaling.max_replicas,
        "spec.scaling.minReplicas",
        "must not exceed spec.scaling.maxReplicas; raise maxReplicas or lower minReplicas",
    );
    let target = &scaling.target;
    let figures = [
        (target.in_flight_per_replica, 100_000, "spec.scaling.target.inFlightPerReplica"),
        (target.queued_per_replica, 100_000, "spec.scaling.target.queuedPerReplica"),
        (target.kv_cache_usage_percent, 100, "spec.scaling.target.kvCacheUsagePercent"),
    ];
    for (figure, most, path) in figures {
        if let Some(figure) = figure {
            found.between(figure, 1, most, path);
        }
    }
    found.check(
        figures.iter().any(|(figure, ..)| figure.is_some()),
        "spec.scaling.target",
        "needs at least one of inFlightPerReplica, queuedPerReplica and kvCacheUsagePercent",
    );
    let window = scaling.scale_down_stabilization.seconds();
    found.check(window <= LONGEST_STABILIZATION, "spec.scaling.scaleDownStabilization", "must be at most 1h");
}

fn check_exposure(spec: &InferencePoolSpec, found: &mut Faults) {
    let to = &spec.exposure.namespaces;
    found.check(
        (to.from == NamespacesFrom::Selector) == to.selector.is_some(),
        "spec.exposure.namespaces.selector",
        "goes with from: Selector, and only with it",
    );
    let empty = to.selector.as_ref().is_some_and(|selector| selector.match_labels.is_empty());
    found.check(!empty, "spec.exposure.namespaces.selector.matchLabels", "is empty; say from: All for every namespace");
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.problem)
    }
}

#[cfg(test)]
mod tests;
