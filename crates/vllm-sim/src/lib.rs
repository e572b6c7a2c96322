//! A stand-in for a vLLM engine: the same routes, answers, metrics, arguments and manner of stopping where clients and
//! operators can tell, and no model behind them. Its text is made up, at a set speed, the same for the same seed.
//!
//! It must never be taken for vLLM by a person: its log, its `--version`, its `server` header, `owned_by` and the text of
//! its answers name the simulator. How far it is like vLLM is written down in `tests/contract`, which is run against
//! both. Start reading at [`server::serve`], then `engine.rs`.

pub mod args;
pub mod error;
pub mod server;
pub mod settings;

mod answer;
mod app;
mod core;
mod engine;
mod faults;
mod metrics;
mod misbehave;
mod pages;
mod plan;
mod reply;
mod request;
mod response;
mod sleep;
mod text;

/// The release of vLLM that the simulator is modelled on; `/version` answers it, because clients decide by it.
pub const MODELLED_ON: &str = "0.32.0";
