use ::rules::{Body, Request};
use http::HeaderMap;

use super::*;

#[derive(Debug)]
struct Fixed<'a>(&'a [Option<i64>]);

impl Costs for Fixed<'_> {
    fn at(&self, target: usize) -> Option<Money> {
        self.0.get(target).copied().flatten().map(Money::nanos)
    }
}

fn names() -> Vec<String> {
    ["local", "haiku", "gpt"].map(str::to_owned).to_vec()
}

fn rule(name: &str, when: Option<&str>, how: HowInput) -> RuleInput {
    RuleInput { name: name.to_owned(), when: when.map(str::to_owned), how, mirror: None }
}

fn list(listed: &[&str]) -> Vec<String> {
    listed.iter().map(|name| (*name).to_owned()).collect()
}

fn shares(shares: &[(&str, u32)]) -> HowInput {
    HowInput::Weighted(shares.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect())
}

fn request<'a>(headers: &'a HeaderMap, stream: bool) -> Request<'a> {
    Request {
        model: "m",
        surface: "chat_completions",
        stream,
        message_count: 1,
        estimated_tokens: 10,
        max_tokens: None,
        images: false,
        schema: false,
        headers,
        caller: "",
        user: "",
        namespace: "ml",
        region: "",
        hour: 12,
        today: ::rules::Today::default(),
        body: Body::default(),
        read: ::rules::Read::default(),
    }
}

fn by(session: Option<u64>, luck: u64) -> Circumstances<'static> {
    Circumstances { session, luck, costs: &Fixed(&[Some(5), None, Some(3)]) }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let source = vec![
        rule("stream", Some("request.stream"), HowInput::Ordered(list(&["gpt", "local"]))),
        rule("unsaid", Some("1 / 0 == 1"), HowInput::Ordered(list(&["haiku"]))),
        rule(
            "batch",
            Some("request.headers['x-batch'] == 'true'"),
            HowInput::Cheapest(list(&["haiku", "local", "gpt"])),
        ),
    ];
    let rules = Rules::build(source.clone(), names(), None).unwrap();
    let batch: HeaderMap = [(http::HeaderName::from_static("x-batch"), "true".parse().unwrap())].into_iter().collect();
    let plain = HeaderMap::new();
    let cases = [
        (&plain, true, Some((0, vec![2, 0]))),
        (&batch, true, Some((0, vec![2, 0]))),
        // What costs nobody knows how much comes last.
        (&batch, false, Some((2, vec![2, 0, 1]))),
        (&plain, false, None),
    ];
    for (headers, stream, want) in cases {
        let got = rules.decide(&request(headers, stream), &by(None, 0));
        assert_eq!(got.map(|decision| (decision.rule, decision.order.to_vec())), want, "{headers:?} {stream}");
    }
    assert_eq!((rules.name(2), rules.name(3)), (Some("batch"), None));

    let last =
        Rules::build(vec![rule("all", None, HowInput::Ordered(list(&["haiku"])))], names(), Some(&rules)).unwrap();
    assert_eq!(
        last.decide(&request(&plain, false), &by(None, 0)),
        Some(Decision { rule: 0, order: [1].into(), mirror: None })
    );
    assert!(Rules::default().is_empty() && Rules::default().decide(&request(&plain, false), &by(None, 0)).is_none());
}

#[test]
fn shares_are_kept_and_sessions_stay() {
    let build =
        |weights: &[(&str, u32)]| Rules::build(vec![rule("canary", None, shares(weights))], names(), None).unwrap();
    let rules = build(&[("local", 90), ("gpt", 10), ("haiku", 0)]);
    let (headers, mut first) = (HeaderMap::new(), [0u32; 3]);
    for at in 0..10_000u64 {
        let order = rules.decide(&request(&headers, false), &by(None, at * (u64::MAX / 10_000))).unwrap().order;
        first[order[0]] += 1;
        assert_eq!(order[2], 1, "the one without a share is asked last");
    }
    assert!((8990..=9010).contains(&first[0]) && first[1] == 0, "{first:?}");

    let mut moved = 0;
    for session in 0..1000 {
        let target =
            |rules: &Rules, luck| rules.decide(&request(&headers, false), &by(Some(session), luck)).unwrap().order[0];
        let at = target(&rules, 1);
        assert_eq!(at, target(&rules, u64::MAX), "luck has no part in a session");
        moved += u32::from(target(&build(&[("local", 80), ("gpt", 20)]), 1) != at);
    }
    // Only those in the tenth that changes hands.
    assert!((60..=140).contains(&moved), "{moved} of 1000 sessions moved");
}

#[test]
fn as_many_are_copied_as_the_mirror_says() {
    let headers = HeaderMap::new();
    let mirrored = |percent, how: HowInput| {
        let mirror = Some(MirrorInput { target: "haiku".to_owned(), percent });
        let rules = Rules::build(vec![RuleInput { mirror, ..rule("a", None, how) }], names(), None).unwrap();
        let decide = |luck| rules.decide(&request(&headers, false), &by(Some(luck % 7), luck)).unwrap();
        // A step that is no part of the words that are drawn.
        let all: Vec<_> = (0..10_000u64).map(|at| decide(at.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        assert!(all.iter().all(|decision| decision.mirror.is_none_or(|target| target == 1)));
        let copied = |decision: &&Decision| decision.mirror.is_some();
        let to_first = all.iter().filter(copied).filter(|decision| decision.order[0] == 0).count();
        (all.iter().filter(copied).count(), to_first)
    };
    let local = || HowInput::Ordered(list(&["local"]));
    assert_eq!((mirrored(0, local()).0, mirrored(100, local()).0), (0, 10_000));
    let (copied, to_first) = mirrored(5, shares(&[("local", 1), ("gpt", 1)]));
    assert!(
        (400..=600).contains(&copied) && (100..=400).contains(&to_first),
        "{copied} copied, {to_first} of the first"
    );
}

#[test]
fn the_day_is_counted_for_those_who_ask() {
    let asks = |when: Option<&str>| {
        Rules::build(vec![rule("a", when, HowInput::Ordered(list(&["gpt"])))], names(), None).unwrap().ask_for_today()
    };
    assert!(asks(Some("request.tokensToday < 5")) && !asks(Some("request.hour < 5")) && !asks(None));
}

#[test]
fn bad_rules_are_named() {
    let mirror = |target: &str| RuleInput {
        mirror: Some(MirrorInput { target: target.to_owned(), percent: 5 }),
        ..rule("a", None, shares(&[("gpt", 1), ("local", 1)]))
    };
    let cases = [
        (
            rule("a", Some("request.modl == 'x'"), HowInput::Ordered(list(&["gpt"]))),
            "spec.rules[1].when: line 1, column 8: request has no field \"modl\"",
        ),
        (
            rule("a", None, HowInput::Ordered(list(&["gtp"]))),
            "spec.rules[1].use names \"gtp\", but spec.targets has no such",
        ),
        (rule("a", None, shares(&[("gpt", 0)])), "spec.rules[1].use needs exactly one"),
        (rule("a", None, HowInput::Cheapest(Vec::new())), "spec.rules[1].use needs exactly one"),
        (mirror("gtp"), "spec.rules[1].mirror.target names \"gtp\", but spec.targets has no such target"),
        (mirror("local"), "spec.rules[1].mirror.target \"local\" is one of the rule's own targets"),
    ];
    for (bad, want) in cases {
        let good = rule("good", None, HowInput::Ordered(list(&["gpt"])));
        let error = Rules::build(vec![good, bad], names(), None).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
}
