//! The settings of the process.

use std::net::SocketAddr;

use clap::Parser;
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

    /// Name of the Secret that keeps the certificate of the metrics API.
    #[arg(long, env = "TLS_SECRET_NAME", default_value = "quartermaster-operator-tls")]
    pub(crate) tls_secret_name: String,

    /// How log lines look: json or text.
    #[arg(long, env = "LOG_FORMAT", default_value = "json")]
    pub(crate) log_format: LogFormat,

    /// What is logged: a level such as info, or a list such as operator=debug,info. The default leaves out what the Kubernetes
    /// client says, because the operator says the same with more words.
    #[arg(long, env = "LOG_LEVEL", default_value = "info,kube_client=off,kube_runtime=off")]
    pub(crate) log_level: String,
}
