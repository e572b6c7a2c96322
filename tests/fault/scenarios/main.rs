//! What must hold when the way between operator and API server breaks, or somebody else meddles. Each file is one class of
//! faults; each case has a namespace, an operator and a proxy of its own, and ends as a run without faults does.
//!
//! `FAULT=full` runs every case; the default takes every third kill and a part of the others. `FAULT_ONLY=kill,storm` runs
//! only these classes; `FAULT_CASE=504` only cases with this in their name; `FAULT_OPERATOR` is the program, by default the debug build beside this one.

#![expect(clippy::print_stdout, reason = "it reports to the person who runs it")]

mod drift;
mod kill;
mod lead;
mod life;
mod rbac;
mod replicas;
mod runner;
mod stale;
mod storm;

use std::process::ExitCode;

use fault::bed::{Bed, Trouble};

use runner::Runner;

#[tokio::main]
async fn main() -> ExitCode {
    // A second call would find it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match prove().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            println!("the proofs could not be run: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn prove() -> Result<bool, Trouble> {
    let mut runner = Runner::from_environment();
    let bed = Bed::new(runner.program(), runner.folder()).await?;
    life::install(&bed).await?;
    // The CRDs' kinds were not there before.
    let bed = Bed::new(runner.program(), runner.folder()).await?;
    if runner.wants(lead::CLASS) {
        lead::prove(&bed, &mut runner).await;
        if runner.wants_only(lead::CLASS) {
            return Ok(runner.report());
        }
    }
    let (reference, again) = kill::references(&bed, &mut runner).await?;
    if runner.wants(kill::CLASS) {
        kill::prove(&bed, &reference, &again, &mut runner).await;
    }
    if runner.wants(kill::TWICE) {
        kill::prove_twice(&bed, &reference, &again, &mut runner).await;
    }
    if runner.wants(stale::RESTART) {
        stale::prove_restart(&bed, &reference, &mut runner).await;
    }
    if runner.wants(stale::HELD) {
        stale::prove_held(&bed, &reference, &mut runner).await?;
    }
    if runner.wants(storm::CLASS) {
        storm::prove(&bed, &reference, &mut runner).await;
    }
    if runner.wants(drift::CLASS) {
        drift::prove(&bed, &reference, &mut runner).await?;
    }
    if runner.wants(replicas::CLASS) {
        replicas::prove(&bed, &mut runner).await;
    }
    if runner.wants(rbac::CLASS) {
        rbac::prove(&bed, &mut runner).await?;
    }
    Ok(runner.report())
}
