//! Reads the keys of the issuers that policies name, apart from any request: again from time to time, and soon when a token comes
//! that none of them has signed. While an issuer is away its last keys stay in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
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
const AT_ONCE: usize = 16;
/// Most characters of what is wrong with an issuer that are logged: some of them are the issuer's own.
const MOST_TOLD: usize = 512;
/// Tokens of unknown keys that wait to be heard of.
pub(crate) const QUEUE: usize = 16;

/// When one issuer is read next.
struct Plan {
    due: Instant,
    tried: Option<Instant>,
    failures: u32,
    /// It is being read.
    under_way: bool,
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
    // Each for itself: one that is slow or dead, which any policy can name, delays no other.
    let mut reading = FuturesUnordered::new();
    loop {
        let sources = wanted.borrow_and_update().clone();
        let now = Instant::now();
        plans.retain(|source, _| sources.contains(source));
        for source in sources {
            plans.entry(source).or_insert(Plan { due: now, tried: None, failures: 0, under_way: false });
        }
        let mut waiting: Vec<_> = plans.iter_mut().filter(|(_, plan)| !plan.under_way).collect();
        waiting.sort_by_key(|(_, plan)| plan.due);
        let room = AT_ONCE - reading.len().min(AT_ONCE);
        for (source, plan) in waiting.iter_mut().take(room).take_while(|(_, plan)| plan.due <= now) {
            plan.under_way = true;
            reading.push(named(source.clone(), &outbound));
        }
        let next = waiting.iter().filter(|(_, plan)| !plan.under_way).map(|(_, plan)| plan.due).min();
        let next = next.filter(|_| reading.len() < AT_ONCE);
        tokio::select! {
            Some((source, outcome)) = reading.next() => take(source, outcome, &mut plans, &mut version, &known),
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
    source: Source,
    outcome: Result<KeySet, FetchError>,
    plans: &mut BTreeMap<Source, Plan>,
    latest: &mut u64,
    known: &watch::Sender<Arc<Issuers>>,
) {
    let mut issuers = (**known.borrow()).clone();
    let now = Instant::now();
    let Some(plan) = plans.get_mut(&source) else { return };
    (plan.tried, plan.under_way) = (Some(now), false);
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
            issuers.retain(|source| plans.contains_key(source));
            issuers.set(source, Known { keys: Arc::new(keys), version, read: seconds_since_1970() });
            known.send_replace(Arc::new(issuers));
        }
        Err(error) => {
            plan.failures += 1;
            plan.due = now + EVERY.min(LATEST * (1 << plan.failures.min(5)));
            let kept = issuers.known(&source).is_some();
            let error: String = error.to_string().chars().take(MOST_TOLD).collect();
            tracing::warn!(issuer = source.issuer, error, kept, "keys of an issuer of tokens were not read");
        }
    }
}

/// As [`read`], with whose keys they are.
async fn named(source: Source, outbound: &Outbound) -> (Source, Result<KeySet, FetchError>) {
    let outcome = read(&source, outbound).await;
    (source, outcome)
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
