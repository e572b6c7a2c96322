//! OpenAI's responses.

pub(crate) mod answer;
pub(crate) mod own;
pub(crate) mod request;
pub(crate) mod request_out;
pub(crate) mod stream;
pub(crate) mod stream_out;
mod usage;
