//! Fills in what was left out.

use serde_json::Value;

use crate::node::{Kind, Node};

/// Fills in defaults at every depth, those of defaults included. A `null` where none may stand is a default asked for, or, if
/// there is none, nothing at all.
pub(super) fn fill(node: &Node, value: &mut Value) {
    match (&node.kind, value) {
        (Kind::Object { fields, .. }, Value::Object(there)) => {
            there.retain(|name, value| {
                let field = fields.get(name);
                !value.is_null() || field.is_none_or(|field| field.nullable || field.default.is_some())
            });
            for (name, field) in fields {
                let Some(default) = &field.default else { continue };
                if there.get(name).is_none_or(|value| value.is_null() && !field.nullable) {
                    there.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in there {
                if let Some(field) = fields.get(name) {
                    fill(field, value);
                }
            }
        }
        (Kind::Map { values, .. }, Value::Object(there)) => {
            there.retain(|_, value| !value.is_null() || values.nullable);
            there.values_mut().for_each(|value| fill(values, value));
        }
        (Kind::List { items, .. }, Value::Array(there)) => there.iter_mut().for_each(|value| fill(items, value)),
        _ => {}
    }
}

/// The value without fields that are `null`: CEL rules do not see them.
pub(super) fn without_nulls(node: &Node, value: &mut Value) {
    match (&node.kind, value) {
        (Kind::Object { fields, .. }, Value::Object(there)) => {
            there.retain(|_, value| !value.is_null());
            for (name, value) in there {
                if let Some(field) = fields.get(name) {
                    without_nulls(field, value);
                }
            }
        }
        (Kind::Map { values, .. }, Value::Object(there)) => there.values_mut().for_each(|it| without_nulls(values, it)),
        (Kind::List { items, .. }, Value::Array(there)) => there.iter_mut().for_each(|it| without_nulls(items, it)),
        _ => {}
    }
}
