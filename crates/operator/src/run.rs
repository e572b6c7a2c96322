//! Puts the parts together: watches, controllers, the scraper, the two servers, and their end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::ENGINE_PORT;
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{self, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::runtime::watcher;
use kube::{Client, Config};
use operator_core::FIELD_MANAGER;
use prometheus::Registry;
use telemetry::admin::Readiness;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::Args;
use crate::backoff::Backoff;
use crate::context::Context;
use crate::metrics::Metrics;
use crate::metrics_api::keep::Keeper;
use crate::metrics_api::{self, Identity, Pages};
use crate::overlay::Overlay;
use crate::pool_figures::PoolFigures;
use crate::scrape::{self, Loads, PoolKey, Scraper};
use crate::watch::{Scope, Stores, all, of_pools, prune_pod, reflect};
use crate::{pool, route};

/// Reconciles of one kind at the same time. Each waits for the API server most of its time.
const CONCURRENCY: u16 = 16;
/// Pools whose load has changed and that wait to be looked at.
const CHANGED: usize = 1024;
/// A connection to the API server on which nothing comes for this long is dead: watches last 25 s.
const SILENCE: Duration = Duration::from_secs(30);
/// How long reconciles and requests under way may take when the process is to end.
const FAREWELL: Duration = Duration::from_secs(8);

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    #[error("no way to the cluster is configured: {0}")]
    Cluster(#[from] kube::config::InferConfigError),
    #[error("the cluster's API cannot be used: {0}")]
    Client(#[from] kube::Error),
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("replicas cannot be asked: {0}")]
    Http(#[from] reqwest::Error),
    #[error("cannot listen on {at}: {source}")]
    Listen { at: SocketAddr, source: std::io::Error },
}

/// Runs until a signal asks it to stop.
pub(crate) async fn run(args: Args) -> Result<(), StartError> {
    // The one cryptography provider of the process. A second call would find it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = telemetry::shutdown::on_signal().map_err(StartError::Signals)?;
    let (registry, ready) = (Registry::new(), Readiness::default());
    let metrics = Metrics::new(&registry)?;
    let admin = listen(args.admin_listen).await?;
    let client = client().await?;
    let tasks = TaskTracker::new();

    let pages = telemetry::admin::serve(admin, registry.clone(), ready.clone(), stop.clone());
    // Not waited for at the end: a scraper may keep its connection open for ever.
    tokio::spawn(async move {
        if let Err(error) = pages.await {
            tracing::error!(%error, "the admin pages are gone");
        }
    });
    let loads = Arc::new(Loads::default());
    let identity = serve_metrics_api(&args, &client, &loads, &metrics, &tasks, &stop).await?;
    let known = start_controllers(&args, client, loads, metrics, &registry, &tasks, &stop)?;
    tasks.spawn(stop.clone().run_until_cancelled_owned(become_ready(known, identity, ready.clone())));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = args.namespace, "started");

    stop.cancelled().await;
    ready.set(false);
    tasks.close();
    if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
        tracing::warn!("work under way is cut off");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn listen(at: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(at).await.map_err(|source| StartError::Listen { at, source })
}

async fn client() -> Result<Client, StartError> {
    let mut config = Config::infer().await?;
    // Calls are tried again by their reconcile, which knows whether they still make sense.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    Ok(Client::try_from(config)?)
}

/// The time in whole seconds, as Kubernetes writes it.
fn clock() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Ready means that the world is known, and that the metrics API, if served, can be asked.
async fn become_ready(
    mut known: channel::Receiver<bool>,
    identity: Option<channel::Receiver<Option<Identity>>>,
    ready: Readiness,
) {
    if let Some(mut identity) = identity
        && identity.wait_for(Option::is_some).await.is_err()
    {
        return;
    }
    if known.wait_for(|known| *known).await.is_ok() {
        ready.set(true);
        tracing::info!("ready");
    }
}

/// Starts the server of the metrics API and what keeps its certificates, if it is wanted.
async fn serve_metrics_api(
    args: &Args,
    client: &Client,
    loads: &Arc<Loads>,
    metrics: &Metrics,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<channel::Receiver<Option<Identity>>>, StartError> {
    let Some(at) = args.metrics_api_listen else { return Ok(None) };
    let listener = listen(at).await?;
    let (sender, identity) = channel::channel(None);
    let pages = Arc::new(Pages { loads: Arc::clone(loads), metrics: metrics.clone(), clock });
    let keeper = Keeper {
        client: client.clone(),
        clock,
        namespace: args.service_namespace.clone(),
        service: args.service_name.clone(),
        secret: args.tls_secret_name.clone(),
        identity: sender,
    };
    tasks.spawn(metrics_api::serve(listener, identity.clone(), pages, stop.clone()));
    tasks.spawn(keeper.run(stop.clone()));
    Ok(Some(identity))
}

/// Starts the watches, the two controllers and the scraper. What it returns becomes true when the world is known.
fn start_controllers(
    args: &Args,
    client: Client,
    loads: Arc<Loads>,
    metrics: Metrics,
    registry: &Registry,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<channel::Receiver<bool>, StartError> {
    let scope = Scope { client: client.clone(), namespace: args.namespace.clone() };
    let (services, service_changes) = reflect(scope.api(), of_pools(), |_| {});
    let (deployments, deployment_changes) = reflect(scope.api(), of_pools(), |_| {});
    let (autoscalers, autoscaler_changes) = reflect(scope.api(), of_pools(), |_| {});
    let (pods, pod_changes) = reflect(scope.api(), of_pools(), prune_pod);
    let (pools, pool_changes) = reflect(scope.api(), all(), |_| {});
    let (guarded_pools, guarded_pool_changes) = reflect::<pool::Guarded>(scope.api(), all(), |_| {});
    PoolFigures::register(guarded_pools.clone(), registry)?;
    let (policies, policy_changes) = reflect::<route::Guarded>(scope.api(), all(), |_| {});
    let stores = Stores { services, deployments, autoscalers, pods, pools };
    let (changed, load_changes) = mpsc::channel(CHANGED);
    let scraper = Scraper {
        pods: stores.pods.clone(),
        loads: Arc::clone(&loads),
        http: scrape::client()?,
        metrics: metrics.clone(),
        port: u16::try_from(ENGINE_PORT).unwrap_or_default(),
        changed,
    };
    tasks.spawn(scraper.run(stop.clone()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(pod_changes.for_each(|_| std::future::ready(()))));

    let (synced, known) = channel::channel(false);
    let all_stores = stores.clone();
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
        synced.send_replace(all_stores.synced().await);
    }));
    let ctx = Arc::new(Context {
        events: Recorder::new(client.clone(), Reporter { controller: FIELD_MANAGER.to_owned(), instance: None }),
        client,
        started: Instant::now(),
        clock,
        stores,
        known: known.clone(),
        loads,
        metrics,
        backoff: Backoff::default(),
        written: Overlay::default(),
        reported: Overlay::default(),
        last_report: Mutex::default(),
    });
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let of_pools = Controller::for_stream(guarded_pool_changes, guarded_pools)
        .with_config(config.clone())
        .owns_stream(service_changes)
        .owns_stream(deployment_changes)
        .owns_stream(autoscaler_changes)
        .reconcile_on(references(load_changes))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(pool::reconcile, pool::error_policy, Arc::clone(&ctx));
    let of_routes = Controller::for_stream(policy_changes, policies.clone())
        .with_config(config)
        .watches_stream(pool_changes, move |pool| route::referring(&policies, &pool))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(route::reconcile, route::error_policy, ctx);
    tasks.spawn(follow(of_pools));
    tasks.spawn(follow(of_routes));
    Ok(known)
}

/// Drives a controller to its end. Failed reconciles have been logged, and watches do not fail.
async fn follow<K, E>(
    done: impl Stream<Item = Result<(ObjectRef<K>, controller::Action), controller::Error<E, watcher::Error>>>,
) where
    K: Lookup,
    E: std::error::Error + 'static,
{
    let mut done = std::pin::pin!(done);
    while let Some(result) = done.next().await {
        if let Err(controller::Error::RunnerError(error)) = result {
            tracing::error!(%error, "a controller is in trouble");
        }
    }
}

fn references(mut changed: mpsc::Receiver<PoolKey>) -> impl Stream<Item = ObjectRef<pool::Guarded>> + Send {
    futures::stream::poll_fn(move |waker| changed.poll_recv(waker))
        .map(|(namespace, name)| pool::reference(&namespace, &name))
}
