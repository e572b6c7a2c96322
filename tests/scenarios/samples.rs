//! Every file in manifests/samples is accepted, and does what its kind does.

use e2e::{Namespace, PATIENCE, manifest, try_kubectl, wait_for};

#[test]
fn every_sample_is_accepted() {
    let ns = Namespace::new("samples");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
        .collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        ns.must_apply(&manifest(&format!("manifests/samples/{name}")));
    }
    let pools = ns.get("inferencepools.quartermaster.dev").unwrap();
    for pool in pools["items"].as_array().unwrap() {
        let name = pool["metadata"]["name"].as_str().unwrap();
        wait_for("each pool has its Deployment", PATIENCE, || {
            ns.get(&format!("deployments --selector quartermaster.dev/pool={name}")).and_then(|list| {
                if list["items"].as_array().is_some_and(|items| items.len() == 1) {
                    Ok(())
                } else {
                    Err(list.to_string())
                }
            })
        });
    }
    let policies = ns.get("routepolicies.quartermaster.dev").unwrap();
    assert!(!policies["items"].as_array().unwrap().is_empty());
}

/// Only the demo runs it.
#[test]
fn the_pool_of_the_real_engine_is_accepted() {
    let ns = Namespace::new("samples-vllm");
    let words = format!("apply --server-side --dry-run=server --namespace {} --filename -", ns.name);
    try_kubectl(&words, &manifest("tests/vllm/pool.yaml")).unwrap();
}
