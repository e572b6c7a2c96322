//! Anthropic's messages.

pub(crate) mod answer;
pub(crate) mod own;
pub(crate) mod request;
pub(crate) mod request_out;
pub(crate) mod sampling;
pub(crate) mod stream;
pub(crate) mod stream_out;
pub(crate) mod thinking;
pub(crate) mod turns;
mod usage;
