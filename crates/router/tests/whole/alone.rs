//! Tests that measure their process, or use much of what a process may have: each runs in one of its own, where no other
//! test is.

use std::process::{Command, Stdio};

use tokio::runtime::Builder;

/// Names the test that this process is for.
const ALONE: &str = "ROUTER_TEST_ALONE";

/// Runs `body` in a process of its own that runs nothing but the test of this name; what it wrote to standard error. There
/// `None` is given once it has run.
pub(crate) fn alone<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) -> Option<String> {
    if std::env::var(ALONE).is_ok_and(|only| only == test) {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
        return None;
    }
    let output = beside(test).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{test} alone: {}\n{}\n{}", output.status, said[0], said[1]);
    // What it had to tell is told here, too, to whoever asks for it by --nocapture.
    for line in said[1].lines().filter(|line| line.starts_with("SEEN ") || line.starts_with("SKIPPED ")) {
        eprintln!("{line}");
    }
    Some(said[1].clone())
}

/// A process of its own for the test of this name, which may have as many files open as this system allows.
pub(crate) fn beside(test: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(ALONE, test);
    command
}

/// Bytes of memory that this process holds.
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
/// Whether this process was started for the test of this name.
pub(crate) fn is_for(test: &str) -> bool {
    std::env::var(ALONE).is_ok_and(|only| only == test)
}

/// Files that this process may have open.
pub(crate) fn files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}
