//! Keeps the routing table in step with the cluster.
//!
//! Watches feed one collection of what exists; a change in it makes a new table, which takes the place of the old
//! one as a whole. When the API server is away the last table stays in use; a router that starts then takes the one that was
//! kept on its volume. This runs apart from the workers, so that a
//! storm of changes costs requests nothing.

mod cache;
mod callers;
mod folder;
mod read;
mod secrets;
mod world;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{InferencePool, POOL_LABEL, RoutePolicy};
use futures::stream::{BoxStream, StreamExt, select_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, Resource};
use router_core::{Keys, SecretKey, Source};
use telemetry::admin::Readiness;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use self::folder::{BadFolder, Folder, follow_folder};

use self::cache::{Cache, Found};
use self::world::{Kept, World};
use crate::clock;
use crate::issuers::{self, Issuers};
use crate::live::{Live, Shared};
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::secrets::Secrets;
use crate::volume::Volumes;

/// How long further changes are waited for before a table is built, because changes come in bursts: a replica that turns
/// ready is a change of its pool and of its slice.
const SETTLE: Duration = Duration::from_millis(5);
/// How long one watch call lasts at most, in seconds. A connection that died without a word is noticed 5 seconds later.
const WATCH_SECONDS: u32 = 30;
/// How long the API server may take for anything: longer than a watch may rest, since a resting watch is healthy.
const API_SILENCE: Duration = Duration::from_secs(40);
/// How long no watch may have failed for what is known to count as confirmed: twice what it takes to notice.
const QUIET: Duration = Duration::from_secs(80);
const API_CONNECT: Duration = Duration::from_secs(5);

/// One event of one of the watches.
enum Change {
    Policy(Box<Event<DeserializeGuard<RoutePolicy>>>),
    Pool(Box<Event<DeserializeGuard<InferencePool>>>),
    Slice(Box<Event<DeserializeGuard<EndpointSlice>>>),
    Namespace(Box<Event<DeserializeGuard<PartialObjectMeta<Namespace>>>>),
    /// A watch of this kind failed and will be tried again, later each time.
    Failed(&'static str, watcher::Error),
}

/// A client for the API server that never waits without end.
///
/// # Errors
///
/// When there is neither a readable KUBECONFIG nor a service account, or its certificates cannot be used.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(API_CONNECT);
    config.read_timeout = Some(API_SILENCE);
    config.write_timeout = Some(API_SILENCE);
    config.reset_reader_on_write = true;
    // The watches have a growing pause of their own between tries.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Why there is no client for the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account.
    #[error("no way to the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// What was configured cannot be used.
    #[error("the API server cannot be spoken to: {0}")]
    Client(#[from] kube::Error),
}

/// What is followed, and what is done while nothing can be.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Follow this namespace only.
    pub namespace: Option<String>,
    /// Folder that the last known state is kept in, for the next start.
    pub cache_dir: Option<PathBuf>,
    /// How long the state in that folder may have been there to be used.
    pub cache_max_age: Duration,
    /// How long the API server has to answer before the state in that folder is used.
    pub patience: Duration,
    /// How the issuers of callers' tokens are reached.
    pub outbound: Outbound,
    /// How often each provider's key is read. A new one is in use after this and the time that reading takes.
    pub read_keys_every: Duration,
    /// Where policies' requests are counted.
    pub volumes: Volumes,
}

