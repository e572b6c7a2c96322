//! The contract that routers and operators rely on, checked against a running engine: the simulator always, and the real
//! vLLM when `ENGINE_URL` names one (`tests/vllm/contract.sh` starts it). `ENGINE_COMMAND` starts engines for the checks
//! of how they stop.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a check fails it")]

mod answers;
mod engine;
mod http;
mod load;
mod refusals;
mod shape;
mod stopping;
