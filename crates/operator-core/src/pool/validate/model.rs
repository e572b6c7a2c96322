//! Where the weights are, read from the source's text.

use api::Model;

use super::Faults;

/// Where the weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Weights {
    /// A repository of the model hub: `organisation/name`.
    Hub(String),
    /// A folder on a claim.
    Claim {
        /// Name of the PersistentVolumeClaim.
        name: String,
        /// Path below its root, without a slash at either end; may be empty.
        path: String,
    },
    /// An address of object storage as the engine takes it, beginning with `s3://` or `gs://`.
    Bucket(String),
    /// An image that holds the weights.
    Image(String),
    /// A folder in the engine's container.
    Folder(String),
}

const SHAPES: &str = "must be hf://organisation/name, pvc://claim/path, s3://bucket/path, gs://bucket/path, \
                      oci://registry/repository:tag or file:///absolute/path";

pub(super) fn weights(model: &Model, found: &mut Faults) -> Weights {
    let weights = read(&model.source);
    if weights.is_none() {
        found.add("spec.model.source", SHAPES);
    }
    let weights = weights.unwrap_or_else(|| Weights::Folder(String::new()));
    found.check(
        model.revision.is_none() || matches!(weights, Weights::Hub(_)),
        "spec.model.revision",
        "is for hf:// sources only",
    );
    found.check(
        model.revision.as_ref().is_none_or(|revision| !revision.is_empty() && !revision.starts_with('-')),
        "spec.model.revision",
        "must not be empty or start with '-'",
    );
    let secret = "spec.model.credentialsSecretRef";
    if let Some(credentials) = &model.credentials_secret_ref {
        let (used, needs_key) = match &weights {
            Weights::Hub(_) => (true, true),
            Weights::Bucket(url) => (true, url.starts_with("gs://")),
            Weights::Image(_) => (true, false),
            Weights::Claim { .. } | Weights::Folder(_) => (false, false),
        };
        found.check(used, secret, "has no use for file:// and pvc:// sources; remove it");
        found.check(
            !used || credentials.key.is_some() == needs_key,
            "spec.model.credentialsSecretRef.key",
            "is needed for hf:// and gs:// sources, and has no use for the others",
        );
    }
    weights
}

fn read(source: &str) -> Option<Weights> {
    let segment = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._=+@/-".contains(&b)) && text.split('/').all(|p| p != "..")
    };
    let (scheme, rest) = source.split_once("://")?;
    match scheme {
        "hf" => {
            let (who, what) = rest.split_once('/')?;
            (segment(who) && segment(what)).then(|| Weights::Hub(rest.to_owned()))
        }
        "pvc" => {
            let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
            let name_ok = segment(name) && name.bytes().all(|b| !b.is_ascii_uppercase() && b != b'_');
            let path = path.trim_end_matches('/');
            (name_ok && plain(path)).then(|| Weights::Claim { name: name.to_owned(), path: path.to_owned() })
        }
        "s3" | "gs" => {
            let (bucket, path) = rest.split_once('/')?;
            (segment(bucket) && !path.is_empty() && plain(path)).then(|| Weights::Bucket(source.to_owned()))
        }
        "oci" => {
            let reference = |b: u8| b.is_ascii_alphanumeric() || b".:/_@-".contains(&b);
            (segment(rest.get(..1)?) && rest.bytes().all(reference)).then(|| Weights::Image(rest.to_owned()))
        }
        "file" => (rest.len() > 1 && rest.starts_with('/') && plain(rest)).then(|| Weights::Folder(rest.to_owned())),
        _ => None,
    }
}

pub(super) fn served_names(model: &Model, pool: &str, found: &mut Faults) -> Vec<String> {
    let names = &model.served_names;
    for (i, name) in names.iter().enumerate() {
        let path = format!("spec.model.servedNames[{i}]");
        found.check(!name.is_empty() && !name.starts_with('-'), &path, "must not be empty or start with '-'");
        found.check(!names[..i].contains(name), &path, "stands there twice; remove one");
    }
    if names.is_empty() { vec![pool.to_owned()] } else { names.clone() }
}
