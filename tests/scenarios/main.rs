//! What must hold on a real cluster. Each file is one subject; each scenario has a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a scenario fails by panicking")]

mod charts;
mod delete;
mod install;
mod refuse;
mod restart;
mod samples;
mod scale;
mod serve;
