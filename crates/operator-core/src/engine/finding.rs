//! What is wrong with an argument, and how that is said.

use std::fmt;

use super::refused::Against;

/// Something to say about one of a pool's further arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its place in the list: the message is about `spec.engine.extraArgs[index]`.
    pub index: usize,
    /// The argument, as it was written, without its value: a value could be a secret.
    pub flag: String,
    /// What there is to say.
    pub problem: Problem,
    /// The release that was asked, as major and minor number; `None` when the version is not known.
    pub release: Option<(u32, u32)>,
    /// Whether the engine will read it this way. It may not when its version is newer than all that are known.
    pub certain: bool,
}

/// What there is to say about an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No release knows it.
    Unknown {
        /// What was probably meant.
        did_you_mean: Option<&'static str>,
    },
    /// Only newer releases know it; the first of them, as major and minor number.
    OnlySince((u32, u32)),
    /// Only older releases know it; the first that does not, as major and minor number.
    RemovedIn((u32, u32)),
    /// It is written in a way that the engine understands today but that is not its name: shortened, or with `_`.
    Spelling {
        /// How to write it.
        write: String,
    },
    /// It needs a value and has none.
    NeedsValue,
    /// It has a value and takes none.
    TakesNoValue {
        /// How to switch it off, where that can be done.
        off: Option<String>,
    },
    /// Its value must be a number.
    NotANumber {
        /// Whether it must be a whole one.
        whole: bool,
    },
    /// It has keys, and is not one that takes JSON.
    NoKeys,
    /// Its value is not among those that it allows.
    BadChoice {
        /// What it allows.
        allowed: Vec<&'static str>,
        /// What was probably meant.
        did_you_mean: Option<&'static str>,
    },
    /// Its value is not built in; a plug-in that the image brings along may know it.
    NotBuiltIn {
        /// What was probably meant.
        did_you_mean: Option<&'static str>,
    },
    /// It is a value that no argument takes.
    Stray,
    /// It is a name and a value in one item, with a space between them.
    Joined,
    /// A pool must not set it.
    Refused(Against),
    /// It is legal, and has a price; the end of a sentence that begins with the argument.
    Unwise(&'static str),
}

impl Finding {
    /// Whether the pool must not run with this: the engine would end at once, or be open to callers. The rest are
    /// warnings.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self.problem {
            Problem::Refused(_) | Problem::Spelling { .. } | Problem::Joined => true,
            Problem::Unwise(_) | Problem::NotBuiltIn { .. } => false,
            _ => self.certain,
        }
    }
}

/// The end of a sentence that begins with the path of the argument: `spec.engine.extraArgs[3] sets --port; …`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = shown(&self.flag);
        let engine = Engine(self.release);
        match &self.problem {
            Problem::Unknown { did_you_mean } => {
                write!(f, "is {flag}, which {engine} does not know; ")?;
                match did_you_mean {
                    Some(name) => write!(f, "did you mean {name}?"),
                    None => f.write_str("remove it"),
                }?;
            }
            Problem::OnlySince(release) => {
                let since = Engine(Some(*release));
                write!(f, "is {flag}, which {engine} does not know yet; remove it, or run {since} or newer")?;
            }
            Problem::RemovedIn(release) => {
                write!(f, "is {flag}, which vLLM does not know any more since {}.{}; remove it", release.0, release.1)?;
            }
            Problem::Spelling { write } => write!(f, "is {flag}, which must be written {write}")?,
            Problem::NeedsValue => write!(f, "is {flag}, which needs a value and has none")?,
            Problem::TakesNoValue { off } => {
                write!(f, "is {flag}, which takes no value and is given one; leave the value out")?;
                if let Some(off) = off {
                    write!(f, ", or write {off} to switch it off")?;
                }
            }
            Problem::NotANumber { whole } => {
                let kind = if *whole { "a whole number" } else { "a number" };
                write!(f, "is {flag}, whose value must be {kind}")?;
            }
            Problem::NoKeys => {
                write!(f, "is {flag}, whose part before the point takes no keys; give it one value instead")?;
            }
            Problem::BadChoice { allowed, did_you_mean } => {
                write!(f, "is {flag}, whose value {engine} does not allow; ")?;
                if let Some(name) = did_you_mean {
                    write!(f, "did you mean {name}? The allowed ones are {}", allowed.join(", "))?;
                } else {
                    write!(f, "the allowed ones are {}", allowed.join(", "))?;
                }
            }
            Problem::NotBuiltIn { did_you_mean } => {
                write!(f, "is {flag}, with a value that is not built into {engine}")?;
                match did_you_mean {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => f.write_str("; it starts only if the image brings a plug-in that knows it"),
                }?;
            }
            Problem::Joined => {
                write!(f, "holds {flag} and its value in one item; make them two items, or put '=' between them")?;
            }
            Problem::Stray => {
                f.write_str("is a value that belongs to no argument; remove it, or put its argument before it")?;
            }
            Problem::Refused(Against::Field(field)) => write!(f, "sets {flag}; set {field} instead")?,
            Problem::Refused(Against::Reason(why)) => write!(f, "must not set {flag}, because {why}; remove it")?,
            Problem::Unwise(what) => write!(f, "is {flag}, which {what}")?,
        }
        if !self.certain && matches!(self.problem, Problem::Unknown { .. } | Problem::BadChoice { .. }) {
            f.write_str(" (this pool's version is newer than all that the operator knows)")?;
        }
        Ok(())
    }
}

/// The engine, with its release where that is known.
struct Engine(Option<(u32, u32)>);

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((major, minor)) => write!(f, "vLLM {major}.{minor}"),
            None => f.write_str("vLLM"),
        }
    }
}

/// A name as it is put into a message: not longer than the longest real one by much, and on one line.
fn shown(flag: &str) -> String {
    const LONGEST: usize = 80;
    let mut out: String = flag.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if flag.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}
