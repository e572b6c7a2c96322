//! The `quartermaster` command.
//!
//! It decides nothing of its own: what it says is what the router's pure functions say. It only reads, and never a Secret. It ends
//! with 0 where a target would answer, with 3 where none can, with 1 where nothing can be said, and with 2 where it was called
//! wrongly. Start with [`mod@explain`].

mod args;
mod cluster;
mod explain;
mod files;
mod objects;
mod surface;
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

/// How the program ends when no target can answer.
const NOBODY: u8 = 3;

fn main() -> ExitCode {
    let Task::Explain(how) = Cli::parse().task;
    match run(&how) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOBODY),
        Err(error) => {
            eprintln!("quartermaster: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what would become of the request; whether anybody would answer it.
fn run(how: &Explain) -> Outcome<bool> {
    let body = read(&how.file)?;
    let headers = how.headers()?;
    let surface = how.surface(&body)?;
    let objects = if how.policy.is_empty() {
        cluster::objects(how.context.as_deref(), how.namespace.as_deref())?
    } else {
        files::objects(&how.policy, how.namespace.as_deref().unwrap_or("default"))?
    };
    let asked = Asked {
        body: &body,
        surface,
        model: how.model.as_deref(),
        headers: &headers,
        caller: &how.caller,
        region: &how.region,
        hour: how.hour,
        today: rules::Today { requests: how.requests_today, tokens: how.tokens_today },
    };
    let explanation = explain(objects, &asked)?;
    let said = match how.output {
        Format::Text => text::of(&explanation),
        Format::Json => serde_json::to_string_pretty(&explanation)? + "\n",
    };
    std::io::stdout().lock().write_all(said.as_bytes())?;
    Ok(explanation.target.is_some())
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
