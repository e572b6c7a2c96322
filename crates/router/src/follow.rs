//! Keeps the routing table in step with the cluster.
//!
//! Watches feed one collection of what exists; a change in it makes a new table, which takes the place of the old
//! one as a whole. When the API server is away the last table stays in use. This runs apart from the workers, so that a
//! storm of changes costs requests nothing.

mod read;
mod world;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{InferencePool, POOL_LABEL, RoutePolicy};
use futures::stream::{BoxStream, StreamExt, select_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, Resource};
use telemetry::admin::Readiness;
use tokio::time::Instant;

use self::world::{Kept, World};
use crate::clock;
use crate::live::{Live, Shared};
use crate::metrics::Metrics;

/// How long further changes are waited for before a table is built, because changes come in bursts: a replica that turns
/// ready is a change of its pool and of its slice.
const SETTLE: Duration = Duration::from_millis(5);
/// How long one watch call lasts at most, in seconds. A connection that died without a word is noticed 5 seconds later.
const WATCH_SECONDS: u32 = 30;
/// How long the API server may take for anything: longer than a watch may rest, since a resting watch is healthy.
const API_SILENCE: Duration = Duration::from_secs(40);
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

/// Follows the objects of `namespace`, or of all, for as long as it is polled. `ready` is set once all were read.
pub async fn follow(client: Client, namespace: Option<&str>, live: &Shared, metrics: &Metrics, ready: &Readiness) {
    let mut changes = changes(&client, namespace);
    let mut world = World { namespaces: namespace.is_none().then(Kept::default), ..World::default() };
    let (mut due, mut said) = (None, false);
    loop {
        let settled = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.next() => {
                // Watches go on for ever; that they do not would be a fault of the library, and serving on is right then.
                let Some(change) = change else { return std::future::pending().await };
                if take(&mut world, change, metrics) && world.synced() {
                    due.get_or_insert_with(|| Instant::now() + SETTLE);
                }
            }
            () = settled => {
                due = None;
                put_to_use(&world, live, metrics);
                // Said once: a router that drains has taken it back for good.
                if !std::mem::replace(&mut said, true) {
                    ready.set(true);
                }
            }
        }
    }
}

/// Takes one event in; whether it changed anything.
fn take(world: &mut World, change: Change, metrics: &Metrics) -> bool {
    let (kind, changed, broken) = match change {
        Change::Policy(event) => ("RoutePolicy", world.policies.take(*event, read::policy), world.policies.broken()),
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
    metrics.broken_objects.with_label_values(&[kind]).set(i64::try_from(broken).unwrap_or(i64::MAX));
    changed
}

fn put_to_use(world: &World, live: &Shared, metrics: &Metrics) {
    let table = world.table(&live.load().table, clock::now());
    tracing::info!(policies = table.policies().len(), pools = table.pools().len(), "new routing table");
    live.store(Arc::new(Live::new(table, metrics)));
    metrics.table_changes.inc();
    metrics.table_changed.set(seconds_since_1970());
}

#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock enters; the figure is for people only")]
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
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
