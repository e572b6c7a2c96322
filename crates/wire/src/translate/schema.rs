//! Which schemas OpenAI holds a model to: those that require all their properties and allow no others.

use serde_json::Value;

use super::{Field, Untranslatable, Way};
use crate::Dialect;
use crate::unified::{Format, Json, Request, Tool};

/// Whether a schema is one that OpenAI takes as strict, as far as its objects go.
fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let properties = members.get("properties").and_then(Value::as_object);
            let object = properties.is_some() || members.get("type").is_some_and(|kind| kind == "object");
            let required = members.get("required").and_then(Value::as_array);
            let requires = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
            let closed = members.get("additionalProperties") == Some(&Value::Bool(false))
                && properties.is_none_or(|properties| properties.keys().all(|name| requires(name)));
            // What stands in these is data or names, not schemas.
            let inner = |(key, value): (&String, &Value)| match key.as_str() {
                "enum" | "const" | "default" | "examples" | "required" => true,
                "properties" | "$defs" | "definitions" => {
                    value.as_object().is_none_or(|named| named.values().all(is_closed))
                }
                _ => is_closed(value),
            };
            (!object || closed) && members.iter().all(inner)
        }
        Value::Array(items) => items.iter().all(is_closed),
        _ => true,
    }
}

fn closed(schema: Option<&Json>) -> bool {
    schema.and_then(|Json(schema)| serde_json::from_str(schema).ok()).is_some_and(|schema: Value| is_closed(&schema))
}

impl Way<'_> {
    /// Whether the target is OpenAI itself, and the client one of Anthropic's, which takes more schemas as strict.
    fn is_stricter(&self) -> bool {
        self.from.dialect() == Dialect::Anthropic && !self.target.compatible
    }

    /// Refuses a form of the answer that the target would refuse.
    pub(crate) fn holds_to(&self, request: &Request) -> Result<(), Untranslatable> {
        match &request.format {
            Some(Format::Schema { schema, strict: Some(true), .. }) if self.is_stricter() && !closed(Some(schema)) => {
                let why =
                    "the target holds to schemas only that require all properties of each object and allow no others";
                Err(self.cannot(Field::Format, why))
            }
            _ => Ok(()),
        }
    }

    /// Whether calls of a tool are to be held to its schema, where the target takes it so.
    pub(crate) fn strict(&self, tool: &Tool) -> Option<bool> {
        let loosened = tool.strict == Some(true) && self.is_stricter() && !closed(tool.schema.as_ref());
        if loosened { Some(false) } else { tool.strict }
    }

    /// Notes that calls are not held to their schemas.
    pub(crate) fn note_strict(&mut self, request: &Request) {
        let loosened = request.tools.iter().any(|tool| self.strict(tool) != tool.strict);
        self.give_up("strict", loosened);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_closed() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        let mut open = closed.clone();
        open["additionalProperties"] = json!(true);
        let mut optional = closed.clone();
        optional["properties"]["b"] = json!({"type": "string"});
        for (schema, want) in [
            (closed.clone(), true),
            (open.clone(), false),
            (optional.clone(), false),
            (json!({"type": "object", "properties": {}}), false),
            (json!({"type": "object", "properties": {}, "additionalProperties": false}), true),
            (json!({"type": "array", "items": closed}), true),
            (json!({"type": "array", "items": optional}), false),
            (json!({"anyOf": [closed, {"type": "null"}]}), true),
            (json!({"anyOf": [closed, open]}), false),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": optional}}), false),
            // A property by the name of a keyword, and data.
            (
                json!({"type": "object", "properties": {"properties": {"type": "string"}}, "required": ["properties"], "additionalProperties": false}),
                true,
            ),
            (json!({"enum": [{"type": "object"}]}), true),
        ] {
            assert_eq!(is_closed(&schema), want, "{schema}");
        }
    }
}
