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
    writeln!(text, "model       {} at {}", e.model, e.surface)?;
    writeln!(text, "policy      {}", e.policy)?;
    writeln!(text, "access      {}", e.access)?;
    for rule in &e.rules {
        let verdict = match (rule.asked, rule.holds) {
            (false, _) => "is not asked",
            (true, Some(true)) => "holds",
            (true, Some(false)) => "does not hold",
            (true, None) => "cannot be said to hold",
        };
        let when = rule.when.as_deref().map_or_else(|| "for every request".to_owned(), |when| format!("when {when}"));
        writeln!(text, "rule        {} {verdict}: {when}", rule.name)?;
    }
    if !e.taken.is_empty() {
        writeln!(text, "taken       {}; options tell otherwise", e.taken.join(", "))?;
    }
    writeln!(text, "because     {}", e.because)?;
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
        write!(text, "target {:<4} {}: {}, {cost}", turn + 1, target.name, target.what)?;
        match &target.unable {
            Some(why) => writeln!(text, "; passed over: {why}")?,
            None => writeln!(text)?,
        }
    }
    if let Some(mirror) = &e.mirror {
        let to = &mirror.to;
        writeln!(text, "mirror      {}: {}, a copy of {} in a hundred requests", to.name, to.what, mirror.percent)?;
    }
    if let Some(hedge) = &e.hedge {
        let (beside, after) = (&hedge.target, hedge.after_milliseconds);
        writeln!(text, "hedge       {beside} is asked, too, where no answer has begun after {after} ms")?;
    }
    for other in &e.others {
        writeln!(text, "not asked   {}: {}; {}", other.name, other.what, other.why)?;
    }
    match &e.target {
        Some(target) => writeln!(text, "sent to     {target}")?,
        None if !e.admitted => writeln!(text, "sent to     nobody: the caller is not let in")?,
        None => writeln!(text, "sent to     nobody: no target can answer")?,
    }
    writeln!(text, "prices      of {}", e.prices_of)?;
    e.notes.iter().try_for_each(|note| writeln!(text, "note        {note}"))
}
