//! What is tried at a place, given its schema: limits and what lies beyond them, wrong types, and texts that mean something
//! somewhere.

use std::collections::BTreeSet;

use schema::{Kind, Node};
use serde_json::{Map, Value, json};

/// A value to try, and why.
pub(crate) struct Candidate {
    pub(crate) class: &'static str,
    pub(crate) value: Value,
}

/// Texts that some field takes: quantities, durations, names, addresses of weights, images, flags. Each is tried at every
/// text, because the wrong kind of text is the commonest mistake.
const TEXTS: [(&str, &str); 82] = [
    ("an empty text", ""),
    ("a quantity", "1"),
    ("a quantity", "0"),
    ("a quantity", "-1"),
    ("a quantity", "0.5"),
    ("a quantity", ".5"),
    ("a quantity", "1."),
    ("a quantity", "0.0001"),
    ("a quantity", "1000m"),
    ("a quantity", "1e3"),
    ("a quantity", "1E3"),
    ("a quantity", "1Ki"),
    ("a quantity", "1k"),
    ("a quantity", "0Gi"),
    ("a quantity", "24Gi"),
    ("a quantity", "1.5Gi"),
    ("a quantity", "+1Gi"),
    ("a quantity", "8Ei"),
    ("a quantity", "16777216Ti"),
    ("a quantity", "99999999999999Ti"),
    ("a quantity", "999999999999m"),
    ("a quantity", "٣"),
    ("a duration", "0s"),
    ("a duration", "1s"),
    ("a duration", "90s"),
    ("a duration", "1h30m"),
    ("a duration", "30m1h"),
    ("a duration", "1s1s"),
    ("a duration", "59m60s"),
    ("a duration", "24h"),
    ("a duration", "25h"),
    ("a duration", "743h59m"),
    ("a duration", "745h"),
    ("a duration", "999h99999m"),
    ("a duration", "10000h"),
    ("a duration", "1ns"),
    ("a duration", "1.5m"),
    ("a duration", "-3s"),
    ("a duration", "5"),
    ("a duration", "s"),
    ("a fraction", "0.9"),
    ("a fraction", "0.92"),
    ("a fraction", "1.0"),
    ("a fraction", "1.1"),
    ("a fraction", "00.9"),
    ("a fraction", "0.00"),
    ("a fraction", "NaN"),
    ("a fraction", "1e-400"),
    ("a name", "a"),
    ("a name", "a-b"),
    ("a name", "a.b"),
    ("a name", "a_b"),
    ("a name", "a/b"),
    ("a name", "A"),
    ("a name", "9a"),
    ("a name", "-a"),
    ("a name", "a-"),
    ("a name", "a..b"),
    ("a name", "../a"),
    ("a name", "example.com/a"),
    ("a name", "a=b"),
    ("a flag", "--flag"),
    ("a variable", "$(HOME)"),
    ("white space", " a"),
    ("white space", "a b"),
    ("white space", "a\nb"),
    ("white space", "a\tb"),
    ("white space", "\u{a0}"),
    ("a control character", "a\u{0}b"),
    ("a control character", "a\u{1b}[2J"),
    ("a confusable", "\u{430}"),
    ("a confusable", "a\u{200b}"),
    ("a confusable", "\u{202e}a"),
    ("a confusable", "e\u{301}"),
    ("a pictogram", "🦀"),
    ("an address", "http://169.254.169.254/latest"),
    ("an address", "hf://a/b/c"),
    ("an address", "hf://../b"),
    ("an address", "file:///a/../b"),
    ("an image", "a:latest"),
    ("an image", "a:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ("an image", "UPPER/case:1"),
];

/// Lengths at which names end: DNS labels, DNS names, and texts that no field should take.
const LENGTHS: [usize; 5] = [63, 64, 253, 254, 5000];

/// Whole numbers with a point (`1.0`) are not among them: the API server takes such a number unless a rule or the scale
/// subresource looks at it, and nobody writes one.
const INTEGERS: [(&str, i64); 10] = [
    ("zero", 0),
    ("a negative number", -1),
    ("a small number", 1),
    ("a small number", 2),
    ("a 32-bit limit", i32::MAX as i64),
    ("a 32-bit limit", i32::MIN as i64),
    ("beyond 32 bits", i32::MAX as i64 + 1),
    ("beyond 32 bits", i32::MIN as i64 - 1),
    ("a 64-bit limit", i64::MAX),
    ("a 64-bit limit", i64::MIN),
];

/// What is tried at `node`, where `there` stands now; `words` are those that rules near it mention.
pub(crate) fn of(node: &Node, there: Option<&Value>, words: &BTreeSet<String>) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut one = |class: &'static str, value: Value| {
        if there != Some(&value) && !all.iter().any(|known: &Candidate| known.value == value) {
            all.push(Candidate { class, value });
        }
    };
    for value in &node.enumeration {
        one("a listed value", value.clone());
    }
    if let Some(default) = &node.default {
        one("the default, said", default.clone());
    }
    match &node.kind {
        Kind::Object { .. } => objects(node, there, &mut one),
        Kind::Map { values, most } => maps(values, *most, there, &mut one),
        Kind::List { items, least, most, .. } => lists(items, *least, *most, there, &mut one),
        Kind::Text { least, most, .. } => texts(*least, *most, there, words, &mut one),
        Kind::Integer { least, most, .. } => integers(*least, *most, &mut one),
        Kind::Boolean => [true, false].into_iter().for_each(|value| one("a truth value", json!(value))),
        Kind::Number | Kind::NumberOrText | Kind::Anything { .. } => {
            for value in [json!("50%"), json!("-1%"), json!("101%"), json!(0.25), json!(7)] {
                one("a number or a share", value);
            }
        }
    }
    for wrong in [json!(null), json!(true), json!(7), json!(1.5), json!("7"), json!([]), json!({}), json!([{}])] {
        one("perhaps the wrong type", wrong);
    }
    all
}

