//! The verdict of a CRD's schema on an object, reached without an API server: unknown fields, types, limits, list keys and CEL
//! rules, with the defaults filled in; and the lines of a file that objects stand in.
//!
//! It answers as the API server does for a create by kubectl. `tests/mutate` brings thousands of objects to both and wants the
//! same word from each. This crate does no I/O, reads no clock and draws no randomness. Start with [`Kinds`] and
//! [`documents`].

mod document;
mod kinds;
mod node;
mod path;
mod rules;

pub use document::{BadText, Document, documents};
pub use kinds::Kinds;
pub use node::{Kind, Node};
pub use path::{Path, Step};
pub use rules::{Fault, Rules};
