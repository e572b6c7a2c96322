//! Reads what is kept of callers' keys: one Secret in each namespace whose policies ask for keys, by its name, again and again.
//! They are not watched, because that needs the right to read all Secrets of a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::KEYS_SECRET;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use router_core::{KeptKey, Keys};
use tokio::sync::watch;
use tokio::time::timeout;

/// How often each is read. A new key is in use, and a deleted one no longer, after this and the time that reading takes.
const EVERY: Duration = Duration::from_secs(20);
/// How long the API server may take for one.
const DEADLINE: Duration = Duration::from_secs(5);

/// Keeps `known` in step with the Secrets of the namespaces that are `wanted`, for as long as it is polled.
pub(super) async fn keep(
    client: Client,
    mut wanted: watch::Receiver<BTreeSet<String>>,
    known: watch::Sender<Arc<Keys>>,
) {
    // What was said of a namespace is not said again every few seconds: many have no such Secret that could be read.
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let namespaces = wanted.borrow_and_update().clone();
        let mut keys = (**known.borrow()).clone();
        keys.retain(|namespace| namespaces.contains(namespace));
        told.retain(|namespace, _| namespaces.contains(namespace));
        for namespace in &namespaces {
            match read(&client, namespace).await {
                Ok(read) => {
                    told.remove(namespace);
                    keys.set(namespace, read);
                }
                Err(error) if told.get(namespace) == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(namespace, secret = KEYS_SECRET, error, "keys of callers cannot be read");
                    told.insert(namespace.clone(), error);
                }
            }
        }
        known.send_if_modified(|now| {
            let changed = **now != keys;
            if changed {
                *now = Arc::new(keys);
            }
            changed
        });
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// The keys of one namespace, each with its caller; or why they cannot be read, and what was known stays in use. A Secret
/// that is not there holds none.
async fn read(client: &Client, namespace: &str) -> Result<Vec<(String, KeptKey)>, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match timeout(DEADLINE, secrets.get_opt(KEYS_SECRET)).await {
        Ok(Ok(secret)) => Ok(secret.map(|secret| keys(namespace, &secret)).unwrap_or_default()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The keys that a Secret holds: an entry for each caller, with a line for each key.
pub(super) fn keys(namespace: &str, secret: &Secret) -> Vec<(String, KeptKey)> {
    let mut all = Vec::new();
    for (caller, value) in secret.data.iter().flatten() {
        let text = String::from_utf8_lossy(&value.0);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match KeptKey::parse(line) {
                Ok(key) => all.push((caller.clone(), key)),
                // The line itself might be a key, so it is not told.
                Err(why) => tracing::warn!(namespace, secret = KEYS_SECRET, caller, %why, "a key is left out"),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn a_secret_holds_a_line_for_each_key() {
        let good = format!("v1:{}:{}", "00".repeat(16), "11".repeat(32));
        let entry = |caller: &str, text: &str| (caller.to_owned(), ByteString(text.as_bytes().to_vec()));
        let entries = [entry("a", &format!("{good}\n\n {good} \n")), entry("b", "qm_b_clear"), entry("c", "")];
        let secret = Secret { data: Some(entries.into()), ..Secret::default() };
        let callers: Vec<_> = keys("ml", &secret).into_iter().map(|(caller, _)| caller).collect();
        assert_eq!(callers, ["a", "a"]);
    }
}
