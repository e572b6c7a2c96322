//! Connections to engines: made, kept, and spoken over.

mod conn;
mod kept;

pub(crate) use conn::{AskError, Conn};
pub(crate) use kept::KeptConns;
