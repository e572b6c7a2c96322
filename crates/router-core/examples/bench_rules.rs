//! What rules cost a request: `cargo run --release -p router-core --example bench_rules`. The best of many rounds counts,
//! because whatever else the machine does only ever adds.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use http::HeaderMap;
use ledger::Money;
use router_core::{Circumstances, Costs, HowInput, RuleInput, Rules};
use rules::{Expression, Outline, Read, Request, Today};
use wire::openai::scan;

const ROUNDS: usize = 200;
const CALLS: u32 = 200;

#[derive(Debug)]
struct Same;

impl Costs for Same {
    fn at(&self, target: usize) -> Option<Money> {
        i64::try_from(target).ok().map(Money::nanos)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("host", "router"), ("content-type", "application/json"), ("x-batch", "false"), ("x-team", "blue")]
    {
        headers.insert(name, value.parse()?);
    }
    let ask =
        "Design a rate limiter for twenty gateways. It must survive the loss of a region, without a central store.";
    let chat = |before: usize, within: usize| {
        let filler = |bytes: usize| "All of this was said before and is of no use now. ".repeat(bytes / 50);
        let (before, within) = (filler(before), filler(within));
        format!(
            r#"{{"model":"m","stream":true,"messages":[{{"role":"system","content":"{before}"}},{{"role":"user","content":"{within}{ask}"}}],
            "tools":[{{"type":"function","function":{{"name":"search","parameters":{{}}}}}}]}}"#
        )
    };
    let (small, large, long) = (chat(500, 0), chat(500_000, 0), chat(0, 500_000));

    for text in [
        "request.stream",
        "request.headers['x-batch'] == 'true'",
        "request.estimatedTokens > 4000 && request.model.startsWith('llama')",
        "request.model.matches('^(gpt|claude)-[0-9]') || request.hour in [22, 23, 0, 1]",
        "size(request.tools) > 0",
        "request.tools.exists(t, t.startsWith('web_'))",
        "request.complexity == 'complex'",
    ] {
        let read = best(|| drop(black_box(Expression::compile(black_box(text)))));
        let expression = Expression::compile(text)?;
        let mut line = format!("{text:80} read {read:7.1} µs");
        for (size, body) in [("1 KB", &small), ("500 KB", &large), ("500 KB in the last message", &long)] {
            let fields = scan(body.as_bytes())?;
            let outline = Outline::of(&fields);
            let asked = best(|| {
                let request = view(body, &outline, &headers);
                black_box(expression.matches(&request));
            });
            line += &format!(" | at {size} {asked:7.3} µs");
        }
        writeln!(out, "{line}")?;
    }

    let rule = |name: &str, when: Option<&str>, how| RuleInput {
        name: name.to_owned(),
        when: when.map(str::to_owned),
        how,
        mirror: None,
    };
    let names = || ["a", "b", "c"].map(str::to_owned).to_vec();
    let rules = Rules::build(
        vec![
            rule("batch", Some("request.headers['x-batch'] == 'true'"), HowInput::Ordered(names())),
            rule("night", Some("request.hour >= 22 || request.hour < 6"), HowInput::Ordered(names())),
            rule("large", Some("request.estimatedTokens > 100000000"), HowInput::Ordered(names())),
            rule("team", Some("request.headers['x-team'] in ['red', 'green']"), HowInput::Ordered(names())),
            rule("others", None, HowInput::Cheapest(names())),
        ],
        names(),
        None,
    )?;
    let fields = scan(small.as_bytes())?;
    let outline = Outline::of(&fields);
    let decision = best(|| {
        let request = view(&small, &outline, &headers);
        black_box(rules.decide(&request, &Circumstances { session: None, luck: 7, costs: &Same }));
    });
    writeln!(out, "a decision: five rules, the last one by cost: {decision:.3} µs")?;
    Ok(())
}

fn view<'a>(body: &'a str, outline: &Outline, headers: &'a HeaderMap) -> Request<'a> {
    Request {
        model: "llama-8b",
        surface: "chat_completions",
        stream: true,
        message_count: outline.message_count,
        estimated_tokens: u64::try_from(body.len() / 4).unwrap_or_default(),
        max_tokens: None,
        images: false,
        schema: false,
        headers,
        caller: "team",
        user: "",
        namespace: "ml",
        region: "eu",
        hour: 12,
        today: Today::default(),
        body: outline.parts(body.as_bytes()),
        read: Read::default(),
    }
}

/// Microseconds of one call, in the best round.
fn best(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(begun.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    best
}
