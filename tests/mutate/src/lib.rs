//! Spec mutation: from the schema of a kind and a valid object, thousands of objects that differ from it in one place or in
//! two that have to do with each other; and the verdict that the API server must reach on each.
//!
//! Nothing here knows a field by name. What is tried follows the schema, so that a field that is added to a kind is tried
//! without anybody thinking of it. This crate does no I/O and draws no randomness: its tests in `cluster/` bring the objects
//! to a real API server and a running operator. Start with [`mutations`] and [`Rules::judge`].

mod candidates;
mod mutation;
mod pairs;
mod walk;

pub use mutation::{Change, Mutation, mutations};
pub use pairs::pairs;
pub use schema::{Fault, Kind, Node, Path, Rules, Step};
pub use walk::{Luck, walk};
