//! Policies and pools out of files.

use std::fs;
use std::path::{Path, PathBuf};

use api::{GROUP, VERSION};
use schema::{Document, Kinds, documents};
use serde::de::DeserializeOwned;

use crate::objects::Objects;
use crate::{Outcome, read};

/// The objects of these files, and of the files of these folders; kinds of no use here are passed over. Objects that name no
/// namespace get this one.
pub(crate) fn objects(paths: &[PathBuf], namespace: &str) -> Outcome<Objects> {
    let kinds = Kinds::new().map_err(|fault| format!("{}: {}", fault.path, fault.message))?;
    let (mut objects, mut faults) = (Objects::default(), Vec::new());
    for path in paths {
        for file in files(path)? {
            take(&file, namespace, &kinds, &mut objects, &mut faults)?;
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("\n").into());
    }
    if objects.policies.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(format!("{} holds no RoutePolicy", named.join(", ")).into());
    }
    Ok(objects)
}

/// The path itself, or the files of a folder as kubectl takes them.
fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let listed = fs::read_dir(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let fits = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str());
        end.is_some_and(|end| ["yaml", "yml", "json"].contains(&end)) && !path.is_dir()
    };
    let mut all: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).filter(fits).collect();
    all.sort();
    Ok(all)
}

fn take(file: &Path, namespace: &str, kinds: &Kinds, objects: &mut Objects, faults: &mut Vec<String>) -> Outcome {
    let name = file.display().to_string();
    let text = String::from_utf8(read(file)?).map_err(|_| format!("{name} is not UTF-8"))?;
    let all = documents(&text).map_err(|why| format!("{name}:{}: {why}", why.line))?;
    let ours = format!("{GROUP}/{VERSION}");
    for document in all {
        let items = document.value["items"].as_array().filter(|_| document.value["kind"] == "List").map_or(0, Vec::len);
        let each = (0..items).map(|at| document.item(at));
        for document in each.chain((items == 0).then(|| document.clone())) {
            if document.value["apiVersion"] != ours.as_str() {
                continue;
            }
            match document.value["kind"].as_str() {
                Some("RoutePolicy") => objects.policies.extend(object(&name, &document, namespace, kinds, faults)),
                Some("InferencePool") => objects.pools.extend(object(&name, &document, namespace, kinds, faults)),
                kind => faults.push(format!(
                    "{name}:{}: kind: there is no kind {} in {ours}; there are {}",
                    document.line("kind"),
                    kind.unwrap_or("without a name"),
                    kinds.names().collect::<Vec<_>>().join(", ")
                )),
            }
        }
    }
    Ok(())
}

/// The object, or nothing and what is wrong with it.
fn object<K: DeserializeOwned>(
    file: &str,
    document: &Document,
    namespace: &str,
    kinds: &Kinds,
    faults: &mut Vec<String>,
) -> Option<K> {
    let mut value = document.value.clone();
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let name = value["metadata"]["name"].as_str().unwrap_or("without a name").to_owned();
    if value["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        value["metadata"]["namespace"] = namespace.into();
    }
    let mut tell = |path: &str, problem: &str| {
        faults.push(format!("{file}:{}: {kind} {name}: {path}: {problem}", document.line(path)));
    };
    match kinds.judge(&kind, &value)? {
        Ok(stored) => match serde_path_to_error::deserialize(stored) {
            Ok(object) => return Some(object),
            Err(error) => tell(&error.path().to_string(), &error.inner().to_string()),
        },
        Err(found) => found.iter().for_each(|fault| tell(&fault.path, &fault.message)),
    }
    None
}
