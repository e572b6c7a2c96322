//! The client side of HTTP/1.1, as plain functions over bytes.
//!
//! [`write_head`] makes the head of a request; [`HeadReader`] reads the head of an answer and decides, strictly, how its
//! body is framed; [`BodyDecoder`] takes the body out of that framing. The strictness is the point: where two readers
//! could disagree on where an answer ends, one client's bytes could land in another's answer, so every such head or body
//! is refused by name.

mod body;
mod head;
mod hop;
mod request;

pub use body::{BodyDecoder, BodyError, Step};
pub use head::{Framing, Head, HeadError, HeadReader, MAX_HEAD, MAX_HEADERS, MAX_INTERIM};
pub use hop::ConnectionTokens;
pub use request::{RequestHead, write_head};
