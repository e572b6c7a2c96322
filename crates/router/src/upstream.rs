//! Connections to engines: made, kept, and spoken over.

mod conn;
mod kept;
mod opening;

pub(crate) use conn::{AskError, Conn};
pub(crate) use kept::KeptConns;
pub(crate) use opening::{Answer, Opening, is_events};
