//! The metrics page: every family with its type, labels and buckets, as recorded from vLLM.

use std::collections::{BTreeMap, BTreeSet};

use crate::differences::{CACHE_LABELS, LACKING};
use crate::engine::{Full, get, is_real};

/// What a page tells of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    buckets: Vec<String>,
}

fn recorded() -> BTreeMap<String, Family> {
    let lines = include_str!("families.txt").lines().filter(|line| !line.starts_with('#'));
    let one = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (kind, name, labels) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let labels = labels.split(',').filter(|label| *label != "-").map(str::to_owned).collect();
        (name, Family { kind, labels, buckets: words.collect() })
    };
    lines.map(one).collect()
}

/// The families of a page that are vLLM's own or count its requests.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap();
            if name.starts_with("vllm:") || name.starts_with("http_") {
                all.entry(name.to_owned()).or_default().kind = kind.to_owned();
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let name = &line[..end];
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part).filter(|base| all.contains_key(*base)));
        let Some(family) = all.get_mut(base.unwrap_or(name)) else { continue };
        for (label, value) in labels(line) {
            if label != "le" {
                family.labels.insert(label);
            } else if value != "+Inf" {
                let edge = value.strip_suffix(".0").unwrap_or(&value).to_owned();
                if !family.buckets.contains(&edge) {
                    family.buckets.push(edge);
                }
            }
        }
    }
    all
}

fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let (list, _) = rest.rsplit_once('}').unwrap();
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        found.push((label.trim_start_matches(',').to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

#[test]
fn every_family_is_there_with_its_type_labels_and_buckets() {
    let full = Full::engine();
    // Some come with the first request of their kind.
    for model in ["tiny", "fixed"] {
        let body = format!(r#"{{"model":"{model}","prompt":"Hello","ignore_eos":true,"max_tokens":2}}"#);
        assert_eq!(full.post("/v1/completions", &body).status, 200);
    }
    assert_eq!(full.post("/sleep?level=0", "").status, 200);
    assert_eq!(full.post("/wake_up", "").status, 200);
    let answer = full.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=1.0.0; charset=utf-8"));
    let page = families(&answer.body);
    let mut expected = recorded();
    if !is_real() {
        for (name, reason) in LACKING {
            assert!(expected.remove(name).is_some(), "{name} is vLLM's ({reason})");
        }
        let cache = expected.get_mut("vllm:cache_config_info").unwrap();
        let told: BTreeSet<String> = CACHE_LABELS.iter().map(|label| (*label).to_owned()).collect();
        assert!(told.is_subset(&cache.labels) && told != cache.labels, "the difference is as listed");
        cache.labels = told;
    }
    for (name, family) in &expected {
        assert_eq!(page.get(name), Some(family), "{name}");
        let created = name.strip_suffix("_total").filter(|_| family.kind == "counter").unwrap_or(name);
        let created = page.get(&format!("{created}_created"));
        let wanted = matches!(family.kind.as_str(), "counter" | "histogram" | "summary");
        assert_eq!(
            created.map(|created| (created.kind.as_str(), &created.labels)),
            wanted.then_some(("gauge", &family.labels)),
            "{name}_created"
        );
    }
    let more: Vec<&String> =
        page.keys().filter(|name| !expected.contains_key(*name) && !name.ends_with("_created")).collect();
    assert_eq!(more, Vec::<&String>::new(), "families that are not recorded");
}

#[test]
fn labels_with_a_known_set_of_values_have_them_from_the_start() {
    let page = get("/metrics").body;
    for (name, label, values) in [
        ("num_requests_waiting_by_reason", "reason", &["capacity", "deferred"][..]),
        ("request_success_total", "finished_reason", &["stop", "length", "abort", "error", "repetition"]),
        ("engine_sleep_state", "sleep_state", &["awake", "weights_offloaded", "discard_all"]),
        ("admission_rejections_total", "reason", &["max_num_queued_reqs", "max_num_queued_tokens"]),
        ("prompt_tokens_by_source_total", "source", &["local_compute", "local_cache_hit", "external_kv_transfer"]),
    ] {
        let series = page.lines().filter(|line| line.starts_with(&format!("vllm:{name}{{")));
        let found: BTreeSet<String> =
            series.flat_map(labels).filter(|(known, _)| known == label).map(|(_, value)| value).collect();
        assert_eq!(found, values.iter().map(|value| (*value).to_owned()).collect(), "{name}");
    }
    let named = |line: &&str| line.starts_with("vllm:num_requests_running{");
    let running = labels(page.lines().find(named).unwrap());
    assert!(running.contains(&("model_name".to_owned(), "tiny".to_owned())), "the first served name: {running:?}");
    assert!(running.contains(&("engine".to_owned(), "0".to_owned())), "{running:?}");
    for absent in ["vllm:sleep_mode_operations_in_flight", "vllm:lora_requests_info"] {
        assert!(!page.contains(absent), "{absent}: neither development mode nor adapters are on");
    }
}
