//! What is made from the sources and committed: the CRDs, their chart, the reference pages.

mod reference;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::Outcome;
use crate::places;

const HEAD: &str = "# Made by `cargo xtask generate` from crates/api. Do not edit.\n";

/// Writes every made file, or with `check` fails when one is stale.
pub(crate) fn run(check: bool) -> Outcome {
    let stale = stale()?;
    if check {
        let names: Vec<_> = stale.iter().map(|(path, _)| path.display().to_string()).collect();
        return match names.as_slice() {
            [] => Ok(()),
            some => Err(format!("stale, run `make generate`: {}", some.join(", ")).into()),
        };
    }
    for (path, text) in stale {
        let full = places::root().join(&path);
        full.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(full, text)?;
        println!("wrote {}", path.display());
    }
    install_manifests()
}

/// Renders the charts into manifests/install, where helm is at hand; a scenario on the cluster compares them.
fn install_manifests() -> Outcome {
    for (chart, file) in [("quartermaster-crds", "crds"), ("quartermaster", "quartermaster")] {
        let mut helm = Command::new("helm");
        helm.args(["template", chart, &format!("charts/{chart}"), "--namespace", "quartermaster-system"]);
        let Ok(output) = helm.current_dir(places::root()).output() else {
            println!("manifests/install was not made again: helm is not on the PATH (`make demo` says where one is)");
            return Ok(());
        };
        if !output.status.success() {
            return Err(format!("helm template {chart}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        fs::write(places::root().join(format!("manifests/install/{file}.yaml")), output.stdout)?;
    }
    println!("rendered manifests/install");
    Ok(())
}

/// The made files that are not as they should be, with what they should hold.
fn stale() -> Outcome<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for crd in api::all_crds() {
        let plural = &crd.spec.names.plural;
        files.push((format!("crds/{plural}.yaml"), definition(&crd, false)?));
        files.push((format!("charts/quartermaster-crds/templates/{plural}.yaml"), definition(&crd, true)?));
        files.push((format!("docs/reference/{}.md", crd.spec.names.kind.to_lowercase()), reference::page(&crd)?));
    }
    Ok(files
        .into_iter()
        .map(|(path, text)| (PathBuf::from(path), text))
        .filter(|(path, text)| fs::read_to_string(places::root().join(path)).ok().as_ref() != Some(text))
        .collect())
}

/// A definition as YAML. In the chart it is kept when the chart is uninstalled: deleting a CRD deletes every object of it.
fn definition(crd: &CustomResourceDefinition, in_chart: bool) -> Outcome<String> {
    let mut crd = crd.clone();
    if in_chart {
        let keep = ("helm.sh/resource-policy".to_owned(), "keep".to_owned());
        crd.metadata.annotations.get_or_insert_default().extend([keep]);
    }
    let text = serde_saphyr::to_string(&crd)?;
    if in_chart && text.contains("{{") {
        return Err(format!(
            "{}: a description holds '{{{{', which the chart would take for a template",
            crd.spec.names.kind
        )
        .into());
    }
    Ok(format!("{HEAD}{}\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_stale() {
        let stale = super::stale().unwrap();
        let names: Vec<_> = stale.iter().map(|(path, _)| path).collect();
        assert!(names.is_empty(), "run `make generate`: {names:?}");
    }
}