fn objects(node: &Node, there: Option<&Value>, one: &mut impl FnMut(&'static str, Value)) {
    one("an empty object", json!({}));
    one("the least that is required", sample(node));
    if let Some(Value::Object(fields)) = there {
        let mut more = fields.clone();
        more.insert("noSuchField".to_owned(), json!(1));
        one("an unknown field", Value::Object(more));
    }
}

fn maps(values: &Node, most: Option<usize>, there: Option<&Value>, one: &mut impl FnMut(&'static str, Value)) {
    let entry = there.and_then(Value::as_object).and_then(|it| it.values().next().cloned());
    let value = entry.unwrap_or_else(|| sample(values));
    let map = |keys: Vec<String>| Value::Object(keys.into_iter().map(|key| (key, value.clone())).collect());
    one("an empty map", json!({}));
    for key in
        ["a", "example.com/a", "", " ", "a b", "-a", "a/b/c", "/a", "a/", "kubernetes.io/a", "A_b.c", "ä", "a\u{0}"]
    {
        one("a key of a map", map(vec![key.to_owned()]));
    }
    for length in [63, 64, 254] {
        one("a long key of a map", map(vec!["k".repeat(length)]));
    }
    if let Some(most) = most {
        one("the most entries", map((0..most).map(|n| format!("k{n}")).collect()));
        one("one entry too many", map((0..=most).map(|n| format!("k{n}")).collect()));
    }
}

fn lists(
    items: &Node,
    least: Option<usize>,
    most: Option<usize>,
    there: Option<&Value>,
    one: &mut impl FnMut(&'static str, Value),
) {
    let now = there.and_then(Value::as_array).cloned().unwrap_or_default();
    let item = now.first().cloned().unwrap_or_else(|| sample(items));
    let many = |count: usize| Value::Array(vec![item.clone(); count]);
    let differing = |count: usize| Value::Array((0..count).map(|n| numbered(&item, n)).collect());
    one("an empty list", json!([]));
    one("an item doubled", Value::Array(now.iter().chain([&item]).cloned().collect()));
    one("an item more", Value::Array(now.iter().cloned().chain([numbered(&item, 99)]).collect()));
    one("another order", Value::Array(now.iter().rev().cloned().collect()));
    one("the first item only", Value::Array(now.iter().take(1).cloned().collect()));
    if let Some(least) = least.filter(|least| *least > 0) {
        one("the fewest items", differing(least));
        one("an item too few", differing(least - 1));
    }
    if let Some(most) = most {
        one("the most items", differing(most));
        one("one item too many", differing(most + 1));
        one("the most items, all equal", many(most));
    }
}

/// The item with its first text made different from that of others.
fn numbered(item: &Value, number: usize) -> Value {
    match item {
        Value::String(text) => json!(format!("{text}{number}")),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields.clone();
            let key = if fields.contains_key("name") { Some("name".to_owned()) } else { fields.keys().next().cloned() };
            if let Some(field) = key.and_then(|key| fields.get_mut(&key)) {
                *field = numbered(field, number);
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

fn texts(
    least: Option<usize>,
    most: Option<usize>,
    there: Option<&Value>,
    words: &BTreeSet<String>,
    one: &mut impl FnMut(&'static str, Value),
) {
    for (class, text) in TEXTS {
        one(class, json!(text));
    }
    for word in words {
        one("a word of a rule", json!(word));
        one("a word of a rule", json!(format!("{word}=x")));
    }
    for length in LENGTHS {
        one("a long text", json!("a".repeat(length)));
    }
    if let Some(least) = least {
        one("the shortest text", json!("a".repeat(least)));
        one("a text too short", json!("a".repeat(least.saturating_sub(1))));
    }
    if let Some(most) = most {
        one("the longest text", json!("a".repeat(most)));
        one("the longest text, in long characters", json!("ä".repeat(most)));
        one("a text too long", json!("a".repeat(most + 1)));
    }
    if let Some(Value::String(now)) = there {
        one("itself and white space", json!(format!("{now} ")));
        one("itself and a line end", json!(format!("{now}\n")));
        one("itself twice", json!(format!("{now}{now}")));
        one("itself in capitals", json!(now.to_uppercase()));
        one("itself and a control character", json!(format!("{now}\u{0}")));
        one("itself and a slash", json!(format!("{now}/")));
        one("itself and a variable", json!(format!("{now}$(HOME)")));
    }
}

fn integers(least: Option<f64>, most: Option<f64>, one: &mut impl FnMut(&'static str, Value)) {
    #[expect(clippy::cast_possible_truncation, reason = "limits of whole numbers are whole")]
    for (limit, classes) in [
        (least, ["one below the minimum", "the minimum", "one above the minimum"]),
        (most, ["one below the maximum", "the maximum", "one above the maximum"]),
    ] {
        let Some(limit) = limit else { continue };
        for (class, step) in classes.into_iter().zip([-1, 0, 1]) {
            one(class, json!(limit as i64 + step));
        }
    }
    for (class, number) in INTEGERS {
        one(class, json!(number));
    }
    one("beyond 64 bits", json!(u64::MAX));
}

/// A small value that the types allow; rules and patterns may not.
pub(crate) fn sample(node: &Node) -> Value {
    if let Some(value) = node.default.clone().or_else(|| node.enumeration.first().cloned()) {
        return value;
    }
    match &node.kind {
        Kind::Object { fields, required } => {
            Value::Object(required.iter().filter_map(|name| Some((name.clone(), sample(fields.get(name)?)))).collect())
        }
        Kind::Map { .. } => json!({}),
        Kind::List { items, least, .. } => Value::Array(vec![sample(items); least.unwrap_or(0)]),
        Kind::Text { least, .. } => json!("a".repeat(least.unwrap_or(1).max(1))),
        #[expect(clippy::cast_possible_truncation, reason = "limits of whole numbers are whole")]
        Kind::Integer { least, .. } => json!(least.unwrap_or(1.0) as i64),
        Kind::Number | Kind::NumberOrText | Kind::Anything { .. } => json!(1),
        Kind::Boolean => json!(true),
    }
}

/// The words in quotes of CEL rules: texts as they are, regular expressions taken apart.
pub(crate) fn words<'a>(rules: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rule in rules {
        for quoted in rule.split('\'').skip(1).step_by(2) {
            if !quoted.contains(['^', '|', '[', '(', '$']) {
                found.insert(quoted.to_owned());
                continue;
            }
            let bare = without_classes(quoted);
            let prefix: String = bare.chars().take_while(|c| !"^(|$".contains(*c)).collect();
            let start = bare.trim_start_matches('^');
            let start = start.split(['(', '|', '$', '.', '?']).next().unwrap_or_default();
            for word in bare.split(['^', '(', ')', '|', '$', '?', '*', '+', '=', '\\']).filter(|word| !word.is_empty())
            {
                found.insert(format!("{prefix}{word}"));
                found.insert(format!("{start}{}", word.trim_start_matches(start)));
            }
        }
    }
    found.retain(|word| !word.is_empty() && word.len() < 64);
    found
}

/// A regular expression with `a` in place of its character classes.
fn without_classes(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        out.push('a');
        rest = after.split_once(']').map_or("", |(_, rest)| rest);
    }
    out + rest
}
