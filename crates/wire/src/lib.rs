//! Shapes on the wire: the HTTP/1.1 framing spoken to engines and to clients, OpenAI's bodies and errors, and server-sent events.
//!
//! Everything here is bytes in, values out. This crate never opens a socket, reads a clock or waits. On the way to an
//! engine it never turns a body into a tree of values either, because such a tree is many times the size of the body; only
//! [`translate`] reads a body whole. What it cannot bound it refuses with a named error. Start with [`http1`] for how an
//! engine is spoken to, [`openai::scan`] for what is read of a request, and [`translate`] for the way to a target that speaks
//! another API than the client.

mod dialect;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod multipart;
pub mod openai;
pub mod sse;
pub mod trace;
pub mod translate;
mod unified;
pub mod usage;
pub mod vllm;

pub use dialect::Dialect;
