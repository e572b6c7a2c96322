//! The `quartermaster` command.
//!
//! It decides nothing of its own: what it says is what the router's pure functions say. Start with [`mod@explain`].

mod args;
mod explain;
mod policies;
mod text;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Explain, Format, Task};
use crate::explain::{Asked, explain};

/// Why nothing can be said; the error is a sentence for the person who called.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let Task::Explain(how) = Cli::parse().task;
    match run(&how) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quartermaster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(how: &Explain) -> Outcome {
    let body = read(&how.file)?;
    let mut policies = Vec::new();
    for file in &how.policy {
        let text = read(file)?;
        policies.extend(policies::read(&file.display().to_string(), &String::from_utf8(text)?, &how.namespace)?);
    }
    let asked = Asked {
        body: &body,
        surface: how.surface(&body),
        headers: &how.headers()?,
        caller: &how.caller,
        region: &how.region,
        hour: how.hour,
        today: rules::Today { requests: how.requests_today, tokens: how.tokens_today },
    };
    let explanation = explain(&policies, &asked)?;
    let said = match how.output {
        Format::Text => text::of(&explanation),
        Format::Json => serde_json::to_string_pretty(&explanation)? + "\n",
    };
    std::io::stdout().lock().write_all(said.as_bytes())?;
    Ok(())
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Outcome<Vec<u8>> {
    let read = if path == Path::new("-") {
        let mut all = Vec::new();
        std::io::stdin().lock().read_to_end(&mut all).map(|_| all)
    } else {
        fs::read(path)
    };
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()).into())
}
