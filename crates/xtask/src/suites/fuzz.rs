//! Random bytes to everything that reads what a stranger wrote: the targets of `fuzz/`, by cargo-fuzz.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Count, ended, one, one_passed};
use crate::steps::Steps;
use crate::{Outcome, places};

/// Seconds for each target where FUZZ_SECONDS does not say another number.
const SECONDS: u64 = 60;
/// Targets that are tried at once: each takes a processor.
const AT_ONCE: usize = 2;
/// Longest input. The heads and events of real messages are shorter, and short inputs are tried more often.
const LONGEST: u32 = 4096;

/// Runs every target. A machine without what cargo-fuzz needs skips them and says so.
pub(super) fn run(steps: &mut Steps) -> Outcome<Count> {
    let mut count = Count::default();
    let folder = places::root().join("fuzz");
    let targets = targets(&folder)?;
    let skipped = |why: &str| {
        let mut count = Count::default();
        count.skip(targets.len() as u64, &format!("fuzzing: {why}"));
        count
    };
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Ok(skipped("no nightly Rust is installed (rustup toolchain install nightly --profile minimal)"));
    }
    let tools = places::cache().join("tools");
    let mut install = Command::new("bash");
    install.arg(places::root().join("tests/tools/install.sh")).arg(&tools);
    steps.attempt("Install the tools of checks, unless they are there", Duration::from_secs(300), &mut install)?;
    let program = tools.join("cargo-fuzz");
    if !program.exists() {
        return Ok(skipped("cargo-fuzz could not be built from the registry's source"));
    }
    let fuzz = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(tools.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders)?).current_dir(&folder);
        // The toolchain of the workspace is handed down by the cargo that runs this program.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command.args(["+nightly", "fuzz"]).args(arguments);
        Outcome::Ok(command)
    };
    let build = ["build", "--fuzz-dir", ".", "--sanitizer", "none"];
    count += one(steps, "Build the fuzz targets", 180, &mut fuzz(&build)?)?;
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    for some in targets.chunks(AT_ONCE) {
        let mut under_way = Vec::new();
        for target in some {
            let (found, seeds) = (format!("target/corpus/{target}"), format!("corpus/{target}"));
            std::fs::create_dir_all(folder.join(&found))?;
            std::fs::create_dir_all(folder.join("target/artifacts").join(target))?;
            let limits = [
                format!("-max_total_time={seconds}"),
                format!("-max_len={LONGEST}"),
                "-timeout=10".to_owned(),
                format!("-dict=dictionaries/{target}.dict"),
                format!("-artifact_prefix=target/artifacts/{target}/"),
            ];
            let mut arguments = vec!["run", "--fuzz-dir", ".", "--sanitizer", "none", target, &found, &seeds, "--"];
            arguments.extend(limits.iter().map(String::as_str));
            let title = format!("Fuzz {target}");
            let step = steps.begin(&title, Duration::from_secs(seconds + 5), &mut fuzz(&arguments)?)?;
            under_way.push((title, step));
        }
        for (title, step) in under_way {
            count += ended(steps, &title, step, one_passed)?;
        }
    }
    Ok(count)
}

/// The names of the targets, by their files.
fn targets(folder: &Path) -> Outcome<Vec<String>> {
    let mut targets = Vec::new();
    for file in std::fs::read_dir(folder.join("fuzz_targets"))? {
        if let Some(name) = file?.path().file_stem().and_then(|name| name.to_str()) {
            targets.push(name.to_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
