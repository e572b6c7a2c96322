//! What the rules of a RoutePolicy see of a request, and what they say about it.
//!
//! [`Request`] is the view that a rule's `when` is written over; [`Expression`] is a `when` that was checked and can be
//! evaluated; [`complexity`] says how hard a request is. No I/O, no clock: the hour is an argument.

pub mod complexity;
mod expression;
mod view;

pub use expression::{BadExpression, Expression, MOST_CHARACTERS};
pub use view::{Body, FIELDS, Field, Kind, Outline, Read, Request, Today};
