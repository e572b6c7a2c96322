//! Makes up a value that fits a JSON schema.

use serde_json::{Map, Value, json};

/// How deep references and nesting are followed.
const DEEPEST: u32 = 24;

/// A value that fits `schema`, as far as types, enums, constants, required fields, lengths and references say.
pub(super) fn value(schema: &Value) -> Value {
    made(schema, schema, 0)
}

fn made(schema: &Value, root: &Value, depth: u32) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| made(target, root, depth + 1));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(word).and_then(Value::as_array).and_then(|all| all.first()) {
            return made(first, root, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().find_map(Value::as_str),
        Some(kind) => kind.as_str(),
        None => schema.get("properties").map(|_| "object"),
    };
    match kind {
        Some("object") => object(schema, root, depth),
        Some("array") => array(schema, root, depth),
        Some("integer") => schema.get("minimum").filter(|n| n.is_i64()).cloned().unwrap_or_else(|| json!(7)),
        Some("number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1.5)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => text(schema),
    }
}

/// Strict schemas require every field; others get those that they require, or all if they require none.
fn object(schema: &Value, root: &Value, depth: u32) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let wanted = |name: &str| required.is_none_or(|required| required.iter().any(|known| known == name));
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let fields = properties.filter(|(name, _)| wanted(name));
    let fields: Map<String, Value> =
        fields.map(|(name, schema)| (name.clone(), made(schema, root, depth + 1))).collect();
    Value::Object(fields)
}

fn array(schema: &Value, root: &Value, depth: u32) -> Value {
    let items = schema.get("items").map_or(Value::Null, |items| made(items, root, depth + 1));
    let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(64);
    Value::Array((0..count).map(|_| items.clone()).collect())
}

fn text(schema: &Value) -> Value {
    match schema.get("format").and_then(Value::as_str) {
        Some("date") => json!("2026-01-31"),
        Some("date-time") => json!("2026-01-31T12:00:00Z"),
        Some("email") => json!("simulated@example.com"),
        Some("uuid") => json!("00000000-0000-4000-8000-000000000000"),
        _ => json!("simulated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_schemas() {
        for (schema, expected) in [
            (json!({"type": "object"}), json!({})),
            (
                json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}),
                json!({"city": "simulated", "days": 7}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"enum": ["x"]}}, "required": ["b"]}),
                json!({"b": "x"}),
            ),
            (json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}), json!([true, true])),
            (json!({"anyOf": [{"type": "number"}, {"type": "null"}]}), json!(1.5)),
            (json!({"type": ["string", "null"], "format": "date"}), json!("2026-01-31")),
            (json!({"$ref": "#/$defs/N", "$defs": {"N": {"const": 3}}}), json!(3)),
        ] {
            assert_eq!(value(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_holds_itself_has_an_end() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(value(&schema).to_string().len() < 1000);
    }
}
