//! The steps of a request, in order. Each takes what the one before it gave.

pub(crate) mod ask;
pub(crate) mod body;
pub(crate) mod parse;
pub(crate) mod send;
pub(crate) mod settle;
pub(crate) mod stream;
