use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::view::{Body, Read, Today};

const TOOLS: &[u8] =
    br#"[{"type":"function","function":{"name":"get_weather"}},{"name":"web_search","input_schema":{}}]"#;

fn check(text: &str, headers: &[(&'static str, &'static str)]) -> Option<bool> {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let headers: HeaderMap = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
    expression.matches(&Request {
        model: "llama-8b",
        surface: "chat_completions",
        stream: true,
        message_count: 3,
        estimated_tokens: 1200,
        max_tokens: Some(256),
        images: false,
        schema: true,
        headers: &headers,
        caller: "team-a",
        user: "ann",
        namespace: "ml",
        region: "eu",
        hour: 22,
        today: Today { requests: 40, tokens: 9000 },
        body: Body { tools: Some(TOOLS), prompt: Some(br#"[{"role":"user","content":"hi"}]"#) },
        read: Read::default(),
    })
}

#[test]
fn says_what_holds() {
    let holds = [
        "true",
        "!false",
        "request.model == 'llama-8b'",
        "request.model.startsWith(\"llama\") && request.model.endsWith('8b') && request.model.contains('a-')",
        "request.model.matches('^llama-[0-9]+b$')",
        "matches(request.model, 'ama')",
        "request.surface in ['messages', 'chat_completions']",
        "request.stream && !request.images && request.schema == true && request.stream != request.images",
        "request.messageCount == 3 && request.estimatedTokens > 1000 && request.maxTokens <= 256",
        "request.estimatedTokens / request.messageCount == 400",
        "request.estimatedTokens * 2 - 400 == 2000 && 7 % 4 == 3 && -1 < 0",
        "size(request.tools) > 0 && request.tools.size() == 2 && size(request.model) == 8 && size('é') == 1",
        "'web_search' in request.tools",
        "request.tools.exists(t, t.startsWith('get_'))",
        "!request.tools.all(t, t.startsWith('get_'))",
        "['a', 'b'].all(x, size(x) == 1)",
        "request.headers['x-batch'] == 'true' && request.headers[\"X-Batch\"] == 'true'",
        "request.headers.tenant == 'blue'",
        "has(request.headers.tenant) && 'x-batch' in request.headers && !('x-none' in request.headers)",
        "request.headers['x-none'] == ''",
        "request.headers['X-Mixed'].lowerAscii() == 'abc'",
        "request.caller + '/' + request.user == 'team-a/ann'",
        "request.namespace == 'ml' && request.region == 'eu'",
        "request.hour >= 20 || request.hour < 6",
        "request.hour in [21, 22, 23]",
        "request.requestsToday < 41 && request.tokensToday >= 9000",
        "request.complexity == 'moderate' && request.complexityScore < 100",
        "(request.images ? 'a' : 'b') == 'b' && (request.stream ? 1 : 2) == 1 && (request.stream ? true : false)",
        "'abc' < 'abd' && 'b' >= 'a'",
        "size([1, 2]) == 2 && size([]) == 0",
        // One side is enough where it decides, whatever the other one is.
        "request.stream || 1 / 0 == 1",
        "1 / 0 == 1 || request.stream",
        "!(1 / 0 == 1 && request.images)",
        "// a comment\n request.stream",
    ];
    let headers = [("x-batch", "true"), ("tenant", "blue"), ("x-mixed", "ABC")];
    for text in holds {
        assert_eq!(check(text, &headers), Some(true), "{text}");
        assert_eq!(check(&format!("!({text}\n)"), &headers), Some(false), "not {text}");
    }
    for text in [
        "1 / 0 == 1",
        "request.stream && 1 % 0 == 1",
        "-9223372036854775807 - 2 < 0",
        "1 / 0 in [1]",
        "1 in [2, 1 / 0]",
    ] {
        assert_eq!(check(text, &headers), None, "{text}");
    }
}

#[test]
fn only_those_who_ask_have_their_day_counted() {
    for (text, asks) in [
        ("request.hour < 5", false),
        ("request.tokensToday < 5", true),
        ("request.stream || request.tools.exists(t, request.requestsToday > size(t))", true),
    ] {
        assert_eq!(Expression::compile(text).unwrap().asks_for_today(), asks, "{text}");
    }
}

/// Each with the place, and a part of what is said.
#[test]
fn says_what_is_wrong_and_where() {
    let long = "x".repeat(MOST_CHARACTERS + 1);
    let nested = format!("{}true{}", "(".repeat(200), ")".repeat(200));
    let unended = format!("\"{}", "a".repeat(900));
    let cases = [
        ("", 1, 1, ""),
        ("request.stream &&", 1, 18, ""),
        ("request.stream & true", 1, 16, ""),
        ("request.modl == 'x'", 1, 8, "request has no field \"modl\"; it has model, surface"),
        ("request.stream &&\n  modl == 'x'", 2, 3, "there is no \"modl\""),
        ("request", 1, 1, "say which field"),
        ("request.model", 1, 8, "must say true or false, but this is a text"),
        ("request.model == 3", 1, 15, "\"==\" does not go between a text and a number"),
        ("request.stream < true", 1, 16, "does not go between a bool and a bool"),
        ("request.stream && request.hour", 1, 26, "true or false must stand here, but this is a number"),
        ("request.complexity == 'hard'", 1, 23, "never \"hard\", only one of trivial, moderate, complex"),
        ("'hard' == request.complexity", 1, 1, "never \"hard\""),
        ("request.surface in ['chat']", 1, 20, "never \"chat\", only one of chat_completions"),
        ("request.headers[request.model] == 'x'", 1, 24, "must be written out"),
        ("request.headers['authorization'] == 'x'", 1, 17, "holds a secret"),
        ("has(request.headers.cookie)", 1, 20, "holds a secret"),
        ("request.headers['a b'] == 'x'", 1, 17, "cannot be the name of a header"),
        ("has(request.model)", 1, 12, "only a header can be missing"),
        ("request.model.matches('(')", 1, 23, "bad pattern: unclosed group"),
        ("request.model.matches(request.user)", 1, 30, "must be written out"),
        ("request.model.matches('(\\\\w{999}){999}')", 1, 23, "bad pattern"),
        ("request.model.foo()", 1, 18, "\"foo\" cannot be called so; there are size, has"),
        ("request.model.size(1) == 1", 1, 19, "cannot be called so"),
        ("request.tools.exists(t, request.tools.exists(u, u == t))", 1, 45, "within each other"),
        ("request.model.exists(t, true)", 1, 8, "look through a list"),
        ("request.tools[0] == 'x'", 1, 8, "only request.headers is looked into"),
        ("1.5 > 1", 1, 1, "whole ones"),
        ("1u == 1", 1, 1, "whole ones"),
        ("request.user == null", 1, 17, "null"),
        ("['a', 1] == []", 1, 1, "not both"),
        ("[true] == []", 1, 2, "this is a bool"),
        ("{'a': 1} == {}", 1, 1, "of no use here"),
        ("request.stream ? 1 : 'a'", 1, 22, "of one kind, but this is a text"),
        ("size(3) == 1", 1, 6, "a number has no size"),
        ("'é' == request.modl", 1, 15, "no field \"modl\""),
        (&long, 1, 1025, "more than 1024 characters"),
        (&nested, 1, 97, "nested too deeply here"),
        ("request.stream &&", 1, 18, "it ends here"),
        (&unended, 1, 1, "token recognition error"),
    ];
    for (text, line, column, problem) in cases {
        let error = Expression::compile(text).expect_err(text);
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(!error.problem.is_empty() && !error.problem.contains('\n'), "{text}: {error}");
        assert!(error.problem.len() < 400 && !error.problem.contains("ParseError"), "{text}: {error}");
    }
}

proptest! {
    /// Whatever is written, reading it ends, and neither reading nor asking it breaks.
    #[test]
    fn any_text_is_read_or_refused(words in proptest::collection::vec(proptest::sample::select(&[
        "request", ".", "model", "tools", "headers", "[", "]", "(", ")", "'x'", "==", "&&", "||", "!", "-", "?", ":", "in", "size",
        "exists", "t", ",", "1", "+", "/", "0", "{", "}", "\"", "\\", "é", "\n", "stream", "hour", "tokensToday", "<", "matches", "has", "//",
    ][..]), 0..40)) {
        if let Ok(expression) = Expression::compile(&words.join(" ")) {
            let headers = HeaderMap::new();
            let request = Request {
                model: "m", surface: "messages", stream: false, message_count: 0, estimated_tokens: 0, max_tokens: None,
                images: false, schema: false, headers: &headers, caller: "", user: "", namespace: "", region: "", hour: 0,
                today: Today::default(),
                body: Body::default(), read: Read::default(),
            };
            let _ = expression.matches(&request);
        }
    }
}
