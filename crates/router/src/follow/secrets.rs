//! Reads the Secrets that policies name, each by its name, again and again. They are not watched, because that needs the right
//! to read all Secrets of a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::{AWS_KEYS, HOSTS_ANNOTATION};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use router_core::SecretKey;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::secrets::{Held, Key, KeyFault, Secrets};

/// How long the API server may take for one.
const DEADLINE: Duration = Duration::from_secs(5);

/// Keeps `known` in step with the Secrets that are `wanted`, each read `every` so often, for as long as it is polled.
pub(super) async fn keep(
    client: Client,
    every: Duration,
    mut wanted: watch::Receiver<BTreeSet<SecretKey>>,
    known: watch::Sender<Arc<Secrets>>,
) {
    loop {
        let names = wanted.borrow_and_update().clone();
        let before = Arc::clone(&known.borrow());
        let new = read(&client, &names, &before).await;
        known.send_if_modified(|now| {
            let changed = **now != new;
            if changed {
                *now = Arc::new(new);
            }
            changed
        });
        // Whoever says what is wanted lives as long as this.
        if let Ok(Err(_)) = timeout(every, wanted.changed()).await {
            return std::future::pending().await;
        }
    }
}

async fn read(client: &Client, wanted: &BTreeSet<SecretKey>, before: &Secrets) -> Secrets {
    let mut by_secret: BTreeMap<(&str, &str), Vec<&SecretKey>> = BTreeMap::new();
    for key in wanted {
        by_secret.entry((&key.namespace, &key.name)).or_default().push(key);
    }
    let mut new = Secrets::default();
    for ((namespace, name), keys) in by_secret {
        let api = Api::<Secret>::namespaced(client.clone(), namespace);
        let answer = timeout(DEADLINE, api.get_opt(name)).await;
        for key in keys {
            let old = before.0.get(key);
            let held = match &answer {
                Ok(Ok(Some(secret))) => held(secret, key, old.and_then(|old| old.as_ref().ok())),
                Ok(Ok(None)) => Err(KeyFault::Missing),
                Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(KeyFault::Denied),
                // What was known is still the best guess.
                Ok(Err(_)) | Err(_) => old.cloned().unwrap_or(Err(KeyFault::Unread)),
            };
            if old.map(|old| old.as_ref().err()) != Some(held.as_ref().err()) {
                match &held {
                    Ok(_) => tracing::info!(namespace, secret = name, key = key.key, "provider key read"),
                    // Only temporary credentials have a token.
                    Err(KeyFault::NoKey) if key.key == AWS_KEYS[2] => {}
                    Err(why) => tracing::warn!(namespace, secret = name, key = key.key, %why, "no provider key"),
                }
            }
            new.0.insert(key.clone(), held);
        }
    }
    new
}

pub(super) fn held(secret: &Secret, key: &SecretKey, old: Option<&Held>) -> Result<Held, KeyFault> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(&key.key)).ok_or(KeyFault::NoKey)?;
    let key = Key::new(&bytes.0)?;
    let named = secret.annotations().get(HOSTS_ANNOTATION).map(String::as_str).unwrap_or_default();
    let hosts = named.split(',').map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty()).collect();
    let version = match old {
        Some(old) if old.key == key => old.version,
        Some(old) => old.version + 1,
        None => 1,
    };
    Ok(Held { key, hosts, version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_key_has_a_new_version() {
        let secret = |key: &str, hosts: &str| -> Secret {
            serde_json::from_value(json!({
                "metadata": {"name": "s", "namespace": "ml", "annotations": {"quartermaster.dev/hosts": hosts}},
                "data": {"key": key},
            }))
            .unwrap()
        };
        let at = |key: &str| SecretKey { namespace: "ml".to_owned(), name: "s".to_owned(), key: key.to_owned() };
        let first = held(&secret("c2stMQ==", ""), &at("key"), None).unwrap();
        let same = held(&secret("c2stMQo=", "A.example, ,b"), &at("key"), Some(&first)).unwrap();
        let other = held(&secret("c2stMg==", ""), &at("key"), Some(&same)).unwrap();
        assert_eq!((first.version, same.version, other.version), (1, 1, 2));
        assert_eq!(same.hosts, ["a.example", "b"]);
        assert_eq!(held(&secret("c2stMg==", ""), &at("gone"), None), Err(KeyFault::NoKey));
        assert_eq!(held(&secret("", ""), &at("key"), None), Err(KeyFault::Malformed));
    }
}
