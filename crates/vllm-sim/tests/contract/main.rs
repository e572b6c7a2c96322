//! The contract that routers and operators rely on, checked against a running engine: the simulator always, and the real
//! vLLM when `ENGINE_URL`, `ENGINE_URL_FULL` and `ENGINE_URL_POOLING` name some (`tests/vllm/contract.sh` starts them; `engine.rs` says how). With
//! `ENGINE_COMMAND` the checks of how engines stop start their own. Where the two differ is listed in `differences.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a check fails it")]

mod answers;
mod differences;
mod engine;
mod full;
mod http;
mod load;
mod metrics;
mod options;
mod pooling;
mod refusals;
mod shape;
mod stopping;
mod surfaces;
