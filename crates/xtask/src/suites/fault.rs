//! The proofs behind the fault proxy.

use std::time::Duration;

use super::count::{self, Count};
use super::{of_workspace, text_of};
use crate::cluster::{self, Cluster, Platform};
use crate::steps::Steps;
use crate::{Outcome, images, places};

/// Name of the cluster: it has the CRDs and no operator, because each case brings its own.
const NAME: &str = "fault";

/// Runs the fault proxy's own tests and the proofs that use it. `FAULT=full` in the environment runs every case.
pub(super) fn run(kind: Platform, keep: bool, steps: &mut Steps) -> Outcome<Count> {
    let cluster = Cluster::start(kind, NAME, steps)?;
    let archives = images::build_in(images::SYSTEM, steps)?;
    let registry = cluster.load(&archives, steps)?;
    let title = "Build the operator to be tormented";
    // Named beside the tests, it is built with the same dependencies as they are.
    let operator = ["--bin", "operator", "--test", "proofs"];
    steps.run(title, Duration::from_secs(90), &mut of_workspace("build", &operator))?;
    let mut proofs = of_workspace("test", &["--test", "proofs"]);
    proofs.env("E2E_REGISTRY", &registry).env("FAULT_LOGS", places::state().join("logs/fault"));
    if let Some(kubeconfig) = cluster.kubeconfig() {
        proofs.env("KUBECONFIG", kubeconfig);
    }
    let title = "Proofs behind the fault proxy";
    let (status, log) = steps.attempt(title, Duration::from_secs(400), &mut proofs)?;
    let text = text_of(&log);
    let mut count = Count::of_cargo(&text);
    count.notes.extend(text.lines().filter(|line| line.starts_with("fault: ")).map(str::to_owned));
    if !status.success() {
        println!("{}", count::failures(&text));
        if count.failed == 0 {
            count.fail(title, &format!("{status}; the log is {}", log.display()));
        }
    }
    if !keep {
        cluster::remove(kind, NAME, steps)?;
    }
    Ok(count)
}
