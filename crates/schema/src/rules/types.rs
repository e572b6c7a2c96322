//! Types, limits, patterns and keys.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::Fault;
use crate::node::{Kind, Node};
use crate::path::Path;

/// Largest whole number that a JSON number with a point stands for without doubt: 2^53 − 1.
const SURE: f64 = 9_007_199_254_740_991.0;

/// Fields that every object has besides those of its kind.
const COMMON: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The whole number that `number` is, if it is one.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
    (number.fract() == 0.0 && number.abs() <= SURE).then_some(number as i64)
}

/// Finds fields that the schema does not have.
pub(super) fn unknown(node: &Node, value: &Value, path: &Path, faults: &mut Vec<Fault>) {
    match (&node.kind, value) {
        (Kind::Object { fields, .. }, Value::Object(there)) => {
            for (name, value) in there {
                let path = path.field(name);
                match fields.get(name) {
                    Some(field) => unknown(field, value, &path, faults),
                    None if path.0.len() == 1 && COMMON.contains(&name.as_str()) => {}
                    None => fault(faults, &path, &format!("unknown field; there are {}", names(fields.keys()))),
                }
            }
        }
        (Kind::Map { values, .. }, Value::Object(there)) => {
            there.iter().for_each(|(name, value)| unknown(values, value, &path.field(name), faults));
        }
        (Kind::List { items, .. }, Value::Array(there)) => {
            there.iter().enumerate().for_each(|(at, value)| unknown(items, value, &path.item(at), faults));
        }
        _ => {}
    }
}

/// Finds what is of the wrong type or beyond a limit.
pub(super) fn check(
    node: &Node,
    patterns: &BTreeMap<String, Regex>,
    value: &Value,
    path: &Path,
    faults: &mut Vec<Fault>,
) {
    if value.is_null() {
        // A list of values that leaves null out refuses it even where null may stand.
        if !node.nullable || !(node.enumeration.is_empty() || node.enumeration.contains(value)) {
            fault(faults, path, "must not be null");
        }
        return;
    }
    if !node.enumeration.is_empty() && !node.enumeration.contains(value) {
        let values = names(node.enumeration.iter().filter(|value| !value.is_null()));
        fault(faults, path, &format!("is not one of the values there are: {values}"));
    }
    match (&node.kind, value) {
        (Kind::Object { fields, required }, Value::Object(there)) => {
            for name in required.iter().filter(|name| !there.contains_key(*name)) {
                fault(faults, &path.field(name), "is required");
            }
            for (name, value) in there {
                if let Some(field) = fields.get(name) {
                    check(field, patterns, value, &path.field(name), faults);
                }
            }
        }
        (Kind::Map { values, most }, Value::Object(there)) => {
            limit(faults, path, there.len(), None, *most, "entries");
            there.iter().for_each(|(name, value)| check(values, patterns, value, &path.field(name), faults));
        }
        (Kind::List { items, least, most, keys, set }, Value::Array(there)) => {
            limit(faults, path, there.len(), *least, *most, "items");
            there.iter().enumerate().for_each(|(at, value)| check(items, patterns, value, &path.item(at), faults));
            if *set || !keys.is_empty() {
                doubled(keys, there, path, faults);
            }
        }
        (Kind::Text { least, most, pattern }, Value::String(text)) => {
            limit(faults, path, text.chars().count(), *least, *most, "characters");
            let fits = |pattern: &String| patterns.get(pattern).is_none_or(|pattern| pattern.is_match(text));
            if !pattern.as_ref().is_none_or(fits) {
                let pattern = pattern.as_deref().unwrap_or_default();
                fault(faults, path, &format!("does not match the pattern {pattern}"));
            }
        }
        (Kind::Integer { least, most, narrow }, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().and_then(whole));
            integer(faults, path, whole, *least, *most, *narrow);
        }
        (Kind::Number, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::NumberOrText, Value::String(_)) => {
        }
        (Kind::NumberOrText, Value::Number(number)) if number.as_f64().and_then(whole).is_some() => {}
        (Kind::Anything { object }, value) if !object || value.is_object() => {}
        (kind, value) => fault(faults, path, &format!("is of the wrong type: {}, not {}", word(value), kind.word())),
    }
}

/// The name must be one that the API server can store an object under.
pub(super) fn check_name(object: &Value, faults: &mut Vec<Fault>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let part = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        edge(part.as_bytes().first()) && edge(part.as_bytes().last()) && part.bytes().all(inner)
    };
    if name.len() > 253 || !name.split('.').all(part) {
        fault(faults, &Path::default().field("metadata").field("name"), "is not a DNS name");
    }
}

fn integer(
    faults: &mut Vec<Fault>,
    path: &Path,
    number: Option<i64>,
    least: Option<f64>,
    most: Option<f64>,
    narrow: bool,
) {
    let Some(number) = number else { return fault(faults, path, "is no whole number of 64 bits") };
    #[expect(clippy::cast_precision_loss, reason = "limits are small; a number near them is exact")]
    let float = number as f64;
    if narrow && i32::try_from(number).is_err() {
        fault(faults, path, "does not fit into 32 bits");
    }
    if let Some(least) = least.filter(|least| float < *least) {
        fault(faults, path, &format!("is below the minimum of {least}"));
    }
    if let Some(most) = most.filter(|most| float > *most) {
        fault(faults, path, &format!("is above the maximum of {most}"));
    }
}

fn limit(faults: &mut Vec<Fault>, path: &Path, count: usize, least: Option<usize>, most: Option<usize>, what: &str) {
    if let Some(least) = least.filter(|least| count < *least) {
        fault(faults, path, &format!("has too few {what}: {count}, and at least {least} are needed"));
    }
    if let Some(most) = most.filter(|most| count > *most) {
        fault(faults, path, &format!("has too many {what}: {count}, and at most {most} may be"));
    }
}

fn doubled(keys: &[String], items: &[Value], path: &Path, faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let key = match keys {
            [] => item.to_string(),
            keys => keys.iter().map(|key| item.get(key).map(Value::to_string).unwrap_or_default() + "\n").collect(),
        };
        if !seen.insert(key) {
            fault(faults, &path.item(at), "is there twice");
        }
    }
}

/// What kind of value it is, for people.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn names(all: impl Iterator<Item = impl ToString>) -> String {
    all.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn fault(faults: &mut Vec<Fault>, path: &Path, message: &str) {
    faults.push(Fault { path: path.to_string(), message: message.to_owned() });
}
