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

/// Rules with one rule that parts requests by these shares.
fn parted(weights: &[(&str, u32)]) -> Rules {
    Rules::build(vec![rule("canary", None, shares(weights))], names(), None).unwrap()
}

/// The order of targets for a request of this session, or for one without a session.
fn drawn(rules: &Rules, session: Option<u64>, luck: u64) -> Box<[usize]> {
    rules.decide(&request(&HeaderMap::new(), false), &by(session, luck)).unwrap().order
}

/// How many of these orders have each target at this turn.
fn at_turn(orders: &[Box<[usize]>], turn: usize) -> [i64; 3] {
    let mut counted = [0; 3];
    orders.iter().for_each(|order| counted[order[turn]] += 1);
    counted
}

/// Whether a count of those that come with this chance is one that chance makes, but for one time in a billion.
fn likely(count: i64, of: usize, percent: f64) -> bool {
    let (of, chance) = (of as f64, percent / 100.0);
    (count as f64 - of * chance).abs() <= 6.0 * (of * chance * (1.0 - chance)).sqrt()
}

/// The session and the luck of the request of this number.
type Way = fn(u64) -> (Option<u64>, u64);

#[test]
fn shares_are_kept() {
    // Luck and sessions, one beside the other: neighbours must fall apart.
    let ways: [Way; 3] = [
        |at| (None, at.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        |at| (Some(session_key(format!("user-{at}").as_bytes())), 0),
        |at| (Some(at), 0),
    ];
    for way in ways {
        let rules = parted(&[("local", 90), ("gpt", 10), ("haiku", 0)]);
        let orders: Vec<_> = (0..20_000).map(way).map(|(session, luck)| drawn(&rules, session, luck)).collect();
        let [local, haiku, gpt] = at_turn(&orders, 0);
        assert!(likely(local, 20_000, 90.0) && likely(gpt, 20_000, 10.0) && haiku == 0, "{local} {gpt} {haiku}");
        assert_eq!(at_turn(&orders, 2), [0, 20_000, 0], "the one without a share is asked last");

        // What the first one leaves where it cannot answer is parted as the shares of the others are.
        let rules = parted(&[("local", 60), ("gpt", 30), ("haiku", 10)]);
        let orders: Vec<_> = (0..20_000).map(way).map(|(session, luck)| drawn(&rules, session, luck)).collect();
        let left: Vec<_> = orders.into_iter().filter(|order| order[0] == 0).collect();
        let [_, haiku, gpt] = at_turn(&left, 1);
        assert!(likely(gpt, left.len(), 75.0) && likely(haiku, left.len(), 25.0), "{gpt} {haiku} of {}", left.len());
    }
}

#[test]
fn sessions_stay_but_for_those_that_must_move() {
    let whole = parted(&[("local", 50), ("gpt", 30), ("haiku", 20)]);
    let gone = parted(&[("gpt", 30), ("haiku", 20)]);
    let turned = parted(&[("haiku", 20), ("gpt", 30), ("local", 50)]);
    let more = parted(&[("local", 50), ("gpt", 30), ("haiku", 30)]);
    let mut moved = 0;
    for session in 0..5000 {
        let first = |rules: &Rules, luck| drawn(rules, Some(session), luck)[0];
        let at = first(&whole, 1);
        assert_eq!(at, first(&whole, u64::MAX), "luck has no part in a session");
        assert_eq!(at, first(&turned, 1), "nor has the order in which targets are written");
        assert!(at == 0 || at == first(&gone, 1), "only those of the target that is gone move");
        let then = first(&more, 1);
        assert!(then == at || then == 1, "who moves goes to the one that has more now");
        moved += i64::from(then != at);
    }
    // From 20 of 100 to 30 of 110.
    assert!(likely(moved, 5000, 100.0 * (30.0 / 110.0 - 0.2)), "{moved} of 5000 sessions moved");
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
