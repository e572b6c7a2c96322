//! The charts are well-formed, refuse wrong values, and give what manifests/install holds.

use std::process::Command;

use e2e::read;

/// Calls helm in the root of the checkout; the error is what it says.
fn helm(words: &str) -> Result<String, String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new("helm").args(words.split_whitespace()).current_dir(root).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn the_charts_are_well_formed() {
    for chart in ["quartermaster", "quartermaster-crds"] {
        helm(&format!("lint --strict charts/{chart}")).unwrap();
    }
}

#[test]
fn the_kustomize_install_equals_the_charts() {
    for (chart, file) in [("quartermaster-crds", "crds"), ("quartermaster", "quartermaster")] {
        let rendered = helm(&format!("template {chart} charts/{chart} --namespace quartermaster-system")).unwrap();
        let kept = read(&format!("manifests/install/{file}.yaml"));
        assert!(rendered == kept, "manifests/install/{file}.yaml is stale: run `make generate` with helm at hand");
    }
    let built = e2e::kubectl(concat!("kustomize ", env!("CARGO_MANIFEST_DIR"), "/../manifests/install"));
    assert!(built.contains("kind: CustomResourceDefinition") && built.contains("name: quartermaster-router"));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let cases = [
        ("router.replicas=many", "replicas"),
        ("router.replica=3", "replica"),
        ("image.tag=latest", "image.tag must name a version"),
        ("router.extraArgs={--listen=0.0.0.0:1}", "router.extraArgs must not set --listen"),
    ];
    for (value, word) in cases {
        let error = helm(&format!("template q charts/quartermaster --set {value}")).expect_err(value);
        assert!(error.contains(word), "{value}: {error}");
    }
}
