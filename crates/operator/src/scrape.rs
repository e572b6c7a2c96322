//! Asks every ready replica for its load, once a second.

pub(crate) mod figures;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::Store;
use operator_core::load::{self, BadPage, Heard, Load, Reading, Replica, Sample, Trouble, Unknown};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How often a replica is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// Questions under way at once.
const AT_ONCE: usize = 256;
/// Of these to replicas whose last question went unanswered. They wait for each other, and never hold up the healthy ones:
/// a node that is cut off makes hundreds of replicas hang at once.
const AT_ONCE_FAILING: usize = 64;
/// Largest page read. A real one has about 100 kB.
const LARGEST_PAGE: usize = 4 << 20;
/// How often at most a pool is looked at because of its load alone. The status is not written more often either.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Namespace and name of a pool.
pub(crate) type PoolKey = (String, String);

/// The latest readings of all replicas.
#[derive(Debug, Default)]
pub(crate) struct Loads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ready: HashMap<PoolKey, Vec<Replica>>,
    /// By UID of the pod.
    heard: HashMap<String, Heard>,
}

/// What keeps [`Loads`] up to date.
pub(crate) struct Scraper {
    pub(crate) pods: Store<Pod>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) http: reqwest::Client,
    pub(crate) metrics: Metrics,
    /// The port that engines listen on.
    pub(crate) port: u16,
    /// Hears of pools whose load has changed.
    pub(crate) changed: mpsc::Sender<PoolKey>,
}

#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("the page is larger than {LARGEST_PAGE} bytes")]
    TooLarge,
    #[error("{0}")]
    Page(#[from] BadPage),
}

/// The client with which replicas are asked. Engines are reached as they are: no proxy, no redirects.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .pool_max_idle_per_host(1)
        .build()
}

impl Loads {
    /// The load of a pool as of `now`.
    pub(crate) fn of(&self, namespace: &str, pool: &str, now: Instant) -> Result<Load, Unknown> {
        self.state().of(&(namespace.to_owned(), pool.to_owned()), now)
    }

    /// The load of one ready replica as of `now`.
    pub(crate) fn of_replica(&self, replica: &Replica, now: Instant) -> Result<Load, Unknown> {
        load::of_pool([(replica.name.as_str(), self.state().heard(replica))], now)
    }

    /// The loads of all pools that have ready replicas, as of `now`.
    pub(crate) fn all(&self, now: Instant) -> Vec<(PoolKey, Result<Load, Unknown>)> {
        let state = self.state();
        state.ready.keys().map(|pool| (pool.clone(), state.of(pool, now))).collect()
    }

    /// Takes over which replicas there are, and forgets what others said.
    pub(crate) fn keep(&self, replicas: &[Replica]) {
        let mut ready: HashMap<PoolKey, Vec<Replica>> = HashMap::new();
        for replica in replicas {
            ready.entry((replica.namespace.clone(), replica.pool.clone())).or_default().push(replica.clone());
        }
        let uids: HashSet<&str> = replicas.iter().map(|replica| replica.uid.as_str()).collect();
        let mut state = self.state();
        state.heard.retain(|uid, _| uids.contains(uid.as_str()));
        state.ready = ready;
    }

    /// Notes what a replica answered, and when.
    pub(crate) fn put(&self, uid: String, sample: Sample, at: Instant) {
        self.state().heard.insert(uid, Heard { reading: Some(Reading { sample, at }), trouble: None });
    }

    /// Notes that a replica gave no good answer. What it said before stays until it is too old.
    fn miss(&self, uid: String, trouble: Trouble) {
        self.state().heard.entry(uid).or_default().trouble = Some(trouble);
    }

    /// Whether the last question to this replica was answered, or it was never asked.
    fn answers(&self, uid: &str) -> bool {
        self.state().heard.get(uid).is_none_or(|heard| heard.trouble.is_none())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&self, pool: &PoolKey, now: Instant) -> Result<Load, Unknown> {
        let ready = self.ready.get(pool).map_or(&[][..], Vec::as_slice);
        load::of_pool(ready.iter().map(|replica| (replica.name.as_str(), self.heard(replica))), now)
    }

