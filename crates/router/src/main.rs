//! The `quartermaster-router` binary.

use std::process::ExitCode;

use clap::Parser;
use router::args::Args;
use router::run::run;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quartermaster-router: {error}");
            ExitCode::FAILURE
        }
    }
}
