//! Alerts must be about figures that exist: an alert on a misspelt name never fires, and nobody notices.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::places;

const ALERTS: &str = "charts/quartermaster/files/alerts.yaml";

/// How a figure's name begins, and the sources that make it. The simulator's names are held to the real engine's by the
/// contract suite.
const MAKERS: [(&str, &str); 3] = [
    ("quartermaster_operator_", "crates/operator/src"),
    ("quartermaster_router_", "crates/router/src"),
    ("vllm:", "crates/vllm-sim/src"),
];

pub(super) fn complaints() -> Outcome<Vec<String>> {
    let alerts = fs::read_to_string(places::root().join(ALERTS))?;
    let mut all = Vec::new();
    for (prefix, folder) in MAKERS {
        let mut source = String::new();
        read_all(&places::root().join(folder), &mut source)?;
        let names = names(&alerts, prefix);
        if names.is_empty() {
            all.push(format!("{ALERTS}: no alert is about a figure that begins with {prefix}"));
        }
        all.extend(
            names
                .iter()
                .filter(|name| !made(&source, prefix, name))
                .map(|name| format!("{ALERTS}: {prefix}{name} is a figure that nothing in {folder} makes")),
        );
    }
    Ok(all)
}

/// What follows the prefix in each word of the text that begins with it.
fn names<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter_map(|word| word.strip_prefix(prefix)).filter(|name| !name.is_empty()).collect()
}

/// Whether a source names the figure, with the prefix or without it.
fn made(source: &str, prefix: &str, name: &str) -> bool {
    source.contains(&format!("\"{name}\"")) || source.contains(&format!("\"{prefix}{name}\""))
}

fn read_all(folder: &Path, text: &mut String) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_looked_up() {
        let text = "sum(rate(vllm:tokens_total{a=\"vllm:no\"}[5m])) > vllm:running";
        assert_eq!(names(text, "vllm:"), BTreeSet::from(["no", "running", "tokens_total"]));
        let source = "gauge(\"running\"), Opts::new(\"vllm:waiting\", \"\")";
        for (name, want) in [("running", true), ("waiting", true), ("runnin", false)] {
            assert_eq!(made(source, "vllm:", name), want, "{name}");
        }
    }
}
