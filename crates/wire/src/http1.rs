//! Both sides of HTTP/1.1, as plain functions over bytes.
//!
//! Towards engines, [`write_head`] makes the head of a request, and [`HeadReader`] reads the head of an answer and
//! decides, strictly, how its body is framed. Towards clients, [`RequestReader`] does the same for the head of a request,
//! and [`write_answer`] makes the head of an answer. [`BodyDecoder`] takes either body out of its framing. The
//! strictness is the point: where two readers could disagree on where a message ends, one client's bytes could land in
//! another's message, so every such head or body is refused by name.

mod answer;
mod body;
mod head;
mod hop;
mod lines;
mod received;
mod request;

pub use answer::{AnswerHead, CHUNK_END, LAST_CHUNK, chunk_size, write_answer};
pub use body::{BodyDecoder, BodyError, Step};
pub use head::{Framing, Head, HeadError, HeadReader, MAX_INTERIM};
pub use hop::ConnectionTokens;
pub use lines::{MAX_HEAD, MAX_HEADERS};
pub use received::{MAX_TARGET, Received, RequestError, RequestReader};
pub use request::{BareHead, RequestHead, write_bare_head, write_head};
