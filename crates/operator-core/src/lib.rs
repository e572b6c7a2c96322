//! What the operator decides, as functions over data: whether a spec is sound, which objects a pool needs, which of them
//! must be written, what its status says, how loaded it is.
//!
//! Nothing in here talks to a cluster, opens a socket, reads a clock or draws a random number: the time is an argument, and
//! equal inputs give equal answers. Start with [`pool::plan`]; the binary `operator` carries out what it returns.

pub mod diff;
pub mod engine;
#[cfg(test)]
mod golden;
pub mod lead;
pub mod load;
pub mod metrics_api;
pub mod plan;
pub mod pool;
pub mod route;
pub mod unreadable;

/// The name under which the operator owns fields of the objects it applies. It must never change: the fields of objects
/// that an older operator made are found by it.
pub const FIELD_MANAGER: &str = "quartermaster-operator";
