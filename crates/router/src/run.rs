//! The whole process: workers on threads of their own, and here, on one more, the watches and the admin pages.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use telemetry::admin::{self, Readiness};
use telemetry::log::{self, LogError};
use telemetry::shutdown;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::debug;
use crate::follow::{BadFolder, ClientError, Folder, Follow, client, follow, follow_folder};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundError};
use crate::peers::{Exchange, PAGE};
use crate::reviews::Reviews;
use crate::tls::{Tls, TlsError};
use crate::traces::Traces;
use crate::volume::Volumes;
use crate::workers::Workers;

/// How long the API server has to answer a router that starts, before that takes the routing table that it kept: longer than
/// an API server that works ever takes.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often providers' keys are read: a new one is to be in use within a minute.
const READ_KEYS_EVERY: Duration = Duration::from_secs(20);
/// How long the admin pages may take to end.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// How long the last traces may take to reach their collector.
const EXPORT_GRACE: Duration = Duration::from_secs(5);

/// Why the router could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be started.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A metric could not be made.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Certificate and key for clients cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates of providers' authorities cannot be used.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The API server cannot be reached even in principle.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The folder of objects cannot be used.
    #[error(transparent)]
    Folder(#[from] BadFolder),
    /// An address could not be bound, or a thread not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs the router until it is told to stop and has drained.
///
/// # Errors
///
/// When it cannot start; nothing that happens later ends it.
pub fn run(args: Args) -> Result<(), Error> {
    if let Some(path) = args.config.as_deref().filter(|_| args.check) {
        let verdict = Folder::open(path, args.namespace.as_deref(), &args.reach())?.check(&Metrics::new()?)?;
        eprintln!("{verdict}");
        return Ok(());
    }
    log::init(args.log_format, &args.log_level)?;
    // Only the first provider counts; that another was installed first would be as good.
    let _ = ring::default_provider().install_default();
    let runtime = Builder::new_current_thread().enable_all().build().map_err(doing("the runtime"))?;
    let ended = runtime.block_on(serve(args));
    log::flush();
    ended
}

async fn serve(args: Args) -> Result<(), Error> {
    let stop = shutdown::on_signal().map_err(doing("the signal handlers"))?;
    let metrics = Metrics::new()?;
    let live = Live::unknown().shared();
    metrics.observe(&live)?;
    let (ready, ended) = (Readiness::default(), CancellationToken::new());
    let admin_listener =
        TcpListener::bind(args.admin_listen).await.map_err(doing(format!("listening on {}", args.admin_listen)))?;
    let volumes = Volumes::default();
    let told = volumes.clone();
    let page: admin::Page = (PAGE, Arc::new(move || told.page()));
    let pages =
        tokio::spawn(admin::serve_with(admin_listener, metrics.registry.clone(), ready.clone(), page, ended.clone()));
    let exchange = Exchange { peers: args.peers.clone(), folder: args.cache_dir.clone(), volumes: volumes.clone() };
    if let Some(folder) = &args.cache_dir {
        volumes.restore(folder);
    }
    tokio::spawn(exchange.clone().run(metrics.clone()));
    let debug_listener =
        TcpListener::bind(args.debug_listen).await.map_err(doing(format!("listening on {}", args.debug_listen)))?;
    let debug_pages = tokio::spawn(admin::serve_debug(debug_listener, debug::pages(&live), ended.clone()));
    let mut settings = args.settings();
    settings.outbound = args.outbound()?;
    if let Some(file) = args.provider_ca_file.clone() {
        tokio::spawn(settings.outbound.clone().follow(file));
    }
    if let Some(files) = args.tls_files() {
        let tls = Tls::read(&files, args.http2)?;
        tokio::spawn(tls.clone().follow(files, metrics.clone()));
        settings.tls = Some(tls);
    }
    let exporting = args.otlp_endpoint.clone().map(|collector| {
        let (traces, export) = Traces::to(collector, args.otlp_percent, metrics.lost_spans.clone());
        settings.traces = Some(traces);
        tokio::spawn(export)
    });
    let source = match &args.config {
        Some(path) => Source::Folder(Box::new(Folder::open(path, args.namespace.as_deref(), &args.reach())?)),
        None => Source::Cluster(client().await?),
    };
    if let (Source::Cluster(client), false) = (&source, args.token_audience.is_empty()) {
        let (reviews, questions) = Reviews::new(&args.token_audience);
        settings.reviews = Some(reviews.clone());
        tokio::spawn(reviews.answer(client.clone(), questions));
    }
    let count = args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    let workers = Workers::start(args.listen, count, &settings, &live, &metrics, args.drain_timeout)
        .map_err(doing(format!("listening on {}", args.listen)))?;
    let outbound = settings.outbound.clone();
    drop(settings);
    tracing::info!(listen = %workers.address(), admin = %args.admin_listen, workers = count, "serving");

    let following = async {
        match source {
            Source::Folder(folder) => follow_folder(*folder, outbound, &volumes, &live, &metrics, &ready).await,
            Source::Cluster(client) => {
                follow(client, &how(&args, outbound, volumes.clone()), &live, &metrics, &ready).await;
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = drain(&args, workers, &stop, &ready) => {}
    }
    exchange.keep().await;
    ended.cancel();
    if let Some(exporting) = exporting {
        // The workers are gone, and with them the queue, once what is left in it has been sent.
        let _ = tokio::time::timeout(EXPORT_GRACE, exporting).await;
    }
    // Whoever still reads an admin page does not hold the process up.
    let _ = tokio::time::timeout(ADMIN_GRACE, async { (pages.await, debug_pages.await) }).await;
    Ok(())
}

/// Where the objects come from.
enum Source {
    Cluster(kube::Client),
    Folder(Box<Folder>),
}

fn how(args: &Args, outbound: Outbound, volumes: Volumes) -> Follow {
    Follow {
        namespace: args.namespace.clone(),
        cache_dir: args.cache_dir.clone(),
        cache_max_age: args.cache_max_age,
        outbound,
        patience: PATIENCE,
        read_keys_every: READ_KEYS_EVERY,
        volumes,
    }
}

/// Waits to be told to stop, and then for everyone to leave: those who send here first, then their requests.
async fn drain(args: &Args, workers: Workers, stop: &CancellationToken, ready: &Readiness) {
    stop.cancelled().await;
    workers.leave();
    ready.set(false);
    tokio::time::sleep(args.drain_delay).await;
    workers.close();
    if let Err(error) = tokio::task::spawn_blocking(move || workers.join()).await {
        tracing::error!(%error, "workers could not be waited for");
    }
    tracing::info!("drained");
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
