//! Why the process ends with an error.

use std::net::SocketAddr;

use operator_core::lead::BadTerms;

/// Why the operator could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("no way to the cluster is configured: {0}")]
    Cluster(#[from] kube::config::InferConfigError),
    #[error("the cluster's API cannot be used: {0}")]
    Client(#[from] kube::Error),
    #[error("the settings of the election do not fit together: {0}")]
    Terms(#[from] BadTerms),
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("replicas cannot be asked: {0}")]
    Http(#[from] reqwest::Error),
    #[error("cannot listen on {at}: {source}")]
    Listen { at: SocketAddr, source: std::io::Error },
    #[error("{0} has ended, which it never should")]
    Ended(&'static str),
}
