use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

type Read = (Option<String>, Option<bool>, Option<u32>, Option<u32>);

fn fields(text: &str) -> Read {
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
        (r#"{"max_completion_tokens":null,"max_tokens":5}"#, (None, None, Some(5), None)),
        (r#"{"max_output_tokens":7}"#, (None, None, Some(7), None)),
        (r#"{"max_tokens":null,"n":null,"stream":null,"model":7}"#, (None, None, None, None)),
        (r#"{"temperature":1e999,"x":99999999999999999999,"y":"\ud800"}"#, (None, None, None, None)),
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
        ("\u{feff}{}", 0, ByteOrderMark),
        ("{\"model\":\"a\",\"model\":\"b\"}", 13, Repeated("model")),
        ("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", 13, Repeated("model")),
        ("{\"stream\":true,\"stream\":false}", 15, Repeated("stream")),
        ("{\"stream\":null,\"stream\":true}", 15, Repeated("stream")),
        ("{\"max_tokens\":1,\"max_tokens\":2}", 16, Repeated("max_tokens")),
        ("{\"messages\":[],\"messages\":[]}", 15, Repeated("messages")),
        ("{\"metadata\":{\"user_id\":\"a\",\"user_id\":\"b\"}}", 27, Repeated("metadata.user_id")),
        ("{\"metadata\":{\"feature\":\"a\",\"feature\":\"b\"}}", 27, Repeated("metadata.feature")),
        (
            "{\"stream_options\":{\"include_usage\":true,\"include_usage\":null}}",
            40,
            Repeated("stream_options.include_usage"),
        ),
        ("{\"stream\":\"yes\"}", 10, NotAFlag("stream")),
        ("{\"stream\":1}", 10, NotAFlag("stream")),
        ("{\"stream_options\":[]}", 18, NotOptions("stream_options")),
        ("{\"stream_options\":{\"include_usage\":1}}", 35, NotAFlag("stream_options.include_usage")),
        ("{\"max_tokens\":-1}", 14, NotACount("max_tokens", 0, u32::MAX)),
        ("{\"max_tokens\":1e999}", 14, NotACount("max_tokens", 0, u32::MAX)),
        ("{\"max_completion_tokens\":99999999999999999999}", 25, NotACount("max_completion_tokens", 0, u32::MAX)),
        ("{\"n\":1.5}", 5, NotACount("n", 1, MOST_ANSWERS)),
        ("{\"n\":\"2\"}", 5, NotACount("n", 1, MOST_ANSWERS)),
        ("{\"n\":1000000000}", 5, NotACount("n", 1, MOST_ANSWERS)),
        ("{\"n\":0}", 5, NotACount("n", 1, MOST_ANSWERS)),
        ("{\"inferenceConfig\":{\"maxTokens\":1.5}}", 32, NotACount("inferenceConfig.maxTokens", 0, u32::MAX)),
        ("{\"toolConfig\":{\"tools\":[],\"tools\":[]}}", 26, Repeated("toolConfig.tools")),
        (deep.as_str(), 5 + 127, TooDeep),
    ];
    for (text, at, problem) in cases {
        assert_eq!(scan(text.as_bytes()), Err(ScanError { at, problem }), "{text}");
    }
    assert_eq!(scan(b"{\"a\":\"\xff\"}"), Err(ScanError { at: 6, problem: NotUtf8 }));
}

#[test]
fn splices_only_what_must_change() {
    let cases = [
        (
            r#"{ "x": [1, 2],  "model" : "a", "model2":"a"}"#,
            r#"{"stream_options":{"include_usage":true}, "x": [1, 2],  "model" : "b\"c", "model2":"a"}"#,
        ),
        (r#"{"model":"a","stream_options":null}"#, r#"{"model":"b\"c","stream_options":{"include_usage":true}}"#),
        (r#"{"model":"a","stream_options":{}}"#, r#"{"model":"b\"c","stream_options":{}}"#),
    ];
    for (text, want) in cases {
        let fields = scan(text.as_bytes()).unwrap();
        let mut splices: Vec<_> = fields.ask_for_usage().into_iter().collect();
        splices.push(Splice::model(fields.model.unwrap().span, "b\"c"));
        splices.sort_by_key(|splice| splice.span.start);
        let (changed, rest) = splice(text.as_bytes(), &splices);
        assert_eq!(String::from_utf8([&changed, rest].concat()).unwrap(), want);
        assert_eq!(splice(text.as_bytes(), &[]), (Vec::new(), text.as_bytes()));
    }
}

#[test]
fn reads_the_hints() {
    let user = |text: &str| scan(text.as_bytes()).unwrap().user.map(Cow::into_owned);
    let session = |text: &str| scan(text.as_bytes()).unwrap().session.map(Cow::into_owned);
    let a = Some("a".to_owned());
    for (text, want) in [
        (r#"{"user":"a","metadata":{"user_id":"b"}}"#, &a),
        (r#"{"metadata":{"x":{"user_id":"c"},"user_id":"\u0061"}}"#, &a),
        (r#"{"metadata":{"user_id":7},"user":null}"#, &None),
        (r#"{"user":"\ud800"}"#, &None),
    ] {
        assert_eq!(&user(text), want, "{text}");
    }
    let both = scan(br#"{"metadata":{"feature":"search","user_id":"a"}}"#).unwrap();
    assert_eq!((both.user.as_deref(), both.feature.as_deref()), (Some("a"), Some("search")));
    for (text, want) in [
        (r#"{"session_id":"c","prompt_cache_key":"a","conversation":"b"}"#, &a),
        (r#"{"session_id":"c","conversation":{"id":"a"}}"#, &a),
        (r#"{"session_id":"a","conversation":{"name":"b"}}"#, &a),
        (r#"{"prompt_cache_key":1}"#, &None),
    ] {
        assert_eq!(&session(text), want, "{text}");
    }
}

#[test]
fn weighs_the_prompt() {
    let image = "x".repeat(5000);
    let cases = [
        // The body; messages, tools, images, bytes of the prompt.
        (r#"{"messages":[]}"#.to_owned(), (0, false, false, 2)),
        (r#"{"messages":[{"role":"user","content":"hi"}, {}]}"#.to_owned(), (2, false, false, 36)),
        (r#"{"prompt":"hello","tools":[]}"#.to_owned(), (0, false, false, 9)),
        (r#"{"prompt":[1,2,3],"tools":[{}],"x":"yyyy"}"#.to_owned(), (0, true, false, 11)),
        (r#"{"input":["a","b"],"functions":[1]}"#.to_owned(), (2, true, false, 12)),
        (
            format!(r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"data:{image}"}}}}]}}]}}"#),
            (1, false, true, 57),
        ),
        (
            format!(r#"{{"messages":[{{"content":[{{"type":"image","source":{{"data":"{image}"}}}}]}}]}}"#),
            (1, false, true, 51),
        ),
        (r#"{"messages":[{"type":"text","text":"image_url"}]}"#.to_owned(), (1, false, false, 36)),
        // Bedrock's Converse.
        (
            format!(
                r#"{{"messages":[{{"content":[{{"image":{{"format":"png","source":{{"bytes":"{image}"}}}}}}]}}]}}"#
            ),
            (1, false, true, 62),
        ),
        (
            r#"{"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}],"toolChoice":{"auto":{}}}}"#.to_owned(),
            (0, true, false, 62),
        ),
        (r#"{"toolConfig":{"tools":[]}}"#.to_owned(), (0, false, false, 12)),
        (r#"{"toolConfig":null}"#.to_owned(), (0, false, false, 4)),
    ];
    for (text, want) in cases {
        let fields = scan(text.as_bytes()).unwrap();
        let text = &text[..text.len().min(80)];
        assert_eq!((fields.messages, fields.tools, fields.images, fields.prompt_bytes), want, "{text}");
    }
    for (text, want) in [
        (r#"{"max_tokens":10}"#, Some(10)),
        (r#"{"max_tokens":10,"n":3}"#, Some(30)),
        (r#"{"max_tokens":10,"n":3,"best_of":5}"#, Some(50)),
        (r#"{"n":3}"#, None),
        (r#"{"inferenceConfig":{"temperature":0.5,"maxTokens":10}}"#, Some(10)),
        (r#"{"inferenceConfig":{"maxTokens":null}}"#, None),
        (r#"{"inferenceConfig":null}"#, None),
        (r#"{"max_tokens":4294967295,"n":16384}"#, Some(4_294_967_295 * 16384)),
    ] {
        assert_eq!(scan(text.as_bytes()).unwrap().most_tokens(), want, "{text}");
    }
}

#[test]
fn notes_where_the_parts_stand_that_few_ask_for() {
    let cases = [
        // The body; whether it must be JSON, the prompt, the tools.
        (r#"{"model":"m"}"#, (false, None, None)),
        (r#"{"messages":[{}],"tools":[1,2]}"#, (false, Some("[{}]"), Some("[1,2]"))),
        (r#"{"functions":[3],"tools":[4],"prompt":"p"}"#, (false, Some("\"p\""), Some("[3]"))),
        (r#"{"input": ["a"] }"#, (false, Some("[\"a\"]"), None)),
        (r#"{"response_format":{"type":"text"}}"#, (false, None, None)),
        (r#"{"response_format":{"type":"json_object"}}"#, (true, None, None)),
        (
            r#"{"response_format":{"json_schema":{"schema":{"type":"object"}},"type":"json_schema"}}"#,
            (true, None, None),
        ),
        (r#"{"response_format":null,"text":"t"}"#, (false, None, None)),
        (r#"{"text":{"verbosity":"low","format":{"type":"text"}}}"#, (false, None, None)),
        (r#"{"text":{"format":{"name":"x","type":"json_schema","schema":{}}}}"#, (true, None, None)),
        (r#"{"output_config":{"effort":"low","format":{"type":"json_schema"}}}"#, (true, None, None)),
        (r#"{"outputConfig":{"textFormat":{"type":"json_schema","structure":{}}}}"#, (true, None, None)),
        (r#"{"output_config":{"format":[{"type":"json_schema"}]}}"#, (false, None, None)),
    ];
    for (text, want) in cases {
        let fields = scan(text.as_bytes()).unwrap();
        let at = |span: &Option<Range<usize>>| span.clone().map(|span| &text[span]);
        assert_eq!((fields.schema, at(&fields.prompt_span), at(&fields.tools_span)), want, "{text}");
    }
    let deep = format!(r#"{{"text":{{"format":{{"x":{}{}}}}}}}"#, "[".repeat(125), "]".repeat(125));
    scan(deep.as_bytes()).unwrap();
    let deeper = deep.replace("[]", "[[]]");
    assert_eq!(scan(deeper.as_bytes()).unwrap_err().problem, ScanProblem::TooDeep);
}

/// The 10⁶ of everything: judged, in a time and a memory that the body's length bounds.
#[test]
fn worst_cases_are_judged() {
    let many = |part: &str| part.repeat(1_000_000);
    let messages = format!(r#"{{"messages":[{}{{}}]}}"#, many("{},"));
    assert_eq!(scan(messages.as_bytes()).unwrap().messages, 1_000_001);
    let deep = format!(r#"{{"a":{}"#, many("["));
    assert_eq!(scan(deep.as_bytes()).unwrap_err().problem, ScanProblem::TooDeep);
    for (start, part, end) in
        [(r#"{"a":""#, "\\u0041", "\"}"), ("{", "\"k\":[{}],", "\"l\":0}"), ("{\"a\":1", "0", "}")]
    {
        scan(format!("{start}{}{end}", many(part)).as_bytes()).unwrap();
    }
}

/// Any key but those that are read, which may be refused for what they say.
fn key() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|key| format!("~{key}"))
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
            prop::collection::vec((key(), inner), 0..6).prop_map(|m| m.into_iter().collect()),
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
        let stricter = ours.as_ref().is_err_and(|e| e.problem.field().is_some() || e.problem == ScanProblem::BadEscape);
        prop_assert!(stricter || ours.is_ok() == serde_says(&text), "{:?} {:?}", ours, String::from_utf8_lossy(&text));
    }

    #[test]
    fn agrees_with_serde_json_on_noise(text in r#"\{("[a\\u0d8]{0,6}":)?[\[\]{}",:0-9.eE+ \-truefalsn]{0,20}\}?"#) {
        let ours = scan(text.as_bytes());
        let stricter = matches!(ours, Err(ScanError { problem: ScanProblem::BadEscape, .. }));
        prop_assert!(stricter || ours.is_ok() == serde_says(text.as_bytes()), "{:?} {}", ours, text);
    }

    #[test]
    fn reads_what_serde_json_reads(name in any::<String>(), extra in json(), stream in any::<bool>(), n in 1..=MOST_ANSWERS) {
        let value = serde_json::json!({"extra": extra, "model": name, "n": n, "stream": stream});
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(fields(&text), (Some(name), Some(stream), None, Some(n)));
    }
}
