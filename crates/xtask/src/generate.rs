//! What is made from the sources and committed: the CRDs, their chart, the reference pages, the charts' values.

mod describe;
mod ordered;
mod reference;
mod routes;
mod values;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::Outcome;
use crate::places;

const HEAD: &str = "# Made by `cargo xtask generate` from crates/api. Do not edit.\n";
/// The charts, in the order in which they are installed.
const CHARTS: [&str; 2] = ["quartermaster-crds", "quartermaster"];
/// Tells Helm to leave an object in the cluster, unless the chart's value `keep` says otherwise.
const KEEP: &str = "  {{- if .Values.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n";
/// Where the tables of the charts' values stand.
const VALUES_PAGE: &str = "docs/install.md";

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
    for chart in CHARTS {
        let file = chart.strip_prefix("quartermaster-").unwrap_or(chart);
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
        let crd = describe::reflowed(&crd);
        let plural = &crd.spec.names.plural;
        let explained = describe::with_defaults(&crd);
        files.push((format!("crds/{plural}.yaml"), definition(&explained, false)?));
        files.push((format!("charts/quartermaster-crds/templates/{plural}.yaml"), definition(&explained, true)?));
        files.push((format!("docs/reference/{}.md", crd.spec.names.kind.to_lowercase()), reference::page(&crd)?));
    }
    let mut page = fs::read_to_string(places::root().join(VALUES_PAGE))?;
    for chart in CHARTS {
        let schema = values::schema(chart)?;
        files.push((format!("charts/{chart}/values.yaml"), values::file(&schema)?));
        page = between(&page, VALUES_PAGE, &format!("values of {chart}"), &values::table(&schema)?)?;
    }
    files.push((VALUES_PAGE.to_owned(), page));
    files.push((routes::PAGE.to_owned(), routes::page()?));
    Ok(files
        .into_iter()
        .map(|(path, text)| (PathBuf::from(path), text))
        .filter(|(path, text)| fs::read_to_string(places::root().join(path)).ok().as_ref() != Some(text))
        .collect())
}

/// The page at `path` with `made` between the two marks of `what`.
fn between(page: &str, path: &str, what: &str, made: &str) -> Outcome<String> {
    let begin = format!("<!-- {what}: made by `cargo xtask generate` -->\n");
    let end = format!("<!-- end of {} -->", what.split(' ').next().unwrap_or_default());
    let missing = || format!("{path}: the marks {begin:?} and {end:?} are missing");
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{made}\n{end}{after}"))
}

/// A definition as YAML. In the chart it is kept by default when the chart is uninstalled: deleting a CRD deletes every
/// object of it.
fn definition(crd: &CustomResourceDefinition, in_chart: bool) -> Outcome<String> {
    let text = serde_saphyr::to_string(crd)?;
    let kind = &crd.spec.names.kind;
    if !in_chart {
        return Ok(format!("{HEAD}{}\n", text.trim_end()));
    }
    if text.contains("{{") {
        return Err(format!("{kind}: a description holds '{{{{', which the chart would take for a template").into());
    }
    let (before, after) = text.split_once("\nmetadata:\n").ok_or_else(|| format!("{kind}: no metadata"))?;
    Ok(format!("{HEAD}{before}\nmetadata:\n{KEEP}{}\n", after.trim_end()))
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
