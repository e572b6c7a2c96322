//! Plain answers, as far as they are judged on their way through.

use std::collections::HashMap;

use serde::de::IgnoredAny;

/// Whether a body begins as a JSON object, but is not just one and whole; or begins as a page. A mark of byte order before it is let
/// pass, as clients do.
#[must_use]
pub fn is_broken(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    match body.first() {
        Some(b'{') => {
            let whole = |text| serde_json::from_str::<HashMap<String, IgnoredAny>>(text).is_ok();
            !simdutf8::basic::from_utf8(body).is_ok_and(whole)
        }
        first => first == Some(&b'<'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_pages_are_broken() {
        let cases = [
            (r#"{"choices":[{}]}"#, false),
            ("\u{feff} {\"a\\u0000\":{},\"choices\" : [1]} \n", false),
            ("{}", false),
            ("text", false),
            ("", false),
            (r#"{"choices":["#, true),
            (r#"{"choices":[]}{"choices":[]}"#, true),
            ("{\"choices\":[]} text", true),
            (" <html>", true),
        ];
        for (body, want) in cases {
            assert_eq!(is_broken(body.as_bytes()), want, "{body}");
        }
        assert!(is_broken(b"{\"choices\":\"\xff\"}"), "no UTF-8");
    }
}
