//! A reference page for a kind, from the descriptions, defaults and rules in its schema.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

use crate::Outcome;

/// The page, as Markdown: a section for the spec and one for the status, a table row for each field, then the rules.
pub(super) fn page(crd: &CustomResourceDefinition) -> Outcome<String> {
    let names = &crd.spec.names;
    let version = crd.spec.versions.first().ok_or("a definition without versions")?;
    let schema =
        version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()).ok_or("a definition without a schema")?;
    let mut page =
        format!("<!-- Made by `cargo xtask generate` from crates/api. Do not edit. -->\n\n# {}\n\n", names.kind);
    writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default())?;
    let short = names.short_names.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    writeln!(
        page,
        "`{}.{}`, version `{}`, short name `{short}`, {}.",
        names.plural, crd.spec.group, version.name, crd.spec.scope
    )?;
    for part in ["spec", "status"] {
        let Some(props) = schema.properties.as_ref().and_then(|p| p.get(part)) else { continue };
        let mut walk = Walk::default();
        walk.fields(part, props);
        write!(page, "\n## {part}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{}", walk.rows)?;
        if !walk.rules.is_empty() {
            write!(page, "\nRefused at `kubectl apply`:\n\n{}", walk.rules)?;
        }
    }
    let mut whole = String::new();
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        writeln!(whole, "- {}", rule.message.as_deref().unwrap_or(&rule.rule))?;
    }
    if !whole.is_empty() {
        write!(page, "\n## Names\n\n{whole}")?;
    }
    Ok(page)
}

#[derive(Default)]
struct Walk {
    rows: String,
    rules: String,
}

impl Walk {
    fn fields(&mut self, path: &str, schema: &JSONSchemaProps) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            self.rules += &format!("- {}\n", rule.message.as_deref().unwrap_or(&rule.rule));
        }
        let required = schema.required.clone().unwrap_or_default();
        for (name, field) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            let default = field.default.as_ref().map(|d| format!("`{}`", d.0)).unwrap_or_default();
            let must = if required.contains(name) { "required" } else { default.as_str() };
            let meaning = field.description.as_deref().unwrap_or_default().replace("\n\n", "\n");
            let meaning = meaning.replace('\n', "<br>").replace('|', "\\|");
            self.rows += &format!("| `{path}` | {} | {must} | {meaning}{} |\n", kind_of(field), bounds(field));
            self.below(&path, field);
        }
    }

    fn below(&mut self, path: &str, field: &JSONSchemaProps) {
        match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(item)) if item.properties.is_some() => {
                if !path.ends_with("conditions") {
                    self.fields(&format!("{path}[]"), item);
                }
                for rule in field.x_kubernetes_validations.iter().flatten() {
                    self.rules += &format!("- {}\n", rule.message.as_deref().unwrap_or(&rule.rule));
                }
            }
            _ => self.fields(path, field),
        }
    }
}

fn kind_of(field: &JSONSchemaProps) -> String {
    let own = field.type_.as_deref().unwrap_or("any");
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => format!("list of {}", item.type_.as_deref().unwrap_or("any")),
        _ => own.to_owned(),
    }
}

fn bounds(field: &JSONSchemaProps) -> String {
    match (field.minimum, field.maximum) {
        (Some(least), Some(most)) => format!(" From {least} to {most}."),
        (Some(least), None) => format!(" At least {least}."),
        (None, Some(most)) => format!(" At most {most}."),
        (None, None) => String::new(),
    }
}