/// Follows the cluster's objects for as long as it is polled. `ready` is set once all were read, or a state that was kept
/// from before is used in their place.
pub async fn follow(client: Client, how: &Follow, live: &Shared, metrics: &Metrics, ready: &Readiness) {
    let namespace = how.namespace.as_deref();
    let changes = changes(&client, namespace);
    let (wanted, wants) = watch::channel(BTreeSet::new());
    let (read, secrets) = watch::channel(Arc::new(Secrets::default()));
    let reading = secrets::keep(client.clone(), how.read_keys_every, wants, read);
    let (gated, gates) = watch::channel(BTreeSet::new());
    let (read, callers) = watch::channel(Arc::new(Keys::default()));
    let reading_callers = callers::keep(client, gates, read);
    let (named, issuers_named) = watch::channel(BTreeSet::new());
    let (again, asked_again) = mpsc::channel(issuers::QUEUE);
    let (read, issuers) = watch::channel(Arc::new(Issuers::asking(again)));
    let reading_issuers = issuers::keep(how.outbound.clone(), issuers_named, asked_again, read);
    let mut world = World { namespaces: namespace.is_none().then(Kept::default), ..World::default() };
    let cache = how.cache_dir.as_deref().map(|folder| Cache::within(folder, namespace, how.cache_max_age));
    let mut stand_in = None;
    match cache.as_ref().map(|cache| cache.load(clock::since_1970().as_secs())) {
        Some(Ok(Some(Found { world: kept, written }))) => {
            let age_seconds = clock::since_1970().as_secs().saturating_sub(written);
            tracing::info!(age_seconds, "a routing table was kept from before");
            metrics.table_kept.set(i64::try_from(written).unwrap_or(i64::MAX));
            (world, stand_in) = (kept, Some(Instant::now() + how.patience));
        }
        Some(Err(error)) => tracing::warn!(%error, "the routing table that was kept cannot be used"),
        Some(Ok(None)) | None => {}
    }
    let (texts, newest) = watch::channel(Vec::new());
    let keeping = async {
        match &cache {
            Some(cache) => cache.keep(newest).await,
            None => std::future::pending().await,
        }
    };
    let follower = Follower {
        live,
        metrics,
        ready,
        cache: cache.as_ref(),
        texts,
        wanted,
        secrets,
        gated,
        callers,
        named,
        issuers,
        volumes: &how.volumes,
        world,
        mistakes: Arc::default(),
        said: false,
        failed: None,
    };
    tokio::select! {
        () = reading => {}
        () = reading_callers => {}
        () = reading_issuers => {}
        () = follower.run(changes, stand_in) => {}
        () = keeping => {}
    }
}

/// What is known, and who is told.
struct Follower<'a> {
    live: &'a Shared,
    metrics: &'a Metrics,
    ready: &'a Readiness,
    cache: Option<&'a Cache>,
    /// What the cache is to hold next.
    texts: watch::Sender<Vec<u8>>,
    /// The keys that policies name, and what is known of them.
    wanted: watch::Sender<BTreeSet<SecretKey>>,
    secrets: watch::Receiver<Arc<Secrets>>,
    /// The namespaces whose policies ask for callers' keys, and what is kept of these.
    gated: watch::Sender<BTreeSet<String>>,
    callers: watch::Receiver<Arc<Keys>>,
    /// The issuers whose tokens policies take, and their keys.
    named: watch::Sender<BTreeSet<Source>>,
    issuers: watch::Receiver<Arc<Issuers>>,
    volumes: &'a Volumes,
    world: World,
    /// What is wrong with the configuration, where it is read from files; in a cluster the objects' conditions tell.
    mistakes: Arc<[String]>,
    /// Readiness was told. Once: a router that drains has taken it back for good.
    said: bool,
    /// When a watch failed last.
    failed: Option<Instant>,
}

