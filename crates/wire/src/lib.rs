//! Shapes on the wire: the HTTP/1.1 framing spoken to engines and to clients, OpenAI's bodies and errors, and server-sent events.
//!
//! Everything here is bytes in, values out. This crate never opens a socket, reads a clock or waits; it never turns a
//! body into a tree of values either, because such a tree is many times the size of the body. What it cannot bound it
//! refuses with a named error. Start with [`http1`] for how an engine is spoken to, and [`openai::scan`] for what is
//! read of a request.

mod dialect;
pub mod http1;
pub mod multipart;
pub mod openai;
pub mod sse;
pub mod trace;
pub mod usage;
pub mod vllm;

pub use dialect::Dialect;
