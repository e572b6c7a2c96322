//! Our images, made without a Docker engine: one static program each, in one layer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::steps::Steps;
use crate::{Outcome, places, tool};

/// Registry prefix of images that never left this machine.
pub(crate) const REGISTRY: &str = "localhost/quartermaster";
/// Tag of images built from a checkout.
pub(crate) const TAG: &str = "dev";

/// The images of a system that runs: the program of the package of that name is all that each holds.
pub(crate) const SYSTEM: &[&str] = &["operator", "router", "vllm-sim"];
/// Every image: the scenarios also need somebody who sells tokens.
pub(crate) const ALL: &[&str] = &["operator", "router", "vllm-sim", "provider-sim"];
/// Linked statically, a program needs no distribution under it. The flag needs an explicit target, or it would also apply
/// to procedural macros, which cannot be static.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// User of every container, as distroless images have it.
const USER: &str = "65532:65532";

/// Builds all images and gives their archives.
pub(crate) fn build() -> Outcome<Vec<PathBuf>> {
    let mut steps = Steps::new(places::state().join("logs/images"), Duration::from_secs(5))?;
    build_in(ALL, &mut steps)
}

/// Builds these images as steps of a larger run, all with one call of cargo.
pub(crate) fn build_in(binaries: &[&str], steps: &mut Steps) -> Outcome<Vec<PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--target", TARGET]).current_dir(places::root());
    for binary in binaries {
        cargo.args(["--package", binary]);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    steps.run(&format!("Build {} (static, release)", binaries.join(", ")), Duration::from_secs(420), &mut cargo)?;
    if !tool::path().exists() {
        tool::build(steps)?;
    }
    let folder = places::root().join("target/images");
    fs::create_dir_all(&folder)?;
    binaries.iter().map(|binary| pack(binary, &folder.join(format!("{binary}.tar")), steps)).collect()
}

fn pack(binary: &str, archive: &PathBuf, steps: &mut Steps) -> Outcome<PathBuf> {
    // It is the one program that people also start by hand, without a cluster.
    let program = if binary == "router" { "quartermaster-router" } else { binary };
    let built = places::root().join("target").join(TARGET).join("release").join(program);
    let mut image = Command::new(tool::path());
    image.arg("image").arg("--out").arg(archive).args(["--tag", &format!("{REGISTRY}/{binary}:{TAG}")]);
    image.args(["--entrypoint", &format!("/{program}"), "--user", USER, "--certs"]);
    image.arg("--file").arg(format!("{}=/{program}:0755", built.display()));
    steps.run(&format!("Pack the image of {binary}"), Duration::from_secs(1), &mut image)?;
    Ok(archive.clone())
}
