//! Label selectors as they stand in a query, such as `app=a,tier in (x, y),!canary`.

use std::collections::BTreeMap;

/// Which objects are meant, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    /// The label is there, and its value is one of these.
    In(String, Vec<String>),
    /// The label is not there, or its value is none of these.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Reads a selector; an empty one means every object. `None` when it is not well-formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self::default());
        }
        parts(text).into_iter().map(requirement).collect::<Option<_>>().map(Self)
    }

    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

/// What stands between commas, of which those in parentheses do not count.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn requirement(text: &str) -> Option<Requirement> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return Some(Requirement::Missing(word(key)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(word(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(word(key)?, vec![value_of(value)?]));
    }
    let Some((key, rest)) = text.split_once(char::is_whitespace) else { return Some(Requirement::Exists(word(text)?)) };
    let (operator, values) = rest.split_once('(')?;
    let values = values.strip_suffix(')')?.split(',').map(value_of).collect::<Option<_>>()?;
    match operator.trim() {
        "in" => Some(Requirement::In(word(key)?, values)),
        "notin" => Some(Requirement::NotIn(word(key)?, values)),
        _ => None,
    }
}

/// A label's name.
fn word(text: &str) -> Option<String> {
    value_of(text).filter(|word| !word.is_empty())
}

/// A label's value, which may be empty.
fn value_of(text: &str) -> Option<String> {
    let text = text.trim();
    let sound = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    text.chars().all(sound).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_as_kubernetes_does() {
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            text.split(',').filter_map(pair).collect()
        };
        let table = [
            ("", "a=1", Some(true)),
            ("a=1", "a=1,b=2", Some(true)),
            ("a==1", "a=2", Some(false)),
            ("a = 1 , b = 2", "a=1,b=2", Some(true)),
            ("a=1,b=2", "a=1", Some(false)),
            ("a=", "a=", Some(true)),
            ("a!=1", "a=2", Some(true)),
            ("a!=1", "b=2", Some(true)),
            ("a!=1", "a=1", Some(false)),
            ("a in (1, 2),b", "a=2,b=x", Some(true)),
            ("a in (1,2)", "b=2", Some(false)),
            ("a notin (1,2)", "b=2", Some(true)),
            ("a notin (1,2)", "a=2", Some(false)),
            ("a", "b=1", Some(false)),
            ("!a", "b=1", Some(true)),
            ("! a", "a=1", Some(false)),
            ("quartermaster.dev/pool=llama", "quartermaster.dev/pool=llama", Some(true)),
            ("a in 1", "", None),
            ("a in (1", "", None),
            ("a near (1)", "", None),
            ("a>1", "", None),
            ("a=1,", "", None),
            ("=1", "", None),
            ("a=b=c", "", None),
        ];
        for (text, on, want) in table {
            assert_eq!(Selector::parse(text).map(|selector| selector.matches(&labels(on))), want, "{text:?} on {on}");
        }
    }
}
