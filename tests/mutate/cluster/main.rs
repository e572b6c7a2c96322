//! What becomes of thousands of specs at a real API server, and of hundreds with the operator running.
//!
//! `KUBECONFIG` says which cluster; `make e2e` prepares one. docs/testing.md says how to run them by hand.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "tests tell what they counted")]

mod api_server;
mod bases;
mod live;
mod objects;
mod operator;
mod planned;
mod read;
mod settled;
mod verdicts;
mod wait;
mod walk;
mod yard;
