use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn fields(text: &str) -> (Option<String>, Option<bool>, Option<i64>, Option<i64>) {
    let fields = scan(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
    if let Some(model) = &fields.model {
        assert_eq!(serde_json::from_str::<String>(&text[model.span.clone()]).unwrap(), model.name, "{text}");
    }
    (fields.model.map(|m| m.name.into_owned()), fields.stream, fields.max_tokens, fields.n)
}

#[test]
fn reads_the_routing_fields() {
    let m = |name: &str| Some(name.to_owned());
    let cases = [
        (r#"{"model":"a"}"#, (m("a"), None, None, None)),
        (r#" { "stream" : true , "model" : "a/b" } "#, (m("a/b"), Some(true), None, None)),
        (r#"{"messages":[{"model":"inner","n":7}],"model":"a","stream":false}"#, (m("a"), Some(false), None, None)),
        (r#"{"mod\u0065l":"\u0061\"b"}"#, (m("a\"b"), None, None, None)),
        (r#"{"model":"é😀"}"#, (m("é😀"), None, None, None)),
        (r#"{"max_tokens":5,"n":2}"#, (None, None, Some(5), Some(2))),
        (r#"{"max_completion_tokens":6,"max_tokens":5}"#, (None, None, Some(6), None)),
        (r#"{"max_tokens":5,"max_completion_tokens":6}"#, (None, None, Some(6), None)),
        (r#"{"max_tokens":null,"n":1.5,"stream":"yes","model":7}"#, (None, None, None, None)),
        (r#"{"n":99999999999999999999}"#, (None, None, None, None)),
        ("{}", (None, None, None, None)),
    ];
    for (text, want) in cases {
        assert_eq!(fields(text), want, "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    use ScanProblem::*;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let cases = [
        ("", 0, EndsEarly),
        ("  ", 2, EndsEarly),
        ("[]", 0, NotAnObject),
        ("\"x\"", 0, NotAnObject),
        ("{", 1, EndsEarly),
        ("{\"a\":1", 6, EndsEarly),
        ("{\"a\":\"x", 7, EndsEarly),
        ("{\"a\":\"\\", 7, EndsEarly),
        ("{a:1}", 1, NoKey),
        ("{\"a\":1,}", 7, NoKey),
        ("{\"a\" 1}", 5, NoColon),
        ("{\"a\":}", 5, NoValue),
        ("{\"a\":[1,]}", 8, NoValue),
        ("{\"a\":[1 2]}", 8, NoComma),
        ("{\"a\":1 \"b\":2}", 7, NoComma),
        ("{\"a\":[1}}", 7, NoComma),
        ("{\"a\":NaN}", 5, NoValue),
        ("{\"a\":nul}", 5, NoValue),
        ("{\"a\":01}", 6, NoComma),
        ("{\"a\":1.}", 7, BadNumber),
        ("{\"a\":-}", 6, BadNumber),
        ("{\"a\":1e}", 7, BadNumber),
        ("{\"a\":\"\\x\"}", 6, BadEscape),
        ("{\"a\":\"\\u12G4\"}", 6, BadEscape),
        ("{\"model\":\"\\ud800\"}", 9, BadEscape),
        ("{\"a\":\"b\nc\"}", 7, ControlCharacter),
        ("{} x", 3, TrailingText),
        ("{}{}", 2, TrailingText),
        ("{\"model\":\"a\",\"model\":\"b\"}", 13, Repeated),
        ("{\"stream\":true,\"stream\":false}", 15, Repeated),
        (deep.as_str(), 5 + 127, TooDeep),
    ];
    for (text, at, problem) in cases {
        assert_eq!(scan(text.as_bytes()), Err(ScanError { at, problem }), "{text}");
    }
    assert_eq!(scan(b"{\"a\":\"\xff\"}"), Err(ScanError { at: 6, problem: NotUtf8 }));
}

#[test]
fn splices_only_the_model() {
    let text = r#"{ "x": [1, 2],  "model" : "a", "model2":"a"}"#;
    let fields = scan(text.as_bytes()).unwrap();
    let spliced = splice_model(text.as_bytes(), &fields.model.unwrap().span, "b\"c");
    assert_eq!(String::from_utf8(spliced).unwrap(), r#"{ "x": [1, 2],  "model" : "b\"c", "model2":"a"}"#);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

/// serde_json's verdict on whether this is one object.
fn serde_says(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
        && text.trim_ascii_start().first() == Some(&b'{')
        && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_json(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(scan(&text).is_ok(), serde_says(&text));
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_json(
        value in json(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]\",:\\ \n01eE+-.tfnu\x00\xffa".to_vec()), mode in 0..3,
    ) {
        let mut text = serde_json::to_vec(&serde_json::json!({"k": value, "model": "m"})).unwrap();
        let at = at.index(text.len());
        match mode {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            _ => { text.remove(at); }
        }
        let ours = scan(&text);
        // A damaged key can become a second routing field, or its escape a lone half of a pair; serde_json does not mind.
        let stricter = matches!(ours, Err(ScanError { problem: ScanProblem::Repeated | ScanProblem::BadEscape, .. }));
        prop_assert!(stricter || ours.is_ok() == serde_says(&text), "{:?} {:?}", ours, String::from_utf8_lossy(&text));
    }

    #[test]
    fn agrees_with_serde_json_on_noise(text in r#"\{("[a\\u0d8]{0,6}":)?[\[\]{}",:0-9.eE+ \-truefalsn]{0,20}\}?"#) {
        let ours = scan(text.as_bytes());
        let stricter = matches!(ours, Err(ScanError { problem: ScanProblem::BadEscape, .. }));
        prop_assert!(stricter || ours.is_ok() == serde_says(text.as_bytes()), "{:?} {}", ours, text);
    }

    #[test]
    fn reads_what_serde_json_reads(name in any::<String>(), extra in json(), stream in any::<bool>(), n in any::<i64>()) {
        let value = serde_json::json!({"extra": extra, "model": name, "n": n, "stream": stream});
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(fields(&text), (Some(name), Some(stream), None, Some(n)));
    }
}