    fn heard(&self, replica: &Replica) -> Heard {
        self.heard.get(&replica.uid).copied().unwrap_or_default()
    }
}

impl Scraper {
    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (gate, failing) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(AT_ONCE_FAILING)));
        // A replica that has not answered yet is not asked again.
        let mut asking: HashSet<String> = HashSet::new();
        let mut told: HashMap<PoolKey, (Option<i64>, Instant)> = HashMap::new();
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {
                    let replicas: Vec<Replica> = self.pods.state().iter().filter_map(|pod| load::replica(pod)).collect();
                    self.loads.keep(&replicas);
                    self.tell(&mut told, Instant::now());
                    for replica in replicas {
                        if asking.insert(replica.uid.clone()) {
                            let gate = if self.loads.answers(&replica.uid) { &gate } else { &failing };
                            answers.spawn(ask(self.http.clone(), Arc::clone(gate), replica, self.port));
                        }
                    }
                }
                Some(ended) = answers.join_next() => match ended {
                    Ok((replica, answer)) => {
                        asking.remove(&replica.uid);
                        self.take(replica, answer);
                    }
                    // Whose question it was is not known, so all may be asked again.
                    Err(_) => asking.clear(),
                },
            }
        }
    }

    fn take(&self, replica: Replica, answer: Result<Sample, ScrapeError>) {
        match answer {
            Ok(sample) => {
                self.metrics.scraped("answered");
                self.loads.put(replica.uid, sample, Instant::now());
            }
            Err(error) => {
                self.metrics.scraped(error.outcome());
                self.loads.miss(replica.uid, error.trouble());
                tracing::debug!(pod = %replica.name, namespace = %replica.namespace, %error, "a replica did not tell its load");
            }
        }
    }

    /// Names the pools whose load is another than when they were last named.
    fn tell(&self, told: &mut HashMap<PoolKey, (Option<i64>, Instant)>, now: Instant) {
        let pools = self.loads.all(now);
        let there: HashSet<&PoolKey> = pools.iter().map(|(key, _)| key).collect();
        told.retain(|key, _| there.contains(key));
        for (key, load) in pools {
            let load = load.ok().map(|load| load.in_flight());
            let due = told
                .get(&key)
                .is_none_or(|(last, at)| *last != load && now.saturating_duration_since(*at) >= TELL_EVERY);
            // A full queue means that reconciles are far behind; the next tick tells again.
            if due && self.changed.try_send(key.clone()).is_ok() {
                told.insert(key, (load, now));
            }
        }
    }
}

impl ScrapeError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Http(error) if error.is_timeout() => Trouble::TooSlow,
            Self::Http(_) => Trouble::Unreachable,
            Self::TooLarge | Self::Page(_) => Trouble::Unreadable,
        }
    }

    fn outcome(&self) -> &'static str {
        match self.trouble() {
            Trouble::TooSlow => "timeout",
            Trouble::Unreachable => "unreachable",
            Trouble::Unreadable => "unreadable",
        }
    }
}

async fn ask(
    http: reqwest::Client,
    gate: Arc<Semaphore>,
    replica: Replica,
    port: u16,
) -> (Replica, Result<Sample, ScrapeError>) {
    let _turn = gate.acquire_owned().await;
    let sample = page(&http, &replica.ip, port).await.and_then(|page| Ok(load::parse(&page)?));
    (replica, sample)
}

async fn page(http: &reqwest::Client, ip: &str, port: u16) -> Result<String, ScrapeError> {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    read(http.get(format!("http://{host}:{port}/metrics"))).await
}

async fn read(request: reqwest::RequestBuilder) -> Result<String, ScrapeError> {
    let mut answer = request.send().await?.error_for_status()?;
    let mut page = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if page.len() + chunk.len() > LARGEST_PAGE {
            return Err(ScrapeError::TooLarge);
        }
        page.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests;
