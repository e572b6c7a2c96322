//! Why the simulator cannot serve.

use std::io;

use crate::faults::FaultError;

/// Why the simulator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The metrics could not be set up.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A fault was not understood.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The listener failed.
    #[error("accepting connections")]
    Accept(#[from] io::Error),
}
