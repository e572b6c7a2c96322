//! The command line of `vllm serve`, checked against the release that will read it.
//!
//! An argument that an engine does not know ends it before it has said more than its usage, and the pod restarts for
//! ever. So each one is looked up beforehand in what that release takes ([`known`]), read the way its parser reads it:
//!
//! * [`check`] says what is wrong with a pool's `extraArgs`;
//! * [`check_value`] says what is wrong with a value that a field of the pool stands for;
//! * [`check_env`] says what stands against an environment variable;
//! * [`supports`] says whether a release takes an argument that the operator would like to give.

mod catalogue;
mod finding;
mod nearest;
mod refused;
mod walk;

use std::fmt;

pub use catalogue::{Catalogue, known, newest, oldest};
pub use finding::{Finding, Problem};
pub use refused::{Against, check_env, refused_env, refused_pattern};
pub use walk::{check, check_value};

/// A version of vLLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number, 0 so far.
    pub major: u32,
    /// The second number: releases that differ in it differ in their arguments.
    pub minor: u32,
    /// The third number, 0 when it is not given.
    pub patch: u32,
}

impl Version {
    /// Reads a version as it is written in `spec.engine.version` or in an image's tag: `0.32.0`, `v0.32.0`, `0.32`,
    /// `v0.32.0-cu128`, `0.32.0+cpu`, `0.33.0rc1`. `None` for anything else, such as `nightly` or a commit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, rest) = number(text)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let (patch, rest) = match rest.strip_prefix('.') {
            Some(rest) => number(rest)?,
            None => (0, rest),
        };
        let suffix = rest.is_empty() || rest.starts_with(['-', '+', '_', '.']) || is_pre_release(rest);
        suffix.then_some(Self { major, minor, patch })
    }

    /// The version that an image's tag names: `vllm/vllm-openai:v0.32.0` is 0.32.0. `None` without a tag, or with one
    /// that is no version; what follows `@` is not looked at.
    #[must_use]
    pub fn of_image(image: &str) -> Option<Self> {
        let name = image.split('@').next()?;
        let (repository, tag) = name.rsplit_once(':')?;
        // What follows the colon of `host:5000/name` is a port and a path.
        (!repository.is_empty() && !tag.contains('/')).then(|| Self::parse(tag)).flatten()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether a version takes an argument; `None` when its arguments are not known, because it is older than all releases
/// that were read. A newer one is taken to be like the newest that was read.
#[must_use]
pub fn supports(version: Version, flag: &str) -> Option<bool> {
    known(version).map(|catalogue| catalogue.has(flag))
}

/// Takes a number off the beginning of a text. At most six digits, so that it fits and is no date or commit.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    (digits.len() <= 6).then_some(())?;
    Some((digits.parse().ok()?, rest))
}

/// `rc1`, `dev3`, `post1`, `a2`, `b1`: what Python's version numbers end in.
fn is_pre_release(text: &str) -> bool {
    ["rc", "dev", "post", "a", "b"]
        .iter()
        .filter_map(|word| text.strip_prefix(word))
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
