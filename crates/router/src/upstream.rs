//! Connections to engines and providers: made, kept, and spoken over.

mod conn;
mod dial;
mod first_token;
mod kept;
mod opening;
mod stream;
mod tcp;

pub(crate) use conn::{AskError, Conn, Home};
pub(crate) use dial::{DialError, Place, dial, home, reach};
pub(crate) use first_token::{Begun, EXCEPTION, Hoped};
pub(crate) use kept::{HOST_REST, KeptConns};
pub(crate) use opening::{Answer, MOST_WAITED_FOR, Opening, is_encoded, is_events, is_frames};
