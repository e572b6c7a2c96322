//! The settings of the process.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use operator_core::lead::{BadTerms, Terms};
use telemetry::log::LogFormat;

/// Runs model servers for InferencePools, and answers for their load.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Look after this namespace only. Left out: all namespaces.
    #[arg(long, env = "WATCH_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Address of the pages /healthz, /readyz and /metrics.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "0.0.0.0:9090")]
    pub(crate) admin_listen: SocketAddr,

    /// Address of the metrics API that the autoscaler reads (custom.metrics.k8s.io). Left out: it is not served, and pools do
    /// not scale by load unless another server has their metric.
    #[arg(long, env = "METRICS_API_LISTEN")]
    pub(crate) metrics_api_listen: Option<SocketAddr>,

    /// Name of the Service by which the API server reaches the metrics API.
    #[arg(long, env = "SERVICE_NAME", default_value = "quartermaster-operator")]
    pub(crate) service_name: String,

    /// Namespace of that Service, and of the Secret with its certificate.
    #[arg(long, env = "POD_NAMESPACE", default_value = "quartermaster")]
    pub(crate) service_namespace: String,

    /// Namespaces whose pods may read the engines' metrics besides the operator, for example that of a Prometheus; separated
    /// by commas. The network policies of all pools admit them.
    #[arg(long, env = "SCRAPER_NAMESPACES", value_delimiter = ',')]
    pub(crate) scrapers: Vec<String>,

    /// Name of the Secret that keeps the certificate of the metrics API.
    #[arg(long, env = "TLS_SECRET_NAME", default_value = "quartermaster-operator-tls")]
    pub(crate) tls_secret_name: String,

    /// Namespace of the Lease that operators elect their leader by. Left out: this operator takes itself to be the only one,
    /// and writes at once.
    #[arg(long, env = "POD_NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,

    /// Name of that Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "quartermaster-operator")]
    pub(crate) lease_name: String,

    /// What this operator is called in the Lease. Something random is added.
    #[arg(long, env = "POD_NAME", default_value = "operator")]
    pub(crate) identity: String,

    /// How long the others wait for a sign of life of the leader before one of them takes over: whole seconds, 2s to 60s.
    #[arg(long, env = "LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub(crate) lease_duration: Duration,

    /// How long the leader goes on without a successful renewal of the Lease before its process ends. Leave at least 5s to
    /// the lease duration, the longest that a write under way can take.
    #[arg(long, env = "LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub(crate) lease_renew_deadline: Duration,

    /// Pause between two renewals, and between two looks of those who wait.
    #[arg(long, env = "LEASE_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub(crate) lease_retry_period: Duration,

    /// How log lines look: json or text.
    #[arg(long, env = "LOG_FORMAT", default_value = "json")]
    pub(crate) log_format: LogFormat,

    /// What is logged: a level such as info, or a list such as operator=debug,info. The default leaves out what the Kubernetes
    /// client says, because the operator says the same with more words.
    #[arg(long, env = "LOG_LEVEL", default_value = "info,kube_client=off,kube_runtime=off")]
    pub(crate) log_level: String,
}

impl Args {
    /// The lengths of time of the election.
    pub(crate) fn terms(&self) -> Result<Terms, BadTerms> {
        Terms::new(self.lease_duration, self.lease_renew_deadline, self.lease_retry_period)
    }
}

fn duration(text: &str) -> Result<Duration, api::BadDuration> {
    let read: api::Duration = text.parse()?;
    Ok(Duration::from_secs(u64::try_from(read.seconds()).unwrap_or_default()))
}
