//! The tables of docs/routes.md that come from the sources: what rules see, and how often complexity is judged right.

use std::fmt::Write;
use std::fs;

use rules::FIELDS;
use rules::complexity::Level;
use rules::complexity::evaluation::{Confusion, accuracy, confusion, read};

use super::between;
use crate::Outcome;
use crate::places;

/// The page, within the checkout.
pub(super) const PAGE: &str = "docs/routes.md";
/// The labelled prompts, within the checkout.
const PROMPTS: &str = "crates/rules/evaluation/prompts.tsv";

/// The page as it should be.
pub(super) fn page() -> Outcome<String> {
    let page = fs::read_to_string(places::root().join(PAGE))?;
    let page = between(&page, PAGE, "fields of a request", &fields()?)?;
    between(&page, PAGE, "judgements of complexity", &judgements()?)
}

fn fields() -> Outcome<String> {
    let mut table = String::from("| field | type | meaning |\n| --- | --- | --- |\n");
    for field in FIELDS {
        let one_of =
            if field.values.is_empty() { String::new() } else { format!(" One of `{}`.", field.values.join("`, `")) };
        writeln!(table, "| `request.{}` | `{}` | {}{one_of} |", field.name, field.kind.cel(), field.meaning)?;
    }
    Ok(table)
}

fn judgements() -> Outcome<String> {
    let prompts = read(&fs::read_to_string(places::root().join(PROMPTS))?)?;
    let mut text = String::new();
    for (title, held_out) in [("Prompts that the points were chosen by", false), ("Prompts that were held out", true)] {
        let counts = confusion(prompts.iter().filter(|prompt| prompt.held_out == held_out));
        write!(text, "{}", matrix(title, &counts)?)?;
    }
    Ok(text)
}

fn matrix(title: &str, counts: &Confusion) -> Outcome<String> {
    let total: u32 = counts.iter().flatten().sum();
    let mut text = format!("{title}: {total}, of which {} in a hundred are judged as labelled.\n\n", accuracy(counts));
    writeln!(text, "| labelled | judged trivial | judged moderate | judged complex |\n| --- | --- | --- | --- |")?;
    for level in Level::ALL {
        let [trivial, moderate, complex] = counts[level as usize];
        writeln!(text, "| {} | {trivial} | {moderate} | {complex} |", level.word())?;
    }
    text.push('\n');
    Ok(text)
}
