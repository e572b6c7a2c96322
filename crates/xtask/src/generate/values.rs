//! A chart's values.yaml and the table of its values in docs/install.md, both made from its values.schema.json, so that what
//! Helm checks, what people edit and what they read cannot differ.

use std::fs;

use super::ordered::Ordered;
use crate::Outcome;
use crate::places;

/// Longest line of a comment in a values file.
const WIDTH: usize = 118;

/// The schema of a chart's values.
pub(super) fn schema(chart: &str) -> Outcome<Ordered> {
    let text = fs::read_to_string(places::root().join(format!("charts/{chart}/values.schema.json")))?;
    Ok(serde_json::from_str(&text)?)
}

/// The values file: each value with its default, its meaning above it.
pub(super) fn file(schema: &Ordered) -> Outcome<String> {
    let mut text = String::from("# Made by `cargo xtask generate` from values.schema.json. Do not edit.\n");
    section(schema, "", 0, &mut text)?;
    Ok(text)
}

fn section(schema: &Ordered, path: &str, depth: usize, text: &mut String) -> Outcome {
    for (name, value) in values(schema) {
        let path = format!("{path}{name}");
        if depth == 0 {
            text.push('\n');
        }
        for line in comment(value, &path, WIDTH - 2 * depth)? {
            *text += &format!("{}# {line}\n", "  ".repeat(depth));
        }
        *text += &format!("{}{name}:", "  ".repeat(depth));
        if is_section(value) {
            text.push('\n');
            section(value, &format!("{path}."), depth + 1, text)?;
        } else {
            *text += &default(value, &path)?.block(depth);
        }
    }
    Ok(())
}

/// The rows of a Markdown table, one for each value.
pub(super) fn table(schema: &Ordered) -> Outcome<String> {
    let mut text = String::from("| value | default | meaning |\n| --- | --- | --- |\n");
    rows(schema, "", &mut text)?;
    Ok(text)
}

fn rows(schema: &Ordered, path: &str, text: &mut String) -> Outcome {
    for (name, value) in values(schema) {
        let path = format!("{path}{name}");
        if is_section(value) {
            rows(value, &format!("{path}."), text)?;
            continue;
        }
        let meaning = comment(value, &path, usize::MAX)?.join(" ").replace('|', "\\|");
        *text += &format!("| `{path}` | `{}` | {meaning} |\n", default(value, &path)?.flow());
    }
    Ok(())
}

/// What people set; `global` is Helm's.
fn values(schema: &Ordered) -> impl Iterator<Item = (&str, &Ordered)> {
    let properties = schema.get("properties").map_or(&[][..], Ordered::pairs);
    properties.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| *name != "global")
}

fn is_section(value: &Ordered) -> bool {
    value.get("properties").is_some()
}

fn default<'a>(value: &'a Ordered, path: &str) -> Outcome<&'a Ordered> {
    value.get("default").ok_or_else(|| format!("values.schema.json: {path} has no default").into())
}

/// The meaning of a value in lines of at most `width` characters, and examples, each in a line.
fn comment(value: &Ordered, path: &str, width: usize) -> Outcome<Vec<String>> {
    let meaning = value.text("description");
    if meaning.is_empty() {
        return Err(format!("values.schema.json: {path} has no description").into());
    }
    let mut lines = vec![String::new()];
    for word in meaning.split(' ') {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last.saturating_add(word.len()) >= width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let examples = value.get("examples").map_or(&[][..], Ordered::entries);
    lines.extend(examples.iter().map(|example| format!("Example: `{}`.", example.flow())));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_becomes_a_file_and_a_table() {
        let schema: Ordered = serde_json::from_str(
            r#"{"properties": {
                "global": {"type": "object"},
                "router": {"description": "The router.", "properties": {
                    "replicas": {"description": "How many.", "default": 2, "examples": [3]},
                    "args": {"description": "More.", "default": []}
                }}
            }}"#,
        )
        .unwrap();
        let file = file(&schema).unwrap();
        let (_, body) = file.split_once("\n\n").unwrap();
        let want = "# The router.\nrouter:\n  # How many.\n  # Example: `3`.\n  replicas: 2\n  # More.\n  args: []\n";
        assert_eq!(body, want);
        let rows = table(&schema).unwrap();
        assert!(
            rows.ends_with("| `router.replicas` | `2` | How many. Example: `3`. |\n| `router.args` | `[]` | More. |\n")
        );
    }

    #[test]
    fn what_is_not_explained_is_refused() {
        for (schema, word) in [
            (r#"{"properties": {"a": {"default": 1}}}"#, "a has no description"),
            (r#"{"properties": {"a": {"description": "A."}}}"#, "a has no default"),
        ] {
            let error = file(&serde_json::from_str(schema).unwrap()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
