//! The `when` of a rule: a CEL expression over the view, checked when it is read and cheap to evaluate.
//!
//! The grammar is CEL's own, by its parser. What is parsed is checked against the view's types and turned into a small
//! tree in which nothing is looked up by name: it cannot meet a missing field or a wrong type later, and costs never
//! more than its size times the number of tools. See docs/design/019.

mod eval;
mod lower;
mod tree;

use self::tree::Flag;
use crate::Request;

/// Longest expression.
pub const MOST_CHARACTERS: usize = 1024;

/// An expression over a request that says yes or no.
#[derive(Clone, Debug)]
pub struct Expression {
    tree: Flag,
    counts: bool,
}

/// Why a text is no such expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct BadExpression {
    /// The line at fault, from 1.
    pub line: usize,
    /// The character at fault in that line, from 1.
    pub column: usize,
    /// What is wrong there, and what to write instead.
    pub problem: String,
}

impl Expression {
    /// Reads and checks an expression.
    ///
    /// # Errors
    ///
    /// When it is too long, is not CEL, uses what is not there, or does not say yes or no.
    pub fn compile(text: &str) -> Result<Self, BadExpression> {
        lower::compile(text).map(|(tree, counts)| Self { tree, counts })
    }

    /// Whether it asks for what the policy has had today, which is only counted for those who ask.
    #[must_use]
    pub fn asks_for_today(&self) -> bool {
        self.counts
    }

    /// Whether the request meets it. `None` when that cannot be said, as when a number is divided by zero.
    #[must_use]
    pub fn matches(&self, request: &Request<'_>) -> Option<bool> {
        eval::flag(&self.tree, request, None)
    }
}

#[cfg(test)]
mod tests;
