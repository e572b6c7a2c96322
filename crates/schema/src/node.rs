//! The part of a CRD's schema that decides what is valid, as a tree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One place of a schema.
#[derive(Clone, Debug)]
pub struct Node {
    /// What may stand here.
    pub kind: Kind,
    /// Whether `null` may stand here.
    pub nullable: bool,
    /// What stands here when nothing is said.
    pub default: Option<Value>,
    /// The only values there are, if they are listed.
    pub enumeration: Vec<Value>,
    /// Texts of the CEL rules of this place.
    pub rules: Vec<String>,
}

/// The type of a value, with its limits.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Fields with names of their own.
    Object {
        /// By name.
        fields: BTreeMap<String, Node>,
        /// Names of those that must be there.
        required: BTreeSet<String>,
    },
    /// Values under names that the user chooses.
    Map {
        /// What each value is.
        values: Box<Node>,
        /// Most entries.
        most: Option<usize>,
    },
    /// A list.
    List {
        /// What each item is.
        items: Box<Node>,
        /// Fewest items.
        least: Option<usize>,
        /// Most items.
        most: Option<usize>,
        /// The fields that tell items apart; empty when they are not told apart.
        keys: Vec<String>,
        /// Whether equal items are refused.
        set: bool,
    },
    /// A text; lengths are in characters.
    Text {
        /// Shortest.
        least: Option<usize>,
        /// Longest.
        most: Option<usize>,
        /// Regular expression that must be found in it.
        pattern: Option<String>,
    },
    /// A whole number.
    Integer {
        /// Smallest.
        least: Option<f64>,
        /// Largest.
        most: Option<f64>,
        /// Whether it must fit into 32 bits.
        narrow: bool,
    },
    /// A number that may have a fraction.
    Number,
    /// True or false.
    Boolean,
    /// A whole number or a text.
    NumberOrText,
    /// Whatever the user likes: the schema says nothing of what stands here, except perhaps that it is an object.
    Anything {
        /// Whether it must be an object.
        object: bool,
    },
}

impl Node {
    /// Reads a place of an OpenAPI schema and all that is below it.
    #[must_use]
    pub fn read(schema: &Value) -> Self {
        let rules = list(&schema["x-kubernetes-validations"]);
        Self {
            kind: Kind::read(schema),
            nullable: schema["nullable"] == true,
            default: schema.get("default").cloned(),
            enumeration: list(&schema["enum"]).to_vec(),
            rules: rules.iter().filter_map(|rule| Some(rule["rule"].as_str()?.to_owned())).collect(),
        }
    }

    /// The place of a field below this one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object { fields, .. } => fields.get(name),
            Kind::Map { values, .. } => Some(values),
            _ => None,
        }
    }

    /// Calls `each` with every place below this one that has no fields of its own, and its path in the schema, such as
    /// `engine.env[].name`.
    pub fn leaves<'a>(&'a self, path: &str, each: &mut dyn FnMut(String, &'a Self)) {
        match &self.kind {
            Kind::Object { fields, .. } => {
                let dot = if path.is_empty() { "" } else { "." };
                for (name, field) in fields {
                    field.leaves(&format!("{path}{dot}{name}"), each);
                }
            }
            Kind::Map { values, .. } => values.leaves(&format!("{path}{{}}"), each),
            Kind::List { items, .. } => items.leaves(&format!("{path}[]"), each),
            _ => each(path.to_owned(), self),
        }
    }
}

impl Kind {
    /// What it is, for people.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Object { .. } | Self::Map { .. } | Self::Anything { .. } => "an object",
            Self::List { .. } => "a list",
            Self::Text { .. } => "a text",
            Self::Integer { .. } => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::NumberOrText => "a whole number or a text",
        }
    }

    fn read(schema: &Value) -> Self {
        let size = |name: &str| schema[name].as_u64().and_then(|size| usize::try_from(size).ok());
        if schema["x-kubernetes-int-or-string"] == true {
            return Self::NumberOrText;
        }
        match schema["type"].as_str() {
            Some("object") if schema["x-kubernetes-preserve-unknown-fields"] == true => Self::Anything { object: true },
            Some("object") => match &schema["additionalProperties"] {
                Value::Object(_) => {
                    let values = Box::new(Node::read(&schema["additionalProperties"]));
                    Self::Map { values, most: size("maxProperties") }
                }
                _ => Self::Object {
                    fields: schema["properties"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, field)| (name.clone(), Node::read(field)))
                        .collect(),
                    required: texts(&schema["required"]).collect(),
                },
            },
            Some("array") => Self::List {
                items: Box::new(Node::read(&schema["items"])),
                least: size("minItems"),
                most: size("maxItems"),
                keys: texts(&schema["x-kubernetes-list-map-keys"]).collect(),
                set: schema["x-kubernetes-list-type"] == "set" || schema["uniqueItems"] == true,
            },
            Some("string") => Self::Text {
                least: size("minLength"),
                most: size("maxLength"),
                pattern: schema["pattern"].as_str().map(str::to_owned),
            },
            Some("integer") => Self::Integer {
                least: schema["minimum"].as_f64(),
                most: schema["maximum"].as_f64(),
                narrow: schema["format"] == "int32",
            },
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            _ => Self::Anything { object: false },
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    list(value).iter().filter_map(|text| text.as_str().map(str::to_owned))
}
