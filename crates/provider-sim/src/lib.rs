//! Stand-ins for the APIs that the router can send a request to: Anthropic's Messages, `OpenAI`'s Chat Completions,
//! Responses, Completions, Embeddings and Models (also as Azure serves them), Bedrock's Converse and `InvokeModel`, and a
//! server that is only compatible with `OpenAI`. The same routes, answers, errors, headers and counts of tokens where
//! clients can tell, and no model behind them: what is said is made up, the same for the same prompt.
//!
//! Each key has a bill of its own (`/sim/bill`), so that a test can compare what a client was charged with what the
//! provider thinks it sold. Anything can be made to go wrong on demand (`/sim/faults`, or the header `x-sim-fault`).
//!
//! An answer is worked out whole before its first byte leaves: `ask` reads a request of any shape into one form,
//! `answer` makes up what is said, `shape` writes it in the shape that was asked in, as `script::Step`s, and
//! `faults` changes the steps. All of that is pure. `play` performs the steps, `serve` speaks HTTP.

pub mod serve;
pub mod settings;

mod answer;
mod app;
mod ask;
mod bill;
mod cache;
mod faults;
mod handle;
mod key;
mod misbehave;
mod pages;
mod play;
mod refusal;
mod script;
mod shape;
mod signature;
mod text;
mod wire;
