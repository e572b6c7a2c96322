//! Calls of helm.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Calls helm in the root of the checkout with words separated by spaces; the error is what it says. Panics when helm cannot
/// be started.
pub fn helm(words: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut helm = Command::new("helm");
    let output = helm.args(words.split_whitespace()).current_dir(root).output().expect("helm starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// As [`helm`], and panics when it fails.
pub fn must_helm(words: &str) -> String {
    helm(words).unwrap_or_else(|error| panic!("helm {words}: {error}"))
}

/// The objects that a chart gives in namespace `ns` with these words, for example `--set a=b`. Panics when it gives none.
#[must_use]
pub fn rendered(chart: &str, words: &str) -> Vec<Value> {
    objects(&must_helm(&format!("template release charts/{chart} --namespace ns {words}")))
}

/// The objects in a text of several YAML documents.
#[must_use]
pub fn objects(text: &str) -> Vec<Value> {
    let read: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    read.into_iter().filter(|object| !object.is_null()).collect()
}
