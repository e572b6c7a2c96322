//! The router: takes OpenAI-shaped requests in, and passes each to a target that a RoutePolicy names:
//! a replica of a pool, or the API of a provider.
//!
//! Decisions are made in `router-core`, bytes are framed in `wire`; this crate holds the sockets, the clock and the watch
//! on the cluster. It never buffers a stream, never hands a token from one task to another, and never writes a body or a
//! key to a log. Start with `answer.rs`, the path of one request; then [`workers`], which accept connections, and
//! [`follow`](mod@follow), which keeps the routing table.

pub mod args;
pub mod debug;
pub mod follow;
pub mod issuers;
pub mod live;
pub mod metrics;
pub mod outbound;
pub mod peers;
pub mod request_log;
pub mod reviews;
pub mod run;
pub mod secrets;
pub mod settings;
pub mod tls;
pub mod traces;
pub mod volume;
pub mod workers;

mod answer;
mod clock;
mod connection;
mod date;
mod fetch;
mod figures;
mod lag;
mod load;
mod respond;
mod stage;
mod surface;
mod upstream;
mod worker;
