//! The steps of a request, in order. Each takes what the one before it gave.

pub(crate) mod ask;
mod asked;
pub(crate) mod authenticate;
pub(crate) mod body;
mod classify;
mod decide;
mod decided;
mod framed;
mod hedge;
mod limits;
mod mirror;
mod outgoing;
pub(crate) mod parse;
pub(crate) mod pass;
mod remote;
pub(crate) mod send;
pub(crate) mod settle;
pub(crate) mod stream;
mod translated;
mod way;
