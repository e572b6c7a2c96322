//! Automation of this repository: `cargo xtask help` lists what it can do. The Makefile calls it; people may, too.
//!
//! It never ships. Start with [`demo`] for what a new user meets, [`suites`] for what decides whether a change is good,
//! and [`tidy`] for what keeps the code in shape.

#![expect(clippy::print_stdout, reason = "it talks to the person who called it")]

mod cluster;
mod demo;
mod generate;
mod images;
mod places;
mod prices;
mod steps;
mod suites;
mod tidy;
mod tool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster::Platform;

/// What a task returns; the error is a sentence for the person who called it.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "xtask", about = "Automation of this repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write what is made from the sources: crds/, the CRD chart, docs/reference, manifests/install.
    Generate {
        /// Change nothing; fail when a file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Make the table of prices from a public one.
    Prices(prices::Source),
    /// Check sizes, crate edges, stray marks and names that must not be in the repository.
    Tidy,
    /// Build the images of operator, router and the two simulators, as archives.
    Images,
    /// Go from nothing to a running system: a pool that answers, grows under load and shrinks again.
    Demo {
        /// Which Kubernetes. Default: kind where a Docker engine answers and kind is installed, else local.
        #[arg(long, env = "CLUSTER")]
        cluster: Option<Platform>,
        /// Which engine the pool runs: the simulator, or the real vLLM (CPU build, tiny random model).
        #[arg(long, env = "ENGINE", default_value = "sim")]
        engine: demo::Engine,
    },
    /// Remove what the demo made.
    Down {
        /// Which Kubernetes, as for demo.
        #[arg(long, env = "CLUSTER")]
        cluster: Option<Platform>,
    },
    /// Run every check and test: lints, unit, contract, SDKs, gitops, end-to-end and faults on clusters.
    Test {
        /// Which Kubernetes the end-to-end scenarios use, as for demo.
        #[arg(long, env = "CLUSTER")]
        cluster: Option<Platform>,
        /// Run only these suites: lint, unit, fuzz, contract, sdk, gitops, e2e, fault.
        #[arg(long, value_delimiter = ',')]
        only: Vec<suites::Suite>,
        /// Leave the test cluster up, to look at it.
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Generate { check } => generate::run(check),
        Task::Prices(source) => prices::run(&source),
        Task::Tidy => tidy::run(),
        Task::Images => images::build().map(|paths| paths.iter().for_each(|p| println!("{}", p.display()))),
        Task::Demo { cluster, engine } => demo::run(cluster, engine),
        Task::Down { cluster } => demo::down(cluster),
        Task::Test { cluster, only, keep } => suites::run(cluster, &only, keep),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
