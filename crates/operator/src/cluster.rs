//! The ways to the API server: one for reading, one for writing, one for the Lease. None of them tries again by itself.
//!
//! Each counts and times its requests. The way for reading takes no write. The way for writing takes one only while this
//! process leads, and looks a second time when the bytes go out (see [`fenced`]): a request may have to wait for its
//! connection, and the process may be stopped meanwhile.

mod fenced;
mod passage;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::call;
use crate::health::Pulse;
use crate::lead::fence::Fence;
use crate::metrics::Metrics;
use crate::start_error::StartError;
use fenced::Fenced;
use passage::{Access, Passage};

/// A connection to the API server on which nothing comes for this long is dead: watches last 25 s.
const SILENCE: Duration = Duration::from_secs(30);

/// The ways.
#[derive(Clone)]
pub(crate) struct Ways {
    /// For whoever only reads, leading or not.
    pub(crate) reader: Client,
    /// For the leader.
    pub(crate) writer: Client,
    /// For the election.
    pub(crate) leases: Client,
}

impl Ways {
    /// Finds the cluster, and makes the ways to it. `me` is how requests are signed in the API server's audit log.
    pub(crate) async fn open(
        me: &str,
        fence: &Arc<Fence>,
        metrics: &Metrics,
        pulse: &Pulse,
    ) -> Result<Self, StartError> {
        let mut config = Config::infer().await?;
        // Calls are tried again by their reconcile, which knows whether they still make sense.
        config.default_retry = false;
        config.read_timeout = Some(SILENCE);
        let agent = format!("quartermaster-operator/{} ({me})", env!("CARGO_PKG_VERSION"));
        config.headers.extend(HeaderValue::from_str(&agent).ok().map(|agent| (USER_AGENT, agent)));
        let passage = |access| Passage { access, metrics: metrics.clone(), pulse: pulse.clone() };
        let plain = |access| -> kube::Result<Client> {
            Ok(ClientBuilder::try_from(config.clone())?.with_layer(&passage(access)).build())
        };
        Ok(Self {
            reader: plain(Access::Read)?,
            writer: writer(&config, fence, &passage(Access::While(Arc::clone(fence))))?,
            leases: plain(Access::Any)?,
        })
    }
}

/// The way for writing. It is put together here, and not by the library, for the sake of its connections.
fn writer(config: &Config, fence: &Arc<Fence>, passage: &Passage) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // What the system has taken from us and cannot deliver is not to arrive when another has taken over, also when this
    // process has ended by then.
    tcp.set_tcp_user_timeout(Some(call::DEADLINE));
    let https = config.rustls_https_connector_with_connector(Fenced::new(tcp, Arc::clone(fence)))?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).with_layer(passage).build())
}
