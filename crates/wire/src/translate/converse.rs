//! Bedrock's Converse and ConverseStream, towards targets only.

pub(crate) mod answer;
pub(crate) mod request;
pub(crate) mod stream;
