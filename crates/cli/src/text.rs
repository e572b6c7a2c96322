//! An explanation for people.

use std::fmt::Write;

use crate::explain::Explanation;

pub(crate) fn of(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing into memory cannot fail.
    let _ = write(&mut text, explanation);
    text
}

fn write(text: &mut String, e: &Explanation) -> std::fmt::Result {
    writeln!(text, "model       {}", e.model)?;
    writeln!(text, "policy      {}", e.policy)?;
    for rule in &e.rules {
        let holds = match rule.holds {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "cannot be said to hold",
        };
        let when = rule.when.as_deref().map_or_else(|| "for every request".to_owned(), |when| format!("when {when}"));
        writeln!(text, "rule        {} {holds}: {when}", rule.name)?;
    }
    if e.rule.is_none() {
        let why = if e.rules.is_empty() { "the policy has no rules" } else { "no rule holds" };
        writeln!(text, "rule        none: {why}, so the targets are asked in their order")?;
    }
    writeln!(text, "complexity  {}", e.complexity)?;
    if let Some(classifier) = &e.classifier {
        writeln!(
            text,
            "classifier  the pool {classifier} is asked first; these points decide where it says nothing in time"
        )?;
    }
    writeln!(
        text,
        "tokens      {} of the prompt, estimated; {} of the answer, at most or assumed",
        e.prompt_tokens, e.answer_tokens
    )?;
    for (turn, target) in e.targets.iter().enumerate() {
        let cost = match target.dollars.as_deref() {
            Some("0") => "costs nothing more".to_owned(),
            Some(dollars) => format!("about ${dollars}"),
            None => "price unknown".to_owned(),
        };
        writeln!(text, "target {:<4} {}: {}, {cost}", turn + 1, target.name, target.what)?;
    }
    if let Some(mirror) = &e.mirror {
        let to = &mirror.to;
        writeln!(text, "mirror      {}: {}, a copy of {} in a hundred requests", to.name, to.what, mirror.percent)?;
    }
    writeln!(text, "prices      of {}", e.prices_of)
}
