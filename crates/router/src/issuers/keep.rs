//! Reads the keys of the issuers that policies name, apart from any request: again from time to time, and soon when a token comes
//! that none of them has signed. While an issuer is away its last keys stay in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use router_core::{KeySet, Source};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Issuers, Known, LATEST};
use crate::clock::{at, seconds_since_1970};
use crate::fetch::{FetchError, fetch};
use crate::outbound::Outbound;

/// How often the keys of an issuer are read. One that it has taken back is not taken any more after this.
const EVERY: Duration = Duration::from_secs(300);
/// How long an issuer may take for description and keys.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most issuers that are read at once.
const AT_ONCE: usize = 8;
/// Tokens of unknown keys that wait to be heard of.
pub(crate) const QUEUE: usize = 16;

/// When one issuer is read next.
struct Plan {
    due: Instant,
    tried: Option<Instant>,
    failures: u32,
}

/// What an issuer says of itself, as far as it matters.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// Keeps `known` in step with the issuers that are `wanted`, for as long as it is polled; `again` names those whose keys may
/// be old.
pub async fn keep(
    outbound: Outbound,
    mut wanted: watch::Receiver<BTreeSet<Source>>,
    mut again: mpsc::Receiver<Source>,
    known: watch::Sender<Arc<Issuers>>,
) {
    let mut plans: BTreeMap<Source, Plan> = BTreeMap::new();
    let mut version = 0;
    loop {
        let sources = wanted.borrow_and_update().clone();
        let now = Instant::now();
        plans.retain(|source, _| sources.contains(source));
        for source in sources {
            plans.entry(source).or_insert(Plan { due: now, tried: None, failures: 0 });
        }
        let due: Vec<Source> =
            plans.iter().filter(|(_, plan)| plan.due <= now).map(|(source, _)| source.clone()).collect();
        if !due.is_empty() {
            let read = stream::iter(due)
                .map(|source| async { (read(&source, &outbound).await, source) })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            take(read, &mut plans, &mut version, &known);
            continue;
        }
        let next = plans.values().map(|plan| plan.due).min();
        tokio::select! {
            () = at(next) => {}
            changed = wanted.changed() => if changed.is_err() { return },
            Some(source) = again.recv() => if let Some(plan) = plans.get_mut(&source) {
                plan.due = plan.due.min(plan.tried.map_or(now, |tried| tried + LATEST));
            },
        }
    }
}

/// Takes in what was read, and plans when it is read again.
fn take(
    read: Vec<(Result<KeySet, FetchError>, Source)>,
    plans: &mut BTreeMap<Source, Plan>,
    latest: &mut u64,
    known: &watch::Sender<Arc<Issuers>>,
) {
    let mut issuers = (**known.borrow()).clone();
    issuers.retain(|source| plans.contains_key(source));
    let now = Instant::now();
    for (outcome, source) in read {
        let Some(plan) = plans.get_mut(&source) else { continue };
        plan.tried = Some(now);
        match outcome {
            Ok(keys) => {
                (plan.failures, plan.due) = (0, now + EVERY);
                let version = match issuers.known(&source) {
                    Some(before) if *before.keys == keys => before.version,
                    _ => {
                        *latest += 1;
                        *latest
                    }
                };
                issuers.set(source, Known { keys: Arc::new(keys), version, read: seconds_since_1970() });
            }
            Err(error) => {
                plan.failures += 1;
                plan.due = now + EVERY.min(LATEST * (1 << plan.failures.min(5)));
                let kept = issuers.known(&source).is_some();
                tracing::warn!(issuer = source.issuer, %error, kept, "keys of an issuer of tokens were not read");
            }
        }
    }
    known.send_replace(Arc::new(issuers));
}

/// The keys of an issuer, where the policy or its own description says that they are.
async fn read(source: &Source, outbound: &Outbound) -> Result<KeySet, FetchError> {
    let until = Instant::now() + DEADLINE;
    let keys = match &source.jwks {
        Some(url) => fetch(url, outbound, until).await?,
        None => fetch(&described(source, outbound, until).await?, outbound, until).await?,
    };
    KeySet::parse(&keys).map_err(|error| FetchError::Content(error.to_string()))
}

/// Where the keys are by the issuer's own description, which must be about the same issuer.
async fn described(source: &Source, outbound: &Outbound, until: Instant) -> Result<String, FetchError> {
    let url = format!("{}/.well-known/openid-configuration", source.issuer.trim_end_matches('/'));
    let text = fetch(&url, outbound, until).await?;
    let said: Description =
        serde_json::from_slice(&text).map_err(|error| FetchError::Content(format!("{url}: {error}")))?;
    if said.issuer != source.issuer {
        return Err(FetchError::Content(format!("{url} describes another issuer, {:?}", said.issuer)));
    }
    Ok(said.jwks_uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::DialError;

    /// A policy must not make the router speak to what only the router reaches.
    #[tokio::test]
    async fn keys_are_read_only_from_where_policies_may_reach() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        for (url, expected) in [
            (format!("https://{here}/keys"), "a loopback address"),
            (format!("http://{here}/keys"), "a URL in clear text"),
            ("https://169.254.169.254/keys".to_owned(), "a link-local address"),
            ("https://name:word@login.example.com/keys".to_owned(), "no URL"),
            ("file:///etc/passwd".to_owned(), "no URL"),
        ] {
            let source = Source { issuer: "https://login.example.com".to_owned(), jwks: Some(url.clone()) };
            let error = read(&source, &Outbound::default()).await.unwrap_err();
            let told = match &error {
                FetchError::Dial(DialError::Forbidden(why)) => (*why).to_owned(),
                other => other.to_string(),
            };
            assert!(told.contains(expected), "{url}: {told}");
        }
    }
}
