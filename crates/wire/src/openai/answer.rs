//! Plain answers, as far as they are judged on their way through.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// An object's members.
#[derive(Deserialize)]
#[serde(transparent)]
struct Members<'a>(#[serde(borrow)] HashMap<Cow<'a, str>, &'a RawValue>);

/// Whether a body is a JSON object with a member of this name at its top, which is not null; `None` when it is no object. An answer
/// of no choices is none; an answer of no other things may be meant. A mark of byte order before the object is let pass, as clients do.
#[must_use]
pub fn has_member(body: &[u8], name: &str) -> Option<bool> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    let Some(value) = members.0.get(name).map(|value| value.get()) else { return Some(false) };
    let empty = value.strip_prefix('[').is_some_and(|items| items.trim_start() == "]");
    Some(value != "null" && !(empty && name == "choices"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_for_members_at_the_top_of_whole_objects() {
        let cases = [
            (r#"{"choices":[{}]}"#, Some(true)),
            ("\u{feff} {\"a\\u0000\":{},\"choices\" : [1]} \n", Some(true)),
            (r#"{"\u0063hoices":[0]}"#, Some(true)),
            (r#"{"choices":[ ]}"#, Some(false)),
            (r#"{"choices":null}"#, Some(false)),
            (r#"{"a":{"choices":[0]}}"#, Some(false)),
            ("{}", Some(false)),
            (r#"{"choices":["#, None),
            (r#"{"choices":[]}{"choices":[]}"#, None),
            (r#"["choices"]"#, None),
            (r#""choices""#, None),
            ("null", None),
            ("<html>", None),
            ("", None),
        ];
        for (body, want) in cases {
            assert_eq!(has_member(body.as_bytes(), "choices"), want, "{body}");
        }
        assert_eq!(has_member(b"{\"content\":[]}", "content"), Some(true), "a model may say nothing");
        assert_eq!(has_member(b"{\"choices\":\"\xff\"}", "choices"), None, "no UTF-8");
    }
}
