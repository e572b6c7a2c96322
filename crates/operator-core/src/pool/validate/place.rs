//! What a replica gets from its node, and which nodes are fit.

use api::{Placement, Resources, TolerationOperator};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Faults;
use crate::pool::quantity;

const CPU_HINT: &str = "must be a number of cores such as \"4\" or thousandths such as \"500m\"";
const MEMORY_HINT: &str = "must be a whole number above 0 with a unit Ki, Mi, Gi or Ti, for example \"24Gi\"";
const MOST_GPUS: i32 = 64;

/// GPUs by name and number, processor time, memory.
type Amounts = (Option<(String, Quantity)>, Option<Quantity>, Option<Quantity>);

pub(super) fn resources(resources: &Resources, found: &mut Faults) -> Amounts {
    let gpu = resources.gpu.as_ref().map(|gpu| {
        let path = "spec.resources.gpu.resourceName";
        let shape = gpu.resource_name.split_once('/').is_some_and(|(domain, name)| {
            let domain_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
            !domain.is_empty() && domain.bytes().all(domain_ok) && !name.is_empty() && is_label_value(name)
        });
        found.check(shape, path, "must be a name with a domain such as nvidia.com/gpu");
        found.between(gpu.count, 1, MOST_GPUS, "spec.resources.gpu.count");
        (gpu.resource_name.clone(), quantity::number(i64::from(gpu.count)))
    });
    let cpu = amount(resources.cpu.as_deref(), quantity::cores, "spec.resources.cpu", CPU_HINT, found);
    let memory = amount(resources.memory.as_deref(), quantity::memory, "spec.resources.memory", MEMORY_HINT, found);
    // An engine with no memory at all would be killed before its first line.
    found.check(memory.as_ref().is_none_or(|memory| memory.0 != "0"), "spec.resources.memory", MEMORY_HINT);
    (gpu, cpu, memory)
}

fn amount(
    text: Option<&str>,
    read: fn(&str) -> Option<Quantity>,
    path: &str,
    hint: &str,
    found: &mut Faults,
) -> Option<Quantity> {
    let read = read(text?);
    found.check(read.is_some(), path, hint);
    read
}

pub(super) fn check(placement: &Placement, found: &mut Faults) {
    for (key, value) in &placement.node_selector {
        let sound = is_label_key(key) && is_label_value(&value.0);
        found.check(sound, "spec.placement.nodeSelector", "holds a key or value that no label can have");
    }
    for (i, toleration) in placement.tolerations.iter().enumerate() {
        let path = format!("spec.placement.tolerations[{i}]");
        let exists = toleration.operator == TolerationOperator::Exists;
        found.check(!exists || toleration.value.is_none(), &path, "has operator Exists and a value; remove one");
        found.check(exists || toleration.key.is_some(), &path, "has no key, and so needs operator Exists");
        found.check(toleration.key.as_deref().is_none_or(is_label_key), &path, "has a key that no taint can have");
    }
    for (i, spread) in placement.topology_spread.iter().enumerate() {
        let path = format!("spec.placement.topologySpread[{i}]");
        found.check(is_label_key(&spread.topology_key), &path, "has a topologyKey that no label can have");
        found.check(spread.max_skew >= 1, &path, "needs a maxSkew of at least 1");
    }
}

fn is_label_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').unwrap_or(("a", key));
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let part = |part: &str| {
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    domain.len() <= 253 && domain.split('.').all(part) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= 63
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && edge(value.bytes().next())
        && edge(value.bytes().last())
}
