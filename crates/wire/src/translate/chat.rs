//! OpenAI's chat completions.

pub(crate) mod answer;
pub(crate) mod request;
pub(crate) mod request_out;
pub(crate) mod said;
pub(crate) mod stream;
pub(crate) mod stream_out;
mod usage;