impl Follower<'_> {
    /// `stand_in` is when the state that was kept takes the place of what was not read by then.
    async fn run(mut self, mut changes: impl StreamExt<Item = Change> + Unpin, mut stand_in: Option<Instant>) {
        let (mut due, mut save, mut refresh, mut standing_in) = (None, None, None, false);
        loop {
            tokio::select! {
                change = changes.next() => {
                    // Watches go on for ever; that they do not would be a fault of the library, and serving on is right then.
                    let Some(change) = change else { return std::future::pending().await };
                    if matches!(change, Change::Failed(..)) {
                        self.failed = Some(Instant::now());
                    }
                    if take(&mut self.world, change, self.metrics) && (self.world.synced() || standing_in) {
                        due.get_or_insert_with(|| Instant::now() + SETTLE);
                    }
                }
                Ok(()) = self.secrets.changed() => {
                    due.get_or_insert_with(Instant::now);
                }
                Ok(()) = self.callers.changed() => {
                    due.get_or_insert_with(Instant::now);
                }
                Ok(()) = self.issuers.changed() => {
                    due.get_or_insert_with(Instant::now);
                }
                () = clock::at(due) => {
                    due = None;
                    if self.world.synced() {
                        (stand_in, standing_in) = (None, false);
                        save.get_or_insert_with(|| Instant::now() + cache::PAUSE);
                    }
                    self.put_to_use(standing_in);
                }
                () = clock::at(stand_in) => {
                    tracing::warn!("the API server does not answer, the routing table from before is used");
                    (stand_in, standing_in, due) = (None, true, Some(Instant::now()));
                }
                () = clock::at(save) => {
                    self.save();
                    (save, refresh) = (None, Some(Instant::now() + cache::REFRESH));
                }
                () = clock::at(refresh) => {
                    // A state that nobody has confirmed for a while keeps the age that it has.
                    if self.is_current() {
                        self.save();
                    }
                    refresh = Some(Instant::now() + cache::REFRESH);
                }
            }
        }
    }

    fn put_to_use(&mut self, standing_in: bool) {
        let named = self.world.secrets();
        let secrets = Arc::clone(&self.secrets.borrow_and_update());
        // Keys are looked for at once when they are named first. Readiness waits for that; serving others does not.
        let looked_for = named.iter().all(|key| secrets.0.contains_key(key));
        want(&self.wanted, named);
        let table = self.world.table(&self.live.load().table, &secrets, clock::now());
        tracing::info!(
            policies = table.policies().len(),
            pools = table.pools().len(),
            standing_in,
            "new routing table"
        );
        want(&self.gated, self.world.gated());
        want(&self.named, self.world.issuers());
        let callers = Arc::clone(&self.callers.borrow_and_update());
        let issuers = Arc::clone(&self.issuers.borrow_and_update());
        let live = Live::new(table, self.metrics).with(&secrets).with_callers(callers).with_issuers(issuers);
        self.live.store(Arc::new(live.counting(self.volumes).with_mistakes(&self.mistakes)));
        self.metrics.table_changes.inc();
        self.metrics.table_changed.set(clock::since_1970().as_secs() as f64);
        self.metrics.table_from_cache.set(i64::from(standing_in));
        self.ready.note(if standing_in {
            "from the routing table that was kept: the API server does not answer"
        } else {
            ""
        });
        if looked_for && !std::mem::replace(&mut self.said, true) {
            self.ready.set(true);
        }
    }

    /// Whether the state is that of the API server. A watch call ends after a while, and one that cannot follow it fails.
    fn is_current(&self) -> bool {
        self.failed.is_none_or(|failed| failed.elapsed() > QUIET)
    }

    fn save(&self) {
        let Some(cache) = self.cache else { return };
        let now = clock::since_1970().as_secs();
        match cache.text(&self.world, now) {
            Ok(text) => {
                self.texts.send_replace(text);
                self.metrics.table_kept.set(i64::try_from(now).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::warn!(%error, "routing table not kept for the next start"),
        }
    }
}

/// Tells whoever reads what is named that it is another, if it is.
fn want<T: PartialEq>(told: &watch::Sender<T>, named: T) {
    told.send_if_modified(|before| {
        let changed = *before != named;
        *before = named;
        changed
    });
}

/// Takes one event in; whether it changed anything.
fn take(world: &mut World, change: Change, metrics: &Metrics) -> bool {
    let (kind, changed, broken) = match change {
        Change::Policy(event) => {
            ("RoutePolicy", world.policies.take(read::usable(*event), read::policy), world.policies.broken())
        }
        Change::Pool(event) => ("InferencePool", world.pools.take(*event, read::pool), world.pools.broken()),
        Change::Slice(event) => ("EndpointSlice", world.slices.take(*event, read::slice), world.slices.broken()),
        Change::Namespace(event) => {
            let Some(namespaces) = &mut world.namespaces else { return false };
            ("Namespace", namespaces.take(*event, read::labels), namespaces.broken())
        }
        Change::Failed(kind, error) => {
            tracing::warn!(kind, %error, "watch failed, the last known state stays in use");
            metrics.watch_errors.with_label_values(&[kind]).inc();
            return false;
        }
    };
    metrics.broken(kind, broken);
    changed
}

/// The watches as one stream that does not end.
fn changes(client: &Client, namespace: Option<&str>) -> impl StreamExt<Item = Change> + Unpin + use<> {
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    let of_pools = all.clone().labels(POOL_LABEL);
    let mut watches = vec![
        watch("RoutePolicy", objects(client, namespace), all.clone(), Change::Policy),
        watch("InferencePool", objects(client, namespace), all.clone(), Change::Pool),
        watch("EndpointSlice", objects(client, namespace), of_pools, Change::Slice),
    ];
    if namespace.is_none() {
        watches.push(watch("Namespace", Api::all(client.clone()), all, Change::Namespace));
    }
    select_all(watches)
}

/// One watch. An object that cannot be read arrives as such, instead of stopping it.
fn watch<K>(
    kind: &'static str,
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    wrap: fn(Box<Event<DeserializeGuard<K>>>) -> Change,
) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
    DeserializeGuard<K>: serde::de::DeserializeOwned,
{
    let events = watcher(api, config).default_backoff();
    events
        .map(move |event| event.map_or_else(|error| Change::Failed(kind, error), |event| wrap(Box::new(event))))
        .boxed()
}

/// The objects of one namespace, or of all.
fn objects<K>(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

#[cfg(test)]
mod tests;
