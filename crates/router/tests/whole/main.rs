//! The whole data plane, in process, between raw sockets: what a client sends and gets, and what an engine sees and says,
//! byte for byte.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod alone;
mod bed;
mod bedrock;
mod bedrock_cost;
mod bounds;
mod broken;
mod cases;
mod classifier;
mod client;
mod closing;
mod crowd;
mod desync;
mod floods;
mod folder;
mod framing;
mod hedge;
mod hedge_odd;
mod http2;
mod keys;
mod leaving;
mod mirror;
mod mirror_far;
mod names;
mod odd;
mod pass;
mod process;
mod record;
mod refuse;
mod remote;
mod remote_failing;
mod remote_shapes;
mod remote_tls;
mod replicas;
mod resilience;
mod retry;
mod rules;
mod sample;
mod slow;
mod stops;
mod streams;
mod surfaces;
mod tls;
mod tokens;
mod traces;
mod volume;
mod wrong;
