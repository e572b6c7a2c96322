//! The `router` binary.

use clap::Parser;
use router::args::Args;
use router::run::{Error, run};

fn main() -> Result<(), Error> {
    run(Args::parse())
}
