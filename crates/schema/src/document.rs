//! The documents of a YAML or JSON file, with the line that each of their values stands on.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::Path;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Lines by paths, as [`Path`] writes them; the empty one is the document's own.
    lines: BTreeMap<String, u64>,
}

/// Why a file holds no documents that can be read. It repeats nothing of the file, which may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadText {
    /// The line at fault, from 1.
    pub line: u64,
    /// What is wrong there.
    pub problem: String,
}

/// The documents of a text that is YAML, or JSON, which is YAML too. Empty documents are left out.
///
/// # Errors
///
/// When the text is neither, or an object has a key twice.
pub fn documents(text: &str) -> Result<Vec<Document>, BadText> {
    // A snippet could show a key.
    let options = serde_saphyr::options! { with_snippet: false };
    let read = serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(text, options);
    let all = read.map_err(|error| BadText {
        line: error.location().map_or(1, |location| location.line()),
        problem: "it is neither YAML nor JSON: ".to_owned() + &error.without_snippet().to_string(),
    })?;
    Ok(all.into_iter().map(Document::of).collect())
}

impl Document {
    fn of(raw: Spanned<Raw>) -> Self {
        let mut lines = BTreeMap::new();
        let line = raw.referenced.line();
        let value = raw.value.place(&Path::default(), line, &mut lines);
        Self { value, lines }
    }

    /// The line, from 1, of the value at `path`, or of the nearest one around it that is there.
    #[must_use]
    pub fn line(&self, path: &str) -> u64 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            path = path.rfind(['.', '[']).map_or("", |at| &path[..at]);
        }
    }

    /// The document at the list's item `at` below `items`, as a document of its own.
    #[must_use]
    pub fn item(&self, at: usize) -> Self {
        let path = Path::default().field("items").item(at);
        let start = path.to_string();
        let below = |(path, line): (&String, &u64)| {
            let rest = path.strip_prefix(&start)?;
            Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *line))
        };
        Self {
            value: path.get(&self.value).cloned().unwrap_or_default(),
            lines: self.lines.iter().filter_map(below).collect(),
        }
    }
}

/// A value with the places of what it holds.
enum Raw {
    One(Value),
    List(Vec<Spanned<Self>>),
    Object(Vec<(String, Location, Self)>),
}

impl Raw {
    fn place(self, path: &Path, line: u64, lines: &mut BTreeMap<String, u64>) -> Value {
        lines.insert(path.to_string(), line);
        match self {
            Self::One(value) => value,
            Self::List(items) => {
                let items = items.into_iter().enumerate();
                Value::Array(items.map(|(at, i)| i.value.place(&path.item(at), i.referenced.line(), lines)).collect())
            }
            Self::Object(members) => {
                let mut object = Map::new();
                for (key, location, value) in members {
                    let value = value.place(&path.field(&key), location.line(), lines);
                    object.insert(key, value);
                }
                Value::Object(object)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::One(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::One(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::One(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Raw::One(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::One(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::One(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::One(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Raw::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw, A::Error> {
        let mut all: Vec<(String, Location, Raw)> = Vec::new();
        while let Some(key) = members.next_key::<Spanned<String>>()? {
            if all.iter().any(|(known, ..)| *known == key.value) {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
            all.push((key.value, key.referenced, members.next_value()?));
        }
        Ok(Raw::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_value_has_its_line() {
        let text = "# first\nkind: A\nspec:\n  list:\n  - name: x\n    on: {a: 1, b: [true, null]}\n  - 2.5\n---\n\n---\n{\"kind\":\n\t\"B\"}\n";
        let all = documents(text).unwrap();
        assert_eq!(all.len(), 2);
        let want = json!({"kind": "A", "spec": {"list": [{"name": "x", "on": {"a": 1, "b": [true, null]}}, 2.5]}});
        assert_eq!((&all[0].value, &all[1].value), (&want, &json!({"kind": "B"})));
        for (path, line) in [
            ("kind", 2),
            ("spec", 3),
            ("spec.list", 4),
            ("spec.list[0]", 5),
            ("spec.list[0].name", 5),
            ("spec.list[0].on.b[1]", 6),
            ("spec.list[1]", 7),
            // Of what is not there, the line of what should hold it.
            ("spec.list[0].gone", 5),
            ("spec.gone.too", 3),
            ("", 2),
            ("metadata.name", 2),
        ] {
            assert_eq!(all[0].line(path), line, "{path}");
        }
        assert_eq!(all[1].line("kind"), 11);
    }

    #[test]
    fn what_is_no_document_is_told_with_its_line_and_without_its_words() {
        for (text, line) in [
            ("a: 1\nb: [canary\n", 3),
            ("a: 1\na: canary\n", 2),
            ("a: {b: canary\nc: 1", 2),
            ("stringData:\n  key: 'canary\n", 2),
            ("a: b: canary\n", 1),
        ] {
            let why = documents(text).unwrap_err();
            assert!(!why.problem.contains("canary"), "{why}");
            assert!(why.line.abs_diff(line) <= 1, "{text:?}: line {}, {why}", why.line);
        }
    }

    #[test]
    fn an_item_of_a_list_is_a_document() {
        let all = documents("kind: List\nitems:\n- kind: A\n  spec:\n    x: 1\n- kind: B\n").unwrap();
        let item = all[0].item(0);
        assert_eq!(item.value, json!({"kind": "A", "spec": {"x": 1}}));
        assert_eq!((item.line(""), item.line("spec.x"), all[0].item(1).line("kind")), (3, 5, 6));
    }
}
