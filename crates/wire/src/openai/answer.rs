//! Plain answers, as far as they are judged on their way through.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// Why a body cannot be a plain answer, if it cannot: it begins as a JSON object but is not just one and whole, it is a page, or it
/// is an object without the member `holds`, which its clients' SDKs take for granted. `choices` are not to be empty, either: the first is read
/// unasked. A mark of byte order before it is let pass, as clients do.
#[must_use]
pub fn flaw(body: &[u8], holds: Option<&str>) -> Option<&'static str> {
    const HALF: &str = "it is no whole JSON object";
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    match body.first() {
        Some(b'{') => {
            let text = simdutf8::basic::from_utf8(body).ok();
            let Some(members) = text.and_then(|text| serde_json::from_str::<HashMap<String, &RawValue>>(text).ok())
            else {
                return Some(HALF);
            };
            let member = holds.map(|name| (name, members.get(name).map(|raw| raw.get())));
            match member {
                Some((_, None | Some("null"))) => Some("it holds no answer"),
                Some(("choices", Some(list))) if serde_json::from_str(list).is_ok_and(|[]: [&RawValue; 0]| true) => {
                    Some("it holds no choices")
                }
                _ => None,
            }
        }
        Some(b'<') => Some(HALF),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_has_a_flaw() {
        let (half, none, empty) =
            (Some("it is no whole JSON object"), Some("it holds no answer"), Some("it holds no choices"));
        let cases = [
            (r#"{"choices":[{}]}"#, None, None),
            ("\u{feff} {\"a\\u0000\":{},\"choices\" : [1]} \n", None, None),
            ("{}", none, None),
            (r#"{"choices":null}"#, none, None),
            (r#"{"choices":[ ]}"#, empty, None),
            (r#"{"id":{"choices":[1]}}"#, none, None),
            ("text", None, None),
            ("", None, None),
            (r#"{"choices":["#, half, half),
            (r#"{"choices":[1]}{"choices":[1]}"#, half, half),
            ("{\"choices\":[1]} text", half, half),
            (" <html>", half, half),
        ];
        for (body, holding, at_all) in cases {
            assert_eq!(flaw(body.as_bytes(), Some("choices")), holding, "{body}");
            assert_eq!(flaw(body.as_bytes(), None), at_all, "{body}");
        }
        assert_eq!(flaw(b"{\"choices\":\"\xff\"}", None), half, "no UTF-8");
        assert_eq!(flaw(br#"{"content":[]}"#, Some("content")), None, "nothing to say is an answer there");
    }
}
