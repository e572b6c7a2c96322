//! Makes the table of prices from a public one: `cargo xtask prices FILE --version V --date D`.
//!
//! The source is the file `model_prices_and_context_window_backup.json` within the PyPI package `litellm`, which is kept by
//! many people and published under the MIT licence. Its numbers are read as they are written, never as floats, so that
//! nothing is rounded. To renew the table: `pip download litellm==VERSION --no-deps`, unpack the wheel, run this with the
//! file and the day it was taken, and look at the difference before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use ledger::prices::{self, Long, Model, Provider, Rate, Rates, Tier, TierPrice};
use serde_json::value::RawValue;

use crate::Outcome;
use crate::places;

/// The table, within the checkout.
const TABLE: &str = "crates/ledger/prices.tsv";
/// What tells a tier at the end of a figure's name.
const TIERS: [(&str, Tier); 3] = [("_priority", Tier::Priority), ("_flex", Tier::Flex), ("_batches", Tier::Batch)];
/// What is charged by the token.
const MODES: [&str; 4] = ["chat", "completion", "embedding", "responses"];

type Entry<'a> = BTreeMap<String, &'a RawValue>;

/// Where a table came from.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// The file of the package.
    file: PathBuf,
    /// The package's version.
    #[arg(long)]
    version: String,
    /// The day it was taken.
    #[arg(long)]
    date: String,
    /// Change nothing; fail when the table differs.
    #[arg(long)]
    check: bool,
}

/// Writes the table, or with `check` compares it.
pub(crate) fn run(source: &Source) -> Outcome {
    let table = table(&fs::read_to_string(&source.file)?, &source.version, &source.date)?;
    let path = places::root().join(TABLE);
    if source.check {
        let same = fs::read_to_string(path)? == table;
        return if same { Ok(()) } else { Err(format!("{TABLE} is not made from this file").into()) };
    }
    let models = prices::parse(&table)?.len();
    fs::write(path, table)?;
    println!("wrote {TABLE}: {models} models");
    Ok(())
}

fn table(json: &str, version: &str, date: &str) -> Outcome<String> {
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
    let mut models: BTreeMap<(Provider, String), Model> = BTreeMap::new();
    for (key, entry) in entries {
        let entry: Entry<'_> = serde_json::from_str(entry.get())?;
        let Some((provider, name)) = known(&key, &entry) else { continue };
        let Some(tiers) = tiers(&entry).map_err(|why| format!("{key}: {why}"))? else { continue };
        let model = Model { provider, name: name.into(), tiers };
        // The same model can stand there by two ways to call it. The dearer one is never too little.
        let dearer = |known: &Model| input(known) >= input(&model);
        if !models.get(&(provider, name.to_owned())).is_some_and(dearer) {
            models.insert((provider, name.to_owned()), model);
        }
    }
    let mut table = format!(
        "# Dollars per million tokens. Made by `cargo xtask prices`, which says how. Do not edit.\n\
         # date: {date}\n\
         # source: PyPI package litellm {version}, file model_prices_and_context_window_backup.json\n\
         # licence of the source: MIT, Copyright (c) 2023 Berri AI\n\
         {}\n",
        prices::HEAD
    );
    for model in models.values() {
        for line in Tier::ALL.into_iter().filter_map(|tier| prices::line(model, tier)) {
            writeln!(table, "{line}")?;
        }
    }
    Ok(table)
}

fn input(model: &Model) -> Option<Rate> {
    model.tiers[0].map(|price| price.rates.input)
}

/// Whose model it is and what that one calls it, if it is one of ours and is charged by the token.
fn known<'k>(key: &'k str, entry: &Entry<'_>) -> Option<(Provider, &'k str)> {
    let text = |name: &str| entry.get(name).map_or("", |value| value.get().trim_matches('"'));
    if !MODES.contains(&text("mode")) {
        return None;
    }
    let (provider, prefix) = match text("litellm_provider") {
        "anthropic" => (Provider::Anthropic, "anthropic/"),
        "bedrock" | "bedrock_converse" => (Provider::Bedrock, "bedrock/"),
        "gemini" => (Provider::Gemini, "gemini/"),
        "openai" | "text-completion-openai" => (Provider::OpenAi, "openai/"),
        _ => return None,
    };
    Some((provider, key.strip_prefix(prefix).unwrap_or(key)))
}

/// The rates of one tier by what they are for; those of long requests apart.
#[derive(Default)]
struct Found {
    rates: BTreeMap<&'static str, Rate>,
    long: BTreeMap<&'static str, Rate>,
    above: BTreeSet<u64>,
}

const FIGURES: [&str; 5] = [
    "input_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "output_cost_per_token",
];

/// The prices of all tiers; `None` for a model that has none, or is given away for now.
fn tiers(entry: &Entry<'_>) -> Outcome<Option<[Option<TierPrice>; 4]>> {
    let mut found = [(); 4].map(|()| Found::default());
    for (name, value) in entry {
        let Some((figure, tier, above)) = figure(name) else { continue };
        if value.get() == "null" {
            continue;
        }
        let rate = Rate::per_token(value.get()).map_err(|why| format!("{name} {why}: {value}"))?;
        let found = &mut found[tier as usize];
        match above {
            None => found.rates.insert(figure, rate),
            Some(above) => {
                found.above.insert(above);
                found.long.insert(figure, rate)
            }
        };
    }
    let Some(standard) = price(&found[0], None)? else { return Ok(None) };
    if standard.rates.input == Rate::default() {
        return Ok(None);
    }
    let mut all = [Some(standard), None, None, None];
    for tier in &Tier::ALL[1..] {
        all[*tier as usize] = price(&found[*tier as usize], Some(&standard))?;
    }
    Ok(Some(all))
}

