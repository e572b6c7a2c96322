//! Parts of a request that only some rules ask for: the names of its tools, and what was said last.
//!
//! They are read from the spans that the one pass over the body noted, and only when they are asked for. What has
//! another shape than expected gives less, never an error: the engine judges it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Most tools whose names are read.
const MOST_TOOLS: usize = 128;

#[derive(Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Function>,
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    /// What a part of a message, and some items, hold in place of content.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// The names in a list of tools or functions. A tool without a name, as providers' own have it, is called by its type.
#[must_use]
pub fn tool_names<'a>(tools: &[u8]) -> Vec<Cow<'a, str>> {
    let tools: Vec<&RawValue> = serde_json::from_slice(tools).unwrap_or_default();
    let name = |tool: &&RawValue| {
        let tool: Tool = serde_json::from_str(tool.get()).ok()?;
        tool.name.or_else(|| tool.function.and_then(|function| function.name)).or(tool.r#type)
    };
    tools.iter().take(MOST_TOOLS).filter_map(name).map(Cow::Owned).collect()
}

/// What the user said last, in a prompt, in `input` or in a list of messages.
#[must_use]
pub fn last_words(prompt: &[u8]) -> Cow<'_, str> {
    let Ok(prompt) = serde_json::from_slice::<&RawValue>(prompt) else { return Cow::default() };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(prompt.get()) else { return words(prompt) };
    let mut newest_first = items.into_iter().rev().filter(|item| by_user(item)).map(words);
    // A user's message can hold nothing but the result of a tool.
    newest_first.find(|words| !words.trim().is_empty()).unwrap_or_default()
}

/// Whether the user said it: a message of the user, or what has no role.
fn by_user(item: &RawValue) -> bool {
    let message = serde_json::from_str::<Message<'_>>(item.get());
    message.map_or(true, |message| message.role.is_none_or(|role| role == "user"))
}

/// The words of a text, of a message or of its parts.
fn words(value: &RawValue) -> Cow<'_, str> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<&str>(json) {
            Ok(plain) => Cow::Borrowed(plain),
            Err(_) => serde_json::from_str::<String>(json).unwrap_or_default().into(),
        },
        Some(b'[') => {
            let parts: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            let said: Vec<Cow<'_, str>> = parts.into_iter().map(part).filter(|words| !words.is_empty()).collect();
            match <[_; 1]>::try_from(said) {
                Ok([one]) => one,
                Err(several) => several.join("\n").into(),
            }
        }
        Some(b'{') => match serde_json::from_str::<Message<'_>>(json) {
            Ok(Message { content: Some(content), .. }) => words(content),
            Ok(Message { text: Some(text), .. }) => words(text),
            _ => Cow::default(),
        },
        _ => Cow::default(),
    }
}

/// The words of a part of a message. What a tool gave back is not the user's.
fn part(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<Message<'_>>(value.get()) {
        Ok(Message { text: Some(text), .. }) => words(text),
        Err(_) if value.get().starts_with('"') => words(value),
        _ => Cow::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_tools() {
        let cases = [
            (r#"[{"type":"function","function":{"name":"a","parameters":{}}},{"type":"function","name":"b"}]"#, "a b"),
            (r#"[{"name":"c","input_schema":{}},{"type":"web_search"},{"x":1},3,"y",null]"#, "c web_search"),
            (r#"[{"name":7},{"name":"d\u0061"}]"#, "da"),
            ("[]", ""),
            ("{}", ""),
            ("null", ""),
        ];
        for (json, want) in cases {
            assert_eq!(tool_names(json.as_bytes()).join(" "), want, "{json}");
        }
        let many = format!("[{}{{}}]", r#"{"name":"x"},"#.repeat(1000));
        assert_eq!(tool_names(many.as_bytes()).len(), MOST_TOOLS);
    }

    #[test]
    fn reads_what_was_said_last() {
        let cases = [
            (r#""just a prompt""#, "just a prompt"),
            (r#"["one","two\nlines"]"#, "two\nlines"),
            ("[1,2,3]", ""),
            (
                r#"[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#,
                "a",
            ),
            (
                r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}},{"type":"text","text":"b"}]}]"#,
                "a\nb",
            ),
            (
                r#"[{"role":"user","content":"ask"},{"role":"user","content":[{"type":"tool_result","content":"noise"}]}]"#,
                "ask",
            ),
            (r#"[{"type":"message","role":"user","content":[{"type":"input_text","text":"q"}]}]"#, "q"),
            (r#"[{"role":"us\u0065r","content":"\u0061b"}]"#, "ab"),
            (r#"[{"role":"user","content":null},{"role":"user"}]"#, ""),
            (r#"[{"role":"user","content":{"text":"odd"}}]"#, "odd"),
            ("[]", ""),
            ("{}", ""),
            ("7", ""),
        ];
        for (json, want) in cases {
            assert_eq!(last_words(json.as_bytes()), want, "{json}");
        }
    }
}
