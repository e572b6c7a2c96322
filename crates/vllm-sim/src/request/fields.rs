//! The fields of a body, and vLLM's words for those that do not fit.

use serde_json::{Map, Value};

use super::Refusal;

/// Reads a body into its fields.
///
/// # Errors
/// When it is not a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::invalid("missing", "body", "Field required", &Value::Null));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(value @ Value::Null) => Err(Refusal::invalid("missing", "body", "Field required", &value)),
        Ok(value) => {
            let problem = "Input should be a valid dictionary or object to extract fields from";
            Err(Refusal::invalid("model_attributes_type", "body", problem, &value))
        }
        Err(error) => Err(not_json(body, &error)),
    }
}

/// The place is counted as Python counts it, from 0.
fn not_json(body: &[u8], error: &serde_json::Error) -> Refusal {
    let lines_before: usize = body.split_inclusive(|b| *b == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    let (at, problem) = if error.is_eof() {
        (lines_before + error.column(), "Expecting value")
    } else if error.to_string().starts_with("trailing comma") || error.to_string().starts_with("key must be") {
        let problem = "Expecting property name enclosed in double quotes";
        (lines_before + error.column() - 1, problem)
    } else if error.to_string().starts_with("expected ident") {
        // The first letter looked like `null`, `true` or `false`; the value starts there.
        (lines_before + error.column().saturating_sub(2), "Expecting value")
    } else {
        (lines_before + error.column().saturating_sub(1), "Expecting value")
    };
    Refusal {
        status: 400,
        kind: "Bad Request",
        message: format!(
            "1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body.{at}', 'msg': 'JSON decode error', 'input': \
             '<dict of 0 items>', 'ctx': {{'error': '{problem}'}}}}"
        ),
        param: Some(format!("body.{at}")),
    }
}

/// How an offending value is shown: containers by their size, text cut short.
pub(super) fn summary(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.chars().take(200).collect(),
        Value::Array(list) => format!("<list of {} items>", list.len()),
        Value::Object(fields) => format!("<dict of {} items>", fields.len()),
    }
}

/// The fields of a body; one that is null is absent.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let problem = "Input should be a valid string";
                Err(Refusal::invalid("string_type", &format!("body.{name}"), problem, other))
            }
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(other) => {
                let problem = "Input should be a valid dictionary or object to extract fields from";
                Err(Refusal::invalid("model_attributes_type", &format!("body.{name}"), problem, other))
            }
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        flag(self.get(name), &format!("body.{name}"))
    }

    /// A number; a text of digits counts as one.
    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let invalid = |kind, problem| Refusal::invalid(kind, &format!("body.{name}"), problem, value);
        match value {
            Value::Number(number) => Ok(number.as_f64()),
            Value::String(text) => text.trim().parse().map(Some).map_err(|_| {
                invalid("float_parsing", "Input should be a valid number, unable to parse string as a number")
            }),
            _ => Err(invalid("float_type", "Input should be a valid number")),
        }
    }

    /// The refusal of a body that lacks a field; `more` fields were filled in before it was looked at.
    pub(super) fn missing(&self, name: &str, more: usize) -> Refusal {
        Refusal::missing(&[name], self.0.len() + more)
    }

    /// A whole number; a text of digits counts as one.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let invalid = |kind, problem| Refusal::invalid(kind, &format!("body.{name}"), problem, value);
        match value {
            Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| {
                invalid("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }),
            Value::String(text) => text.trim().parse().map(Some).map_err(|_| {
                invalid("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }),
            _ => Err(invalid("int_type", "Input should be a valid integer")),
        }
    }
}

pub(super) fn flag(value: Option<&Value>, at: &str) -> Result<bool, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => {
            let problem = "Input should be a valid boolean, unable to interpret input";
            Err(Refusal::invalid("bool_parsing", at, problem, other))
        }
    }
}
