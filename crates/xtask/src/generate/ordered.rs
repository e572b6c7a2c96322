//! JSON whose objects keep the order of their file, and how it looks as YAML.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value; objects are lists of pairs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ordered {
    /// A text.
    Text(String),
    /// Any other scalar, as it is written in JSON and YAML alike.
    Bare(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Ordered {
    /// The member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.pairs().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text that a member holds; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    /// The members of an object; nothing for anything else.
    pub(super) fn pairs(&self) -> &[(String, Self)] {
        if let Self::Map(pairs) = self { pairs } else { &[] }
    }

    /// The entries of a list; nothing for anything else.
    pub(super) fn entries(&self) -> &[Self] {
        if let Self::List(entries) = self { entries } else { &[] }
    }

    /// In one line, as YAML.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Bare(word) => word.clone(),
            Self::List(entries) => format!("[{}]", joined(entries.iter().map(Self::flow))),
            Self::Map(pairs) => {
                format!("{{{}}}", joined(pairs.iter().map(|(key, value)| format!("{}: {}", quoted(key), value.flow()))))
            }
        }
    }

    /// As YAML after a key that stands `depth` levels deep: on its line, or below it with a level more.
    pub(super) fn block(&self, depth: usize) -> String {
        match self {
            Self::Map(pairs) if !pairs.is_empty() => pairs.iter().fold(String::from("\n"), |text, (key, value)| {
                text + &"  ".repeat(depth + 1) + &quoted(key) + ":" + &value.block(depth + 1)
            }),
            other => format!(" {}\n", other.flow()),
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// A text as YAML takes it: bare where it can be taken for nothing else.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    let word = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
        && text.parse::<f64>().is_err()
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null");
    if word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_str<E>(self, text: &str) -> Result<Ordered, E> {
                Ok(Ordered::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, yes: bool) -> Result<Ordered, E> {
                Ok(Ordered::Bare(yes.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Ordered, E> {
                Ok(Ordered::Bare(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Ordered, E> {
                Ok(Ordered::Bare(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Ordered, E> {
                Ok(Ordered::Bare("null".to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Ordered::List(entries))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered::Map(pairs))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_as_yaml() {
        let table = [
            (
                r#"{"b": "50m", "a": {"y": 1, "x": []}}"#,
                "{b: 50m, a: {y: 1, x: []}}",
                "\n  b: 50m\n  a:\n    y: 1\n    x: []\n",
            ),
            (r#""""#, r#""""#, " \"\"\n"),
            (
                r#"["1.5", "on", "--a=b", "0.1.0", null]"#,
                r#"["1.5", "on", "--a=b", 0.1.0, null]"#,
                " [\"1.5\", \"on\", \"--a=b\", 0.1.0, null]\n",
            ),
        ];
        for (json, flow, block) in table {
            let read: Ordered = serde_json::from_str(json).unwrap();
            assert_eq!((read.flow().as_str(), read.block(0).as_str()), (flow, block));
        }
    }
}
