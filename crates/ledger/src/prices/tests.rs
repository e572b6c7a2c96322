use super::*;

/// Claude Sonnet 4.5 as it was priced on 2026-11-21: long requests cost more, and there is a batch.
const SONNET: &str = "\
# date: 2026-11-21
provider\tmodel\ttier\t…
anthropic\tsonnet\tstandard\t3\t0.3\t3.75\t6\t15\t200000\t6\t0.6\t7.5\t12\t22.5
anthropic\tsonnet\tbatch\t1.5\t-\t-\t-\t7.5\t-\t-\t-\t-\t-\t-
openai\tmini\tstandard\t0.15\t0.075\t-\t-\t0.6\t-\t-\t-\t-\t-\t-
openai\tmini\tpriority\t0.25\t0.125\t-\t-\t1\t-\t-\t-\t-\t-\t-
openai\todd\tstandard\t0.000001\t-\t-\t-\t0\t-\t-\t-\t-\t-\t-
";

fn tokens(input: u64, cached: u64, write_5m: u64, write_1h: u64, output: u64) -> Tokens {
    Tokens { input, cached, write_5m, write_1h, output }
}

#[test]
fn costs_are_exact_and_rounded_up() {
    let models = parse(SONNET).unwrap();
    let cases = [
        // A dollar figure worked out by hand for each.
        ("sonnet", Tier::Standard, tokens(1_000_000, 0, 0, 0, 0), "6"),
        ("sonnet", Tier::Standard, tokens(200_000, 0, 0, 0, 1000), "0.615"),
        ("sonnet", Tier::Standard, tokens(200_001, 0, 0, 0, 0), "1.200006"),
        ("sonnet", Tier::Standard, tokens(1, 200_000, 0, 0, 0), "0.120006"),
        ("sonnet", Tier::Standard, tokens(1000, 1000, 1000, 1000, 1000), "0.02805"),
        // What is cached has no price of its own in a batch.
        ("sonnet", Tier::Batch, tokens(1000, 1000, 0, 0, 1000), "0.0105"),
        // There is no such tier.
        ("sonnet", Tier::Priority, tokens(1000, 0, 0, 0, 0), "0.003"),
        ("mini", Tier::Standard, tokens(1, 0, 0, 0, 1), "0.00000075"),
        ("mini", Tier::Priority, tokens(1, 1, 0, 0, 1), "0.000001375"),
        ("odd", Tier::Standard, tokens(1, 0, 0, 0, 0), "0.000000001"),
        ("odd", Tier::Standard, tokens(999, 0, 0, 0, 0), "0.000000001"),
        ("odd", Tier::Standard, tokens(0, 0, 0, 0, 1_000_000), "0"),
        ("odd", Tier::Standard, tokens(u64::MAX, 0, 0, 0, 0), "18446744.073709552"),
        ("sonnet", Tier::Standard, tokens(u64::MAX, u64::MAX, 0, 0, 0), "9223372036.854775807"),
    ];
    for (name, tier, tokens, want) in cases {
        let model = models.iter().find(|model| &*model.name == name).unwrap();
        assert_eq!(model.cost(tier, &tokens).unwrap().to_string(), want, "{name} {tier:?} {tokens:?}");
    }
}

#[test]
fn a_bound_is_never_less_than_a_cost() {
    let models = parse(SONNET).unwrap();
    let splits = |read: u64| {
        let half = read / 2;
        [
            tokens(read, 0, 0, 0, 0),
            tokens(0, read, 0, 0, 0),
            tokens(0, half, read - half, 0, 0),
            tokens(0, 0, 0, read, 0),
        ]
    };
    for model in &models {
        for read in [0, 1, 1999, 200_000, 200_001, 1_000_000] {
            for written in [0, 1, 4096] {
                let bound = model.bound(read, written).unwrap();
                for (split, tier) in splits(read).into_iter().flat_map(|split| Tier::ALL.map(|tier| (split, tier))) {
                    let cost = model.cost(tier, &Tokens { output: written, ..split }).unwrap();
                    assert!(cost <= bound, "{}: {cost} for {split:?} is above {bound}", model.name);
                }
            }
        }
    }
    // The dearest way to read is to write to the cache for an hour, at the rates of a long request.
    assert_eq!(models[0].bound(300_000, 1000).unwrap().to_string(), "3.6225");
}

#[test]
fn bad_tables_are_refused() {
    let head = "head\n";
    let good = "openai\ta\tstandard\t1\t-\t-\t-\t2\t-\t-\t-\t-\t-\t-\n";
    let cases = [
        (good.to_owned(), Ok(1)),
        (good.replace("\t-\n", "\n"), Err(BadLine::Columns(2))),
        (good.replace("openai", "acme"), Err(BadLine::Provider(2))),
        (good.replace("standard", "gold"), Err(BadLine::Tier(2))),
        (good.replace("\t2\t", "\t-\t"), Err(BadLine::Lacking(2))),
        (good.replace("\t2\t", "\t2.0000000001\t"), Err(BadLine::Figure(2, BadDecimal::TooFine))),
        (format!("{good}{good}"), Err(BadLine::Order(3))),
        (good.replace("\t2\t-", "\t2\t200000"), Err(BadLine::Lacking(2))),
    ];
    for (table, want) in cases {
        assert_eq!(parse(&format!("{head}{table}")).map(|models| models.len()), want, "{table}");
    }
}

/// What the providers' own pages say of some models, written down by hand.
#[test]
fn the_built_in_table_has_the_prices_that_are_published() {
    let cases = [
        (Provider::Anthropic, None, "claude-haiku-4-5", tokens(1000, 1000, 1000, 1000, 1000), Some("0.00935")),
        (Provider::Anthropic, None, "claude-sonnet-4-5", tokens(1000, 0, 0, 0, 1000), Some("0.018")),
        (Provider::OpenAi, None, "gpt-4o-mini", tokens(1000, 1000, 0, 0, 1000), Some("0.000825")),
        (Provider::Gemini, None, "gemini-2.5-pro", tokens(200_001, 0, 0, 0, 0), Some("0.5000025")),
        (
            Provider::Bedrock,
            Some("nowhere-1"),
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            tokens(1000, 0, 0, 0, 0),
            Some("0.003"),
        ),
        (Provider::OpenAi, None, "gpt-4o-min", tokens(1, 0, 0, 0, 0), None),
        (Provider::Anthropic, None, "gpt-4o-mini", tokens(1, 0, 0, 0, 0), None),
    ];
    for (provider, region, model, tokens, want) in cases {
        let cost = find(provider, region, model).and_then(|model| model.cost(Tier::Standard, &tokens));
        assert_eq!(cost.map(|cost| cost.to_string()).as_deref(), want, "{model}");
    }
    assert!(all().len() > 500 && date().len() == 10 && source().starts_with("PyPI package litellm "), "{}", source());
}
