//! Why a body is no request, and where.

use super::DEEPEST;

/// Why a body is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct ScanError {
    /// Offset of the byte at fault, from 0.
    pub at: usize,
    /// What is wrong there.
    pub problem: ScanProblem,
}

/// What is wrong at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanProblem {
    /// The text ends inside a value.
    #[error("the text ends too early")]
    EndsEarly,
    /// The body is some other JSON value, or none.
    #[error("expected an object")]
    NotAnObject,
    /// The body begins with a byte order mark, which JSON must not have.
    #[error("unexpected byte order mark")]
    ByteOrderMark,
    /// Something stands after the object.
    #[error("unexpected text after the object")]
    TrailingText,
    /// No value where one must stand.
    #[error("expected a value")]
    NoValue,
    /// No key where one must stand.
    #[error("expected a key in double quotes")]
    NoKey,
    /// No colon after a key.
    #[error("expected ':'")]
    NoColon,
    /// Neither a comma nor the end of the list or object.
    #[error("expected ',' or the closing bracket")]
    NoComma,
    /// A malformed number.
    #[error("malformed number")]
    BadNumber,
    /// A malformed escape in a text.
    #[error("malformed escape")]
    BadEscape,
    /// A control character that should have been escaped.
    #[error("unescaped control character in a text")]
    ControlCharacter,
    /// Bytes that are not UTF-8.
    #[error("invalid UTF-8")]
    NotUtf8,
    /// Nested more than 128 levels deep.
    #[error("nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// A field that routing reads stands there a second time. Which one the engine takes is its own affair, so it might
    /// not be the one that was judged here.
    #[error("\"{0}\" may stand only once, but is repeated")]
    Repeated(&'static str),
    /// A flag that is not one. Engines take some texts and numbers for one, and not all the same.
    #[error("\"{0}\" must be true, false or null, but is not")]
    NotAFlag(&'static str),
    /// A count that is not one, or too large to be meant.
    #[error("\"{0}\" must be a whole number from {1} to {2}, but is not")]
    NotACount(&'static str, u32, u32),
    /// Options that are no object.
    #[error("\"{0}\" must be an object or null, but is not")]
    NotOptions(&'static str),
}

impl ScanProblem {
    /// The field that must be changed, where it is one field.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Repeated(name) | Self::NotAFlag(name) | Self::NotACount(name, ..) | Self::NotOptions(name) => {
                Some(name)
            }
            _ => None,
        }
    }
}
