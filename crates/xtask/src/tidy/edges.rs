//! Which crate may use which: binaries, then pure cores, then types. An arrow the other way, or a library of the outside
//! world in a pure crate, is refused.

use std::process::Command;

use serde::Deserialize;

use crate::Outcome;
use crate::places;

/// Our crates that each of our crates may use (tests aside).
const MAY_USE: [(&str, &[&str]); 17] = [
    ("api", &[]),
    ("ledger", &[]),
    ("wire", &[]),
    ("telemetry", &[]),
    ("rules", &["wire"]),
    ("schema", &["api"]),
    ("operator-core", &["api", "rules"]),
    ("router-core", &["api", "ledger", "rules", "wire"]),
    ("operator", &["api", "operator-core", "telemetry"]),
    ("router", &["api", "ledger", "router-core", "rules", "schema", "telemetry", "wire"]),
    ("vllm-sim", &[]),
    ("provider-sim", &[]),
    ("cli", &["api", "ledger", "router-core", "rules", "schema", "wire"]),
    ("xtask", &["api", "ledger", "rules"]),
    ("e2e", &[]),
    ("mutate", &["schema"]),
    ("fault", &[]),
];

/// Crates that decide and never act: no clock, no network, no runtime.
const PURE: [&str; 7] = ["api", "ledger", "wire", "rules", "schema", "operator-core", "router-core"];

/// What a pure crate must not use.
const WORLD: [&str; 12] = [
    "axum",
    "hyper",
    "hyper-util",
    "kube-client",
    "kube-runtime",
    "prometheus",
    "reqwest",
    "socket2",
    "tokio",
    "tokio-util",
    "tower",
    "tracing",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

/// Every forbidden edge of the workspace.
pub(super) fn complaints() -> Outcome<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(places::root())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    Ok(judge(&metadata.packages))
}

fn judge(packages: &[Package]) -> Vec<String> {
    let mut all = Vec::new();
    for package in packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            all.push(format!("{}: a new crate: say in tidy/edges.rs which of our crates it may use", package.name));
            continue;
        };
        for used in package.dependencies.iter().filter(|d| d.kind.is_none()) {
            let ours = MAY_USE.iter().any(|(name, _)| *name == used.name);
            if ours && !allowed.contains(&used.name.as_str()) {
                all.push(format!(
                    "{} must not use {}: arrows go from binaries to cores to types",
                    package.name, used.name
                ));
            }
            if PURE.contains(&package.name.as_str()) && worldly(used) {
                all.push(format!("{} is pure and must not use {}: do that in its binary", package.name, used.name));
            }
        }
    }
    all
}

fn worldly(used: &Dependency) -> bool {
    let kube_beyond_types = used.name == "kube" && used.features.iter().any(|f| f != "derive");
    WORLD.contains(&used.name.as_str()) || kube_beyond_types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, &[&str])]) -> Package {
        let dependency = |(name, features): &(&str, &[&str])| Dependency {
            name: (*name).to_owned(),
            kind: None,
            features: features.iter().map(|f| (*f).to_owned()).collect(),
        };
        Package { name: name.to_owned(), dependencies: uses.iter().map(dependency).collect() }
    }

    #[test]
    fn forbidden_edges_are_found() {
        let cases: [(Package, usize); 6] = [
            (package("router", &[("router-core", &[]), ("tokio", &[])]), 0),
            (package("router", &[("operator-core", &[])]), 1),
            (package("api", &[("kube", &["derive"])]), 0),
            (package("api", &[("kube", &["derive", "client"])]), 1),
            (package("wire", &[("tokio", &[])]), 1),
            (package("newcomer", &[]), 1),
        ];
        for (package, want) in cases {
            let found = judge(std::slice::from_ref(&package));
            assert_eq!(found.len(), want, "{found:?}");
        }
    }
}
