//! What must hold on a real cluster. Each file is one subject; each scenario has a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a scenario fails by panicking")]
#![expect(clippy::print_stdout, reason = "scenarios tell what they counted")]

mod access;
mod causes;
mod charts;
mod delete;
mod disrupt;
mod exposure;
mod gitops;
mod install;
mod lead;
mod namespaced;
mod policies;
mod providers;
mod refuse;
mod restart;
mod rights;
mod rollout;
mod routers;
mod samples;
mod scale;
mod serve;
mod upgrade;
mod warnings;
