//! Objects that differ from a valid one in one place.

use std::fmt;

use schema::{Kind, Node, Path, Step};
use serde_json::{Map, Value, json};

use crate::candidates::{self, Candidate};

/// What is done to one place of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This value is put there, with the objects around it made if they are missing.
    Set(Value),
    /// What is there is taken away.
    Remove,
}

/// A change of one or more places.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// What kind of value is tried, for people: `one above the maximum`.
    pub class: String,
    /// The places and what is done to them.
    pub changes: Vec<(Path, Change)>,
}

impl Mutation {
    /// The changes as one text, by which equal mutations of two bases are known.
    #[must_use]
    pub fn changes_text(&self) -> String {
        format!("{:?}", self.changes)
    }

    /// The object after the change, or nothing when the change leaves it as it was.
    #[must_use]
    pub fn apply(&self, base: &Value) -> Option<Value> {
        let mut object = base.clone();
        for (path, change) in &self.changes {
            make(&mut object, &path.0, change)?;
        }
        (object != *base).then_some(object)
    }
}

/// `spec.replicas = 1001 (one above the maximum)`
impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, change) in &self.changes {
            match change {
                Change::Set(value) => write!(f, "{path} = {}, ", short(value))?,
                Change::Remove => write!(f, "{path} removed, ")?,
            }
        }
        write!(f, "{}", self.class)
    }
}

/// The start of a value's JSON form.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// Every change of one place at or below the field `root` of `base`, in an order that is the same at each call.
#[must_use]
pub fn mutations(schema: &Node, base: &Value, root: &str) -> Vec<Mutation> {
    let mut found = Vec::new();
    let path = Path::default().field(root);
    if let Some(node) = schema.field(root) {
        visit(node, &path, path.get(base), &mut vec![&schema.rules], &mut found);
    }
    found
}

/// How many places above one a rule may stand for its words to be tried there: that of a list of objects reaches the fields
/// of its items.
const RULES_REACH: usize = 2;

fn visit<'a>(
    node: &'a Node,
    path: &Path,
    there: Option<&Value>,
    above: &mut Vec<&'a Vec<String>>,
    found: &mut Vec<Mutation>,
) {
    let near = above[above.len().saturating_sub(RULES_REACH)..].iter().copied().flatten().chain(&node.rules);
    let words = candidates::words(near);
    let mut one = |class: &str, change: Change| {
        found.push(Mutation { class: class.to_owned(), changes: vec![(path.clone(), change)] });
    };
    for Candidate { class, value } in candidates::of(node, there, &words) {
        one(class, Change::Set(value));
    }
    if there.is_some() {
        one("taken away", Change::Remove);
    }
    above.push(&node.rules);
    match &node.kind {
        Kind::Object { fields, .. } => {
            for (name, field) in fields {
                visit(field, &path.field(name), there.and_then(|it| it.get(name)), above, found);
            }
        }
        Kind::Map { values, .. } => {
            let entries = there.and_then(Value::as_object);
            for (name, value) in entries.into_iter().flatten() {
                visit(values, &path.field(name), Some(value), above, found);
            }
            if entries.is_none_or(Map::is_empty) {
                visit(values, &path.field("example.com/key"), None, above, found);
            }
        }
        Kind::List { items, .. } => {
            let length = there.and_then(Value::as_array).map_or(0, Vec::len);
            // One item stands for all. The fields of an object that is not there would only miss what is required beside them.
            if length > 0 {
                visit(items, &path.item(0), there.and_then(|it| it.get(0)), above, found);
            }
            if !matches!(items.kind, Kind::Object { .. }) {
                visit(items, &path.item(length), None, above, found);
            }
        }
        _ => {}
    }
    above.pop();
}

/// Makes the change, with the objects and lists around it. Nothing when the way there leads through something else.
fn make(value: &mut Value, path: &[Step], change: &Change) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        if let Change::Set(new) = change {
            *value = new.clone();
        }
        return Some(());
    };
    let last = rest.is_empty() && *change == Change::Remove;
    match step {
        Step::Field(name) => {
            if value.is_null() {
                *value = json!({});
            }
            let fields = value.as_object_mut()?;
            if last {
                fields.remove(name);
                return Some(());
            }
            make(fields.entry(name.clone()).or_insert(Value::Null), rest, change)
        }
        Step::Item(at) => {
            if value.is_null() {
                *value = json!([]);
            }
            let items = value.as_array_mut()?;
            if last {
                (*at < items.len()).then(|| items.remove(*at));
                return Some(());
            }
            if *at == items.len() {
                items.push(Value::Null);
            }
            make(items.get_mut(*at)?, rest, change)
        }
    }
}

#[cfg(test)]
mod tests;
