//! The built-in table: one line for each tier of each model, in dollars per million tokens.

use std::sync::LazyLock;

use super::{Long, Model, Provider, Rate, Rates, Tier, TierPrice};
use crate::BadDecimal;

/// Made by `cargo xtask prices`, see there.
const TABLE: &str = include_str!("../../prices.tsv");
static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    // A test reads every line, so none is ever left out here.
    parse(TABLE).unwrap_or_default()
});

/// Why a table cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It has too few or too many columns.
    #[error("line {0} does not have {COLUMNS} columns")]
    Columns(usize),
    /// It names no provider that is known.
    #[error("line {0} names an unknown provider")]
    Provider(usize),
    /// It names no tier that is known.
    #[error("line {0} names an unknown tier")]
    Tier(usize),
    /// One of its figures is none.
    #[error("line {0} has a figure that {1}")]
    Figure(usize, BadDecimal),
    /// A figure that every price must have is missing.
    #[error("line {0} lacks the price of input or of output")]
    Lacking(usize),
    /// It does not follow the one before in order.
    #[error("line {0} is out of order")]
    Order(usize),
}

/// Columns of a line.
const COLUMNS: usize = 14;
/// The head of the columns. Those from `above` on are for requests that read more tokens than `above`.
pub const HEAD: &str = "provider\tmodel\ttier\tinput\tcached\twrite_5m\twrite_1h\toutput\tabove\tinput\tcached\twrite_5m\twrite_1h\toutput";
/// What stands where there is no figure.
const NONE: &str = "-";

/// The day of the prices in the built-in table.
#[must_use]
pub fn date() -> &'static str {
    comment("date: ")
}

/// What they were taken from.
#[must_use]
pub fn source() -> &'static str {
    comment("source: ")
}

fn comment(key: &str) -> &'static str {
    TABLE.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(key)).unwrap_or_default()
}

/// The prices of this model at this provider, in this region where that has prices of its own. A name is known exactly or
/// not at all: a price that is guessed is none.
#[must_use]
pub fn find(provider: Provider, region: Option<&str>, model: &str) -> Option<&'static Model> {
    let at = |name: &str| {
        let place = MODELS.binary_search_by(|known| (known.provider, &*known.name).cmp(&(provider, name)));
        place.ok().map(|place| &MODELS[place])
    };
    region.and_then(|region| at(&format!("{region}/{model}"))).or_else(|| at(model))
}

/// Every model of the table, by provider and name.
#[must_use]
pub fn all() -> &'static [Model] {
    &MODELS
}

/// Reads a table: comments, a head, and lines in the order of provider, name and tier.
///
/// # Errors
///
/// At the first line that cannot be read.
pub fn parse(table: &str) -> Result<Vec<Model>, BadLine> {
    let mut models: Vec<Model> = Vec::new();
    let mut before: Option<(Provider, &str, Tier)> = None;
    let lines = table.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    for (at, line) in lines.skip(1) {
        let at = at + 1;
        let columns: Vec<&str> = line.split('\t').collect();
        let columns: &[&str; COLUMNS] = columns.as_slice().try_into().map_err(|_| BadLine::Columns(at))?;
        let provider = Provider::ALL.into_iter().find(|p| p.word() == columns[0]).ok_or(BadLine::Provider(at))?;
        let tier = Tier::ALL.into_iter().find(|t| t.word() == columns[2]).ok_or(BadLine::Tier(at))?;
        let key = (provider, columns[1], tier);
        if before.is_some_and(|before| before >= key) {
            return Err(BadLine::Order(at));
        }
        let rates = rates(at, &columns[3..8])?.ok_or(BadLine::Lacking(at))?;
        let long = match (columns[8], self::rates(at, &columns[9..14])?) {
            (NONE, None) => None,
            (above, Some(rates)) => {
                let above = above.parse().map_err(|_| BadLine::Figure(at, BadDecimal::Malformed))?;
                Some(Long { above, rates })
            }
            _ => return Err(BadLine::Lacking(at)),
        };
        let same = before.is_some_and(|(provider, name, _)| (provider, name) == (key.0, key.1));
        if !same {
            models.push(Model { provider, name: columns[1].into(), tiers: [None; 4] });
        }
        if let Some(model) = models.last_mut() {
            model.tiers[tier as usize] = Some(TierPrice { rates, long });
        }
        before = Some(key);
    }
    Ok(models)
}

/// The rates in five columns; `None` when all are empty.
fn rates(at: usize, columns: &[&str]) -> Result<Option<Rates>, BadLine> {
    if columns.iter().all(|column| *column == NONE) {
        return Ok(None);
    }
    let rate = |place: usize| match columns[place] {
        NONE => Ok(None),
        text => Rate::per_million(text).map(Some).map_err(|why| BadLine::Figure(at, why)),
    };
    let (Some(input), Some(output)) = (rate(0)?, rate(4)?) else { return Err(BadLine::Lacking(at)) };
    Ok(Some(Rates { input, cached: rate(1)?, write_5m: rate(2)?, write_1h: rate(3)?, output }))
}

/// The line of one tier of a model, without its end.
#[must_use]
pub fn line(model: &Model, tier: Tier) -> Option<String> {
    let price = model.tiers[tier as usize]?;
    let rates = |rates: Option<Rates>| {
        let text = |rate: Option<Rate>| rate.map_or_else(|| NONE.to_owned(), |rate| rate.to_string());
        match rates {
            Some(r) => [text(Some(r.input)), text(r.cached), text(r.write_5m), text(r.write_1h), text(Some(r.output))],
            None => [(); 5].map(|()| text(None)),
        }
    };
    let mut columns = vec![model.provider.word().to_owned(), model.name.to_string(), tier.word().to_owned()];
    columns.extend(rates(Some(price.rates)));
    columns.push(price.long.map_or_else(|| NONE.to_owned(), |long| long.above.to_string()));
    columns.extend(rates(price.long.map(|long| long.rates)));
    Some(columns.join("\t"))
}
