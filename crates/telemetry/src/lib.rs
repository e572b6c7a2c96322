//! What every binary needs to be run by others: logs, a metrics registry with its pages, readiness, and an orderly stop.
//!
//! It knows nothing about pools or routes, and never reads a request body. Start with [`admin::serve`].

pub mod admin;
pub mod log;
pub mod shutdown;
