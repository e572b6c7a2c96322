//! Parts of a request that only some rules ask for: the names of its tools, and what was said last.
//!
//! They are read from the spans that the one pass over the body noted, and only when they are asked for. What has
//! another shape than expected gives less, never an error: the engine judges it.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::Reader;

/// Most tools whose names are read.
const MOST_TOOLS: usize = 128;
/// Bytes at the beginning of a text, and at its end, that are always given: of the most costly escapes still 2,730 characters each.
const EDGE: usize = 16 * 1024;

#[derive(Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Function>,
    r#type: Option<String>,
    /// As Bedrock's Converse has it: the client's own tools, and those of the model's maker.
    #[serde(rename = "toolSpec", alias = "systemTool")]
    tool_spec: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
}

/// The names in a list of tools or functions. A tool without a name, as providers' own have it, is called by its type.
#[must_use]
pub fn tool_names<'a>(tools: &[u8]) -> Vec<Cow<'a, str>> {
    let tools: Vec<&RawValue> = serde_json::from_slice(tools).unwrap_or_default();
    let name = |tool: &&RawValue| {
        let tool: Tool = serde_json::from_str(tool.get()).ok()?;
        let within = tool.function.or(tool.tool_spec);
        tool.name.or_else(|| within.and_then(|function| function.name)).or(tool.r#type)
    };
    tools.iter().take(MOST_TOOLS).filter_map(name).map(Cow::Owned).collect()
}

/// What the user said last, in a prompt, in `input` or in a list of messages. A long text is given without its middle: who asks
/// wants to know what it is about.
#[must_use]
pub fn last_words(prompt: &[u8]) -> Cow<'_, str> {
    let Some(items) = items(prompt) else { return words(prompt) };
    let mut newest_first = items.into_iter().rev().map(|item| &prompt[item]).filter(by_user).map(words);
    // A user's message can hold nothing but the result of a tool.
    newest_first.find(|words| !words.trim().is_empty()).unwrap_or_default()
}

/// What an object among the messages, or among the parts of one, says of itself.
#[derive(Default)]
struct Message<'a> {
    role: Option<Cow<'a, str>>,
    content: Option<&'a [u8]>,
    /// What a part of a message, and some items, hold in place of content.
    text: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    fn of(json: &'a [u8]) -> Self {
        let (mut message, mut reader) = (Self::default(), Reader::new(json));
        if reader.peek() != Some(b'{') {
            return message;
        }
        let read = reader.object(|reader, key, _| {
            let start = reader.at;
            if key == "role" && reader.peek() == Some(b'"') {
                let text = reader.text()?;
                message.role = reader.unescaped(&text);
                return Ok(());
            }
            reader.skip(1)?;
            let value = Some(&json[start..reader.at]).filter(|value| *value != b"null");
            match key {
                "content" => message.content = value,
                "text" => message.text = value,
                _ => {}
            }
            Ok(())
        });
        if read.is_ok() { message } else { Self::default() }
    }
}

/// Whether the user said it: a message of the user, or what has no role.
fn by_user(json: &&[u8]) -> bool {
    Message::of(json).role.is_none_or(|role| role == "user")
}

/// Where the values of a list stand; `None` of what is no list.
fn items(json: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut reader = Reader::new(json);
    let mut items = Vec::new();
    if reader.peek() != Some(b'[') {
        return None;
    }
    reader.list(0, |item| items.push(item)).ok()?;
    Some(items)
}

/// The words of a text, of a message or of its parts.
fn words(json: &[u8]) -> Cow<'_, str> {
    match json.first() {
        Some(b'"') => text(json),
        Some(b'[') => {
            let parts = items(json).unwrap_or_default().into_iter().map(|part| part_words(&json[part]));
            let said: Vec<Cow<'_, str>> = parts.filter(|words| !words.is_empty()).collect();
            match <[_; 1]>::try_from(said) {
                Ok([one]) => one,
                Err(several) => several.join("\n").into(),
            }
        }
        Some(b'{') => {
            let message = Message::of(json);
            message.content.or(message.text).map(words).unwrap_or_default()
        }
        _ => Cow::default(),
    }
}

/// The words of a part of a message. What a tool gave back is not the user's.
fn part_words(json: &[u8]) -> Cow<'_, str> {
    match json.first() {
        Some(b'"') => text(json),
        Some(b'{') => Message::of(json).text.map(words).unwrap_or_default(),
        _ => Cow::default(),
    }
}

/// A text without its quotes and escapes, and without its middle if it is long.
fn text(json: &[u8]) -> Cow<'_, str> {
    let inside = json.get(1..json.len() - 1).unwrap_or_default();
    let edges = (inside.len() > 2 * EDGE)
        .then(|| Some((apart(inside, EDGE..2 * EDGE)?, apart(inside, inside.len() - EDGE..inside.len())?)))
        .flatten();
    match edges {
        None => unescaped(inside),
        Some((start, end)) => [unescaped(&inside[..start]), unescaped(&inside[end..])].join("\n").into(),
    }
}

/// A place in a text, as it stands in JSON, where neither a character nor an escape is cut in two.
fn apart(inside: &[u8], mut within: Range<usize>) -> Option<usize> {
    /// Bytes of the longest escape, half of a pair of which would stand for nothing.
    const LONGEST_ESCAPE: usize = 12;
    within.find(|&at| inside[at].is_ascii() && !inside[at - LONGEST_ESCAPE..at].contains(&b'\\'))
}

/// Text without its escapes.
fn unescaped(inside: &[u8]) -> Cow<'_, str> {
    if !inside.contains(&b'\\') {
        return std::str::from_utf8(inside).map(Cow::Borrowed).unwrap_or_default();
    }
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).unwrap_or_default().into()
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
            (
                r#"[{"toolSpec":{"name":"e","inputSchema":{}}},{"cachePoint":{"type":"default"}},{"systemTool":{"name":"f"}}]"#,
                "e f",
            ),
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
    fn a_long_text_is_given_without_its_middle() {
        for filler in ["word ", "\\n", "é", "\\u00e9", "\\ud83d\\ude00", "x\\\\\\\\\\\\\\\\\\\\", "\\\""] {
            for shift in 0..13 {
                let long = "a".repeat(shift) + &filler.repeat(100_000 / filler.len());
                let body = format!(r#"[{{"role":"user","content":[{{"type":"text","text":"begin {long} end"}}]}}]"#);
                let said = last_words(body.as_bytes());
                assert!(said.starts_with("begin") && said.ends_with("end"), "{filler} {shift}");
                let whole = serde_json::from_str::<String>(&format!("\"{long}\"")).unwrap();
                let looked_at: String = whole.chars().take(1500).collect();
                assert!(said[6..].starts_with(&looked_at), "{filler} {shift}");
            }
        }
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
