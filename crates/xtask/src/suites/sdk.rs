//! The official SDKs against the provider stand-ins and the router: `tests/sdk`.

use std::process::Command;
use std::time::Duration;

use super::{Count, of_workspace, one, tests_of};
use crate::steps::{Steps, tail};
use crate::{Outcome, places};

/// Runs every check. A machine that cannot have the SDKs (no Python, no package index) skips them and says so.
pub(super) fn run(steps: &mut Steps) -> Outcome<Count> {
    let script = |name: &str| {
        let mut command = Command::new("bash");
        command.arg(places::root().join("tests/sdk").join(name)).current_dir(places::root());
        command
    };
    let title = "Install the official SDKs, unless they are there (100 MB)";
    let (status, log) = steps.attempt(title, Duration::from_secs(60), &mut script("install.sh"))?;
    let mut count = Count::default();
    if !status.success() {
        let last = tail(&log, 1);
        count.skip(1, &format!("the checks by the official SDKs, which could not be installed: {last}"));
        return Ok(count);
    }
    let programs = ["--bin", "provider-sim", "--bin", "vllm-sim", "--example", "sdk_router"];
    count += one(steps, "Build what the SDKs talk to", 120, &mut of_workspace("build", &programs))?;
    count += tests_of(steps, "The official SDKs", 30, &mut script("run.sh"), Count::of_cargo)?;
    Ok(count)
}
