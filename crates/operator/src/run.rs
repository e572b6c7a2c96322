//! Puts the parts together: the election, watches, controllers, the scraper, the two servers, and their end.
//!
//! Every operator watches, asks the replicas and serves the metrics API. Only the one that leads reconciles and writes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::ENGINE_PORT;
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{self, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use operator_core::FIELD_MANAGER;
use operator_core::lead::Election;
use operator_core::metrics_api::MetricsApi;
use operator_core::pool::Site;
use prometheus::Registry;
use telemetry::admin::Readiness;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::backoff::Backoff;
use crate::cluster::Ways;
use crate::context::Context;
use crate::guarded::{GuardedPool, pool_reference};
use crate::health::Pulse;
use crate::lead::Elector;
use crate::lead::fence::{self, Fence};
use crate::metrics::{Metrics, POOL, ROUTE};
use crate::metrics_api::keep::Keeper;
use crate::metrics_api::{self, Identity, Pages};
use crate::overlay::Overlay;
use crate::pool_figures::PoolFigures;
use crate::queue::Queue;
use crate::scrape::figures::LoadFigures;
use crate::scrape::{self, Loads, PoolKey, Scraper};
use crate::start_error::StartError;
use crate::tasks::Tasks;
use crate::watch::{Scope, Stores, pool_of};
use crate::{pool, relations, route};

/// Reconciles of one kind at the same time. Each waits for the API server most of its time.
const CONCURRENCY: u16 = 16;
/// Pools whose load has changed and that wait to be looked at.
const CHANGED: usize = 1024;
/// How long reconciles and requests under way may take when the process is to end.
const FAREWELL: Duration = Duration::from_secs(8);

/// What the parts of the process have in common.
struct Process {
    args: Args,
    ways: Ways,
    /// Becomes true when this process is the one that writes.
    leading: channel::Receiver<bool>,
    registry: Registry,
    metrics: Metrics,
    loads: Arc<Loads>,
    /// Who serves the metrics API.
    standing: channel::Sender<MetricsApi>,
    tasks: Tasks,
}

/// Runs until a signal asks it to stop.
pub(crate) async fn run(args: Args) -> Result<(), StartError> {
    // The one cryptography provider of the process. A second call would find it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = telemetry::shutdown::on_signal().map_err(StartError::Signals)?;
    let (registry, ready, pulse) = (Registry::new(), Readiness::default(), Pulse::default());
    let metrics = Metrics::new(&registry)?;
    let admin = listen(args.admin_listen).await?;

    let examined = pulse.clone();
    let examine = Arc::new(move || examined.stuck(Instant::now()));
    let pages = telemetry::admin::serve_examined(admin, registry.clone(), ready.clone(), examine, stop.clone());
    // Not waited for at the end: a scraper may keep its connection open for ever.
    tokio::spawn(async move {
        if let Err(error) = pages.await {
            tracing::error!(%error, "the admin pages are gone");
        }
    });
    let (lead, leading) = channel::channel(false);
    let (ways, elected) = take_part(&args, lead, &metrics, &pulse).await?;
    let tasks = Tasks::new(stop.clone());
    let standing = if args.metrics_api_listen.is_some() { MetricsApi::Unknown } else { MetricsApi::Off };
    let (standing, _) = channel::channel(standing);
    let process = Process { args, ways, leading, registry, metrics, loads: Arc::default(), standing, tasks };
    LoadFigures::register(Arc::clone(&process.loads), &process.registry)?;
    let (known, stores) = process.start_controllers()?;
    let identity = process.serve_metrics_api(stores).await?;
    let Process { args, tasks, .. } = process;
    tasks.spawn("the wait for the first lists", become_ready(known, identity, ready.clone(), stop.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = args.namespace, "started");

    stop.cancelled().await;
    ready.set(false);
    let ended = tasks.end(FAREWELL).await;
    if let Some(elected) = elected {
        elected.give_up().await;
    }
    tracing::info!("stopped");
    ended
}

/// This process's part in the election.
struct Elected {
    done: CancellationToken,
    task: JoinHandle<()>,
}

impl Elected {
    /// Steps down. By now nothing is written any more.
    async fn give_up(self) {
        self.done.cancel();
        if tokio::time::timeout(FAREWELL, self.task).await.is_err() {
            tracing::warn!("could not step down in time");
        }
    }
}

/// Opens the ways to the cluster, and begins to take part in the election if there is one. Without one, this process leads
/// from the start.
async fn take_part(
    args: &Args,
    lead: channel::Sender<bool>,
    metrics: &Metrics,
    pulse: &Pulse,
) -> Result<(Ways, Option<Elected>), StartError> {
    let me = format!("{}_{:08x}", args.identity, rand::random::<u32>());
    let Some(namespace) = &args.lease_namespace else {
        let ways = Ways::open(&me, &Fence::open(), metrics, pulse).await?;
        tracing::info!("there is no election: this operator takes itself to be the only one");
        metrics.leads();
        lead.send_replace(true);
        return Ok((ways, None));
    };
    let (fence, terms) = (Fence::closed(), args.terms()?);
    let ways = Ways::open(&me, &fence, metrics, pulse).await?;
    fence::guard(Arc::clone(&fence)).map_err(StartError::Thread)?;
    tracing::info!(me, namespace, lease = args.lease_name, "taking part in the election");
    let elector = Elector {
        leases: Api::namespaced(ways.leases.clone(), namespace),
        election: Election::new(me, namespace, &args.lease_name, terms),
        name: args.lease_name.clone(),
        terms,
        fence,
        leading: lead,
        metrics: metrics.clone(),
        pulse: pulse.clone(),
    };
    let done = CancellationToken::new();
    let task = tokio::spawn(elector.run(done.clone()));
    Ok((ways, Some(Elected { done, task })))
}

async fn listen(at: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(at).await.map_err(|source| StartError::Listen { at, source })
}

/// The time in whole seconds, as Kubernetes writes it.
fn clock() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Ready means that the world is known, and that the metrics API, if served, can be asked. It does not mean to lead: who
/// only waits to lead answers for the load of pools, too.
async fn become_ready(
    mut known: channel::Receiver<bool>,
    identity: Option<channel::Receiver<Option<Identity>>>,
    ready: Readiness,
    stop: CancellationToken,
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
    stop.cancelled().await;
}

impl Process {
    /// Starts the server of the metrics API and what keeps its certificates, if it is wanted.
    async fn serve_metrics_api(
        &self,
        stores: Stores,
    ) -> Result<Option<channel::Receiver<Option<Identity>>>, StartError> {
        let Some(at) = self.args.metrics_api_listen else { return Ok(None) };
        let listener = listen(at).await?;
        let (sender, identity) = channel::channel(None);
        let (loads, metrics) = (Arc::clone(&self.loads), self.metrics.clone());
        let pages = Arc::new(Pages { loads, pods: stores.pods, pools: stores.pools, metrics, clock });
        let keeper = Keeper {
            reader: self.ways.reader.clone(),
            writer: self.ways.writer.clone(),
            leading: self.leading.clone(),
            clock,
            namespace: self.args.service_namespace.clone(),
            service: self.args.service_name.clone(),
            secret: self.args.tls_secret_name.clone(),
            identity: sender,
            standing: self.standing.clone(),
        };
        let stop = self.tasks.stop();
        self.tasks.spawn("the metrics API", metrics_api::serve(listener, identity.clone(), pages, stop.clone()));
        self.tasks.spawn("the keeper of the metrics API's certificate", keeper.run(stop));
        Ok(Some(identity))
    }

    /// Starts the watches, the two controllers and the scraper. The flag that it returns becomes true when the world is
    /// known, which the stores hold.
    fn start_controllers(&self) -> Result<(channel::Receiver<bool>, Stores), StartError> {
        let scope = Scope { client: self.ways.reader.clone(), namespace: self.args.namespace.clone() };
        let (stores, changes) = Stores::watched(&scope);
        PoolFigures::register(stores.pools.clone(), &self.registry)?;
        let (changed, load_changes) = mpsc::channel(CHANGED);
        self.start_scraper(&stores, changed.clone())?;

        let (synced, known) = channel::channel(false);
        let (all_stores, stop) = (stores.clone(), self.tasks.stop());
        self.tasks.spawn_until_stop("the wait for the first lists", async move {
            synced.send_replace(all_stores.synced().await);
            stop.cancelled().await;
        });
        let ctx = Arc::new(self.context(stores.clone(), known.clone()));
        let config = controller::Config::default().concurrency(CONCURRENCY);
        // Each kind's watch also tells the other kind's controller, and that of policies its own of others with the same
        // names. Both drain what they are told whatever their own watch does, so none waits for ever.
        let (poked, policy_pokes) = mpsc::channel(CHANGED);
        let (pools, policies) = (ctx.stores.pools.clone(), ctx.stores.policies.clone());
        let (known_pools, known_policies) = (pools.clone(), policies.clone());
        let rivals_poked = poked.clone();
        let pool_changes = changes.pools.then(move |pool| {
            let refers = pool.as_ref().ok().map(|pool| relations::of_pool(&known_policies, pool));
            tell(poked.clone(), refers.unwrap_or_default(), pool)
        });
        let policy_changes = changes.policies.then(move |policy| {
            let refers = policy.as_ref().ok().map(|policy| relations::pools_of(policy, &known_pools));
            tell(changed.clone(), refers.unwrap_or_default(), policy)
        });
        let all_policies = policies.clone();
        let policy_changes = policy_changes.then(move |policy| {
            let rivals = policy.as_ref().ok().map(|policy| relations::rivals(&all_policies, policy));
            tell(rivals_poked.clone(), rivals.unwrap_or_default(), policy)
        });

        let queue = Queue::new(POOL, self.metrics.clone(), self.leading.clone());
        let turns = queue.clone();
        let of_pools = Controller::for_stream(queue.of_objects(pool_changes), pools.clone())
            .with_config(config.clone())
            .owns_stream(queue.of_owned(changes.service_accounts))
            .owns_stream(queue.of_owned(changes.network_policies))
            .owns_stream(queue.of_owned(changes.services))
            .owns_stream(queue.of_owned(changes.deployments))
            .owns_stream(queue.of_owned(changes.disruption_budgets))
            .owns_stream(queue.of_owned(changes.autoscalers))
            .watches_stream(queue.of_others(changes.pods), |pod| {
                pool_of(&pod).map(|(namespace, name)| pool_reference(namespace, name))
            })
            .reconcile_on(queue.of_others(references(load_changes)))
            .reconcile_all_on(queue.all_at_first(pools))
            .reconcile_all_on(queue.of_others(moves(self.standing.subscribe())))
            .graceful_shutdown_on(self.tasks.stop().cancelled_owned())
            .run(
                move |pool, ctx| {
                    let paused = ctx.paused(POOL, &*pool);
                    turns.turn(&*Arc::clone(&pool), paused, pool::reconcile(pool, ctx))
                },
                pool::error_policy,
                Arc::clone(&ctx),
            );
        self.tasks.spawn("the controller of pools", queue.follow(of_pools));
        let queue = Queue::new(ROUTE, self.metrics.clone(), self.leading.clone());
        let (turns, known_policies) = (queue.clone(), policies.clone());
        let of_routes = Controller::for_stream(queue.of_objects(policy_changes), policies.clone())
            .with_config(config)
            .reconcile_on(queue.of_others(received(policy_pokes)))
            .watches_stream(queue.of_others(changes.namespaces), move |namespace| {
                relations::from_namespace(&known_policies, &namespace.name_any())
            })
            .reconcile_all_on(queue.all_at_first(policies))
            .graceful_shutdown_on(self.tasks.stop().cancelled_owned())
            .run(
                move |policy, ctx| {
                    let paused = ctx.paused(ROUTE, &*policy);
                    turns.turn(&*Arc::clone(&policy), paused, route::reconcile(policy, ctx))
                },
                route::error_policy,
                ctx,
            );
        self.tasks.spawn("the controller of policies", queue.follow(of_routes));
        Ok((known, stores))
    }

    /// Starts to ask the replicas for their load. `changed` hears of pools whose load has changed.
    fn start_scraper(&self, stores: &Stores, changed: mpsc::Sender<PoolKey>) -> Result<(), StartError> {
        let scraper = Scraper {
            pods: stores.pods.clone(),
            loads: Arc::clone(&self.loads),
            http: scrape::client()?,
            metrics: self.metrics.clone(),
            port: u16::try_from(ENGINE_PORT).unwrap_or_default(),
            changed,
        };
        self.tasks.spawn("the scraper", scraper.run(self.tasks.stop()));
        Ok(())
    }

    fn context(&self, stores: Stores, known: channel::Receiver<bool>) -> Context {
        let client = self.ways.writer.clone();
        Context {
            events: Recorder::new(client.clone(), Reporter { controller: FIELD_MANAGER.to_owned(), instance: None }),
            client,
            site: Site { namespace: self.args.service_namespace.clone(), scrapers: self.args.scrapers.clone() },
            started: Instant::now(),
            clock,
            stores,
            known,
            loads: Arc::clone(&self.loads),
            metrics_api: self.standing.subscribe(),
            metrics: self.metrics.clone(),
            backoff: Backoff::default(),
            written: Overlay::default(),
            reported: Overlay::default(),
            last_report: Mutex::default(),
        }
    }
}

/// Passes `change` on after `to` has been told of `news`.
async fn tell<T, C>(to: mpsc::Sender<T>, news: Vec<T>, change: C) -> C {
    for item in news {
        // Nobody listens any more when the process ends.
        let _ = to.send(item).await;
    }
    change
}

fn received<T: Send + 'static>(mut from: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::poll_fn(move |waker| from.poll_recv(waker))
}

fn references(changed: mpsc::Receiver<PoolKey>) -> impl Stream<Item = ObjectRef<GuardedPool>> + Send {
    received(changed).map(|(namespace, name)| pool_reference(&namespace, &name))
}

/// Tells that the value of the channel has changed.
fn moves<T: Send + Sync>(value: channel::Receiver<T>) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold(value, |mut value| async move { value.changed().await.ok().map(|()| ((), value)) })
}