/// What a figure's name says: which one, of which tier, for requests above how many tokens.
fn figure(name: &str) -> Option<(&'static str, Tier, Option<u64>)> {
    let (name, tier) = TIERS
        .iter()
        .find_map(|(end, tier)| name.strip_suffix(end).map(|name| (name, *tier)))
        .unwrap_or((name, Tier::Standard));
    let above = |name: &str| {
        let (name, above) = name.strip_suffix("k_tokens")?.rsplit_once("_above_")?;
        Some((name.to_owned(), above.parse::<u64>().ok()? * 1000))
    };
    let (name, above) = above(name).map_or_else(|| (name.to_owned(), None), |(name, above)| (name, Some(above)));
    FIGURES.into_iter().find(|figure| *figure == name).map(|figure| (figure, tier, above))
}

/// The price of a tier. What it does not say is as in the standard tier; for long requests, as for others.
fn price(found: &Found, standard: Option<&TierPrice>) -> Outcome<Option<TierPrice>> {
    let rates = |rates: &BTreeMap<&'static str, Rate>, other: Option<&Rates>| {
        let [input, cached, write_5m, write_1h, output] = FIGURES.map(|figure| rates.get(figure).copied());
        let input = input.or_else(|| other.map(|other| other.input))?;
        // Embeddings write nothing.
        let output = output.or_else(|| other.map(|other| other.output)).unwrap_or_default();
        Some(Rates { input, cached, write_5m, write_1h, output })
    };
    if found.rates.is_empty() && found.long.is_empty() {
        return Ok(None);
    }
    let Some(usual) = rates(&found.rates, standard.map(|price| &price.rates)) else { return Ok(None) };
    let mut steps = found.above.iter();
    let long = match (steps.next(), steps.next()) {
        (None, _) => None,
        (Some(above), None) => rates(&found.long, Some(&usual)).map(|rates| Long { above: *above, rates }),
        (Some(_), Some(_)) => return Err("it has prices for long requests in several steps".into()),
    };
    Ok(Some(TierPrice { rates: usual, long }))
}

/// Whether the committed table is one that this would write: every line, and nothing but that.
#[cfg(test)]
fn rewritten(table: &str) -> String {
    let comments: String = table.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let models = prices::parse(table).unwrap();
    let lines = models.iter().flat_map(|model| Tier::ALL.into_iter().filter_map(|tier| prices::line(model, tier)));
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    format!("{comments}{}\n{lines}", prices::HEAD)
}

/// The path of the table, for tests.
#[cfg(test)]
fn committed() -> PathBuf {
    places::root().join(TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: &str = r#"{
        "sample_spec": {"litellm_provider": "one of", "mode": "chat", "input_cost_per_token": 0.0},
        "claude-x": {
            "litellm_provider": "anthropic", "mode": "chat", "max_tokens": 64000,
            "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
            "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
            "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
            "input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.5e-06,
            "search_context_cost_per_query": {"search_context_size_high": 0.01}
        },
        "openai/gpt-y": {
            "litellm_provider": "openai", "mode": "responses", "input_cost_per_token": 0.0000015,
            "output_cost_per_token": 2E-6, "output_cost_per_token_priority": 4e-06, "cache_read_input_token_cost": null
        },
        "bedrock/eu-central-1/m": {"litellm_provider": "bedrock", "mode": "embedding", "input_cost_per_token": 1e-07},
        "gemini/free": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
        "gemini/picture": {"litellm_provider": "gemini", "mode": "image_generation", "input_cost_per_token": 1e-06},
        "mistral/z": {"litellm_provider": "mistral", "mode": "chat", "input_cost_per_token": 1e-06}
    }"#;

    #[test]
    fn reads_the_package() {
        let table = table(PACKAGE, "1.2.3", "2026-01-02").unwrap();
        let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).skip(1).collect();
        assert_eq!(
            lines,
            [
                "anthropic\tclaude-x\tstandard\t3\t0.3\t3.75\t6\t15\t200000\t6\t-\t-\t12\t22.5",
                "anthropic\tclaude-x\tbatch\t1.5\t-\t-\t-\t7.5\t-\t-\t-\t-\t-\t-",
                "bedrock\teu-central-1/m\tstandard\t0.1\t-\t-\t-\t0\t-\t-\t-\t-\t-\t-",
                "openai\tgpt-y\tstandard\t1.5\t-\t-\t-\t2\t-\t-\t-\t-\t-\t-",
                "openai\tgpt-y\tpriority\t1.5\t-\t-\t-\t4\t-\t-\t-\t-\t-\t-",
            ]
        );
        assert!(table.contains("# date: 2026-01-02\n") && table.contains("litellm 1.2.3,"));
        assert_eq!(rewritten(&table), table);
    }

    #[test]
    fn figures_that_cannot_be_kept_are_refused() {
        let with = |figure: &str| format!(r#"{{"m": {{"litellm_provider": "openai", "mode": "chat", {figure}}}}}"#);
        let cases = [
            (r#""input_cost_per_token": 1e-16"#, "m: input_cost_per_token has more decimals"),
            (r#""input_cost_per_token": "1""#, "m: input_cost_per_token not a decimal"),
            (
                r#""input_cost_per_token": 1e-6, "input_cost_per_token_above_1k_tokens": 1e-6, "input_cost_per_token_above_2k_tokens": 1e-6"#,
                "m: it has prices for long requests in several steps",
            ),
        ];
        for (figure, want) in cases {
            let error = table(&with(figure), "1", "2026-01-02").unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn the_committed_table_is_as_it_is_written() {
        let table = fs::read_to_string(committed()).unwrap();
        assert_eq!(rewritten(&table), table);
    }
}
