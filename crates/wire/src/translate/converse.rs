//! Bedrock's Converse and ConverseStream, towards targets only.

pub(crate) mod answer;
mod marks;
mod names;
pub(crate) mod request;
pub(crate) mod stream;
