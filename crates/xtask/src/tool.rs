//! The program of tests/cluster, which manages local clusters and makes images.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::steps::Steps;
use crate::{Outcome, places};

/// Where it is, once built.
pub(crate) fn path() -> PathBuf {
    places::root().join("target/cluster")
}

/// Whether Go is installed.
pub(crate) fn has_go() -> bool {
    Command::new("go").arg("version").output().is_ok()
}

/// Builds it. It uses Go's standard library only, so this takes seconds.
pub(crate) fn build(steps: &mut Steps) -> Outcome {
    if !has_go() {
        return Err(
            "Go 1.26 or newer is needed to make images (and, for CLUSTER=local, Kubernetes), and `go` was not \
                    found: install it and run this again"
                .into(),
        );
    }
    let mut build = Command::new("go");
    // As Kubernetes is built, so that Go compiles its standard library only once for both.
    build.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-o"]).arg(path()).arg("./cmd/cluster");
    build.current_dir(places::root().join("tests/cluster"));
    steps.run("Build the cluster tool", Duration::from_secs(15), &mut build)?;
    Ok(())
}
