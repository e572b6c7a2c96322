//! What a message says: a text, or a list of parts, as Mistral's models write it when they think.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A text that says something.
pub(crate) fn filled(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|t| t.0).filter(|t| !t.is_empty())
}

/// The content of a message.
pub(super) enum Said<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

/// A part of a content. What is neither text nor a thought, such as a reference, is nothing that another shape could say.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Vec<Thought<'a>>>,
}

#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

/// A piece of a content that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Thought(Cow<'a, str>),
    Text(Cow<'a, str>),
}

impl<'a> Said<'a> {
    /// Gives every piece, in its order.
    pub(super) fn each<E>(self, mut take: impl FnMut(Piece<'a>) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Text(text) => filled(Some(text)).map_or(Ok(()), |text| take(Piece::Text(text))),
            Self::Parts(parts) => parts.into_iter().try_for_each(|part| {
                let thoughts = part.thinking.into_iter().flatten().filter_map(|thought| filled(thought.text));
                thoughts.map(Piece::Thought).chain(filled(part.text).map(Piece::Text)).try_for_each(&mut take)
            }),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = Said<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of parts")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Said<'de>, E> {
                Ok(Said::Text(Text(Cow::Borrowed(text))))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Said<'de>, E> {
                Ok(Said::Text(Text(Cow::Owned(text.to_owned()))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = list.next_element()? {
                    parts.push(part);
                }
                Ok(Said::Parts(parts))
            }
        }
        deserializer.deserialize_any(Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_a_text_or_a_list_of_parts() {
        let thought = |text: &'static str| Piece::Thought(text.into());
        let text = |text: &'static str| Piece::Text(text.into());
        for (json, want) in [
            (r#""Hi""#, vec![text("Hi")]),
            (r#""a\nb""#, vec![text("a\nb")]),
            (r#""""#, vec![]),
            ("[]", vec![]),
            (
                r#"[{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":""},{"type":"text","text":"m"}]},{"type":"text","text":"Hi"}]"#,
                vec![thought("h"), thought("m"), text("Hi")],
            ),
            (r#"[{"type":"reference","reference_ids":[1]},{"type":"text","text":"Hi"}]"#, vec![text("Hi")]),
        ] {
            let mut got = Vec::new();
            let said: Said<'_> = serde_json::from_str(json).unwrap();
            let done: Result<(), ()> = said.each(|piece| {
                got.push(piece);
                Ok(())
            });
            assert_eq!((done, got), (Ok(()), want), "{json}");
        }
        assert!(serde_json::from_str::<Said<'_>>("7").is_err());
    }
}
