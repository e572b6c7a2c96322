//! Makes the descriptions in a definition read well in `kubectl explain`: it keeps their line breaks, which in the sources
//! stand where a line of Rust was full, and it shows no defaults.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// The definition with descriptions whose lines are paragraphs or entries of lists.
pub(super) fn reflowed(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    changed(crd, |schema| {
        walk(schema, &|schema| schema.description = schema.description.as_deref().map(paragraphs));
    })
}

/// The definition with descriptions that also tell the default of what people write.
pub(super) fn with_defaults(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    changed(crd, |schema| {
        if let Some(spec) = schema.properties.as_mut().and_then(|properties| properties.get_mut("spec")) {
            walk(spec, &tell_default);
        }
    })
}

fn tell_default(schema: &mut JSONSchemaProps) {
    let Some(default) = schema.default.as_ref().and_then(|default| plain(&default.0)) else { return };
    if let Some(text) = schema.description.as_mut().filter(|text| !text.contains("Default")) {
        *text += &format!(" Default: {default}.");
    }
}

/// The definition with a change of the schema of each of its versions.
fn changed(crd: &CustomResourceDefinition, change: impl Fn(&mut JSONSchemaProps)) -> CustomResourceDefinition {
    let mut crd = crd.clone();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            change(schema);
        }
    }
    crd
}

fn walk(schema: &mut JSONSchemaProps, change: &impl Fn(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        walk(property, change);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(entry)) = &mut schema.items {
        walk(entry, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        walk(value, change);
    }
}

/// A default that fits into a sentence.
fn plain(default: &Value) -> Option<String> {
    match default {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// Joins lines that belong together: all but empty ones and those that begin an entry of a list.
fn paragraphs(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        let begins = line.is_empty() || line.starts_with("* ") || line.starts_with("- ");
        match lines.last_mut().filter(|_| open && !begins) {
            Some(last) => {
                last.push(' ');
                last.push_str(line);
            }
            None => lines.push(line.to_owned()),
        }
        open = !line.is_empty();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_paragraphs() {
        let table = [
            ("one\ntwo", "one two"),
            ("one\n\ntwo\nthree", "one\n\ntwo three"),
            ("kinds:\n\n* a: the\n  first;\n* b.\n\nend", "kinds:\n\n* a: the first;\n* b.\n\nend"),
            ("", ""),
        ];
        for (text, want) in table {
            assert_eq!(paragraphs(text), want, "{text:?}");
        }
    }

    #[test]
    fn every_default_that_fits_is_told() {
        let pools = api::all_crds().remove(0);
        let described = serde_json::to_value(with_defaults(&reflowed(&pools))).unwrap();
        let spec = &described["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let drain = spec["drain"]["properties"]["timeout"]["description"].as_str().unwrap();
        assert!(drain.ends_with("Default: 2m."), "{drain}");
        let told = spec["model"]["properties"]["servedNames"]["description"].as_str().unwrap();
        assert_eq!(told.matches("Default").count(), 1, "{told}");
    }
}
